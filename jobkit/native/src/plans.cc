#include "plans.h"

#include <algorithm>

namespace jobkit::plans {

int Builder::add(Step step) {
  plan_.steps.push_back(std::move(step));
  return static_cast<int>(plan_.steps.size()) - 1;
}

int Builder::receive(int peer, uint32_t message, Span out, Steps gate) {
  Step step;
  step.kind = StepKind::kReceive;
  step.peer = peer;
  step.message = message;
  step.out = out;
  step.gate = std::move(gate);
  return add(std::move(step));
}

Operand Builder::stream(int peer, uint32_t message, uint64_t count) {
  Span brought{Buffer::kScratch, 0, count};
  int step = receive(peer, message, brought);
  plan_.steps[step].streamed = true;
  return {brought, step};
}

int Builder::send(int peer, uint32_t message, Span from, Steps after, Steps gate) {
  Step step;
  step.kind = StepKind::kSend;
  step.peer = peer;
  step.message = message;
  step.parts = {from};
  step.after = std::move(after);
  step.gate = std::move(gate);
  return add(std::move(step));
}

int Builder::copy(Span from, Span out, Steps after) {
  Step step;
  step.kind = StepKind::kCopy;
  step.parts = {from};
  step.out = out;
  step.after = std::move(after);
  return add(std::move(step));
}

int Builder::reduce(const std::vector<Operand>& operands, Span out, bool last, Steps after, Steps behind) {
  Step step;
  step.kind = StepKind::kReduce;
  for (const Operand& each : operands) {
    step.parts.push_back(each.span);
    step.streams.push_back(each.stream);
  }
  step.out = out;
  step.last = last;
  step.after = std::move(after);
  step.behind = std::move(behind);
  return add(std::move(step));
}

std::vector<std::vector<int>> hosts_of(const Request& r) {
  std::vector<std::vector<int>> hosts;
  if (!r.placement) return hosts;
  std::vector<int> seen;
  for (int p = 0; p < r.size; p++) {
    size_t h = std::find(seen.begin(), seen.end(), r.placement->nodes[p]) - seen.begin();
    if (h == seen.size()) {
      seen.push_back(r.placement->nodes[p]);
      hosts.emplace_back();
    }
    hosts[h].push_back(p);
  }
  return hosts;
}

bool is_uniform(const std::vector<std::vector<int>>& hosts) {
  if (hosts.size() < 2 || hosts[0].size() < 2) return false;
  return std::all_of(hosts.begin(), hosts.end(), [&](auto& host) { return host.size() == hosts[0].size(); });
}

}  // namespace jobkit::plans
