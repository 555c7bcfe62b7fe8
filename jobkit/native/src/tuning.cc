#include "tuning.h"

#include <numeric>

namespace jobkit {

void agree_on_choices(Group& group, const Choices& wanted, const CallOptions& options) {
  if (group.size() == 1) return;
  std::vector<int> everybody(group.size());
  std::iota(everybody.begin(), everybody.end(), 0);
  // A context of its own: the program's operations are counted from 1.
  auto apart = group.among(everybody, "schedules");
  std::string text = wanted.text();
  uint64_t n = text.size();
  apart->broadcast(&n, 1, Dtype::kUint64, 0, options);
  text.resize(n);
  apart->broadcast(text.data(), n, Dtype::kUint8, 0, options);
  group.use(Choices::parse(text));
}

}  // namespace jobkit
