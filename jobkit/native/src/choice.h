// Which schedule a call gets: a table of rows, the first that fits counts.
//
// The built-in table is below in choice.cc, with the figures that it rests on. JOBKIT_SCHEDULE goes before
// it, and what was measured goes between the two. Rank 0's table is everybody's: it is sent when the group
// forms, and every frame names the schedule, so that ranks that disagree fail with both names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedule.h"

namespace jobkit {

// "all_sum@3-4:65536=one-shot": an all_sum (or all_max, all_min) of up to 65536 bytes in a group of three or
// four ranks. `call` is the first of its kind: kAllSum, kSumScatter, kAllGather (split as well) or itself.
struct ChoiceRow {
  Call call = Call::kBarrier;
  int min_size = 1;
  int max_size = INT32_MAX;
  uint64_t max_bytes = UINT64_MAX;  // of the array or block that the API counts
  Schedule schedule = Schedule::kLocal;

  bool operator==(const ChoiceRow&) const = default;
};

class Choices {
 public:
  Choices() = default;
  explicit Choices(std::vector<ChoiceRow> rows) : rows_(std::move(rows)) {}

  // Of rows separated by commas: CALL[@SIZES][:BYTES]=SCHEDULE, SIZES being N, N-M or N-. Throws BadArgument.
  static Choices parse(const std::string& text);
  std::string text() const;

  // What was measured in a group of `size`: see `Timing`.
  static Choices of(int size, const std::vector<struct Timing>& timings);

  // These rows, then the others.
  Choices before(const Choices& others) const;
  const std::vector<ChoiceRow>& rows() const { return rows_; }

 private:
  std::vector<ChoiceRow> rows_;
};

// How long a call of so many bytes took by a schedule.
struct Timing {
  Call call = Call::kBarrier;
  uint64_t n_bytes = 0;
  Schedule schedule = Schedule::kLocal;
  double seconds = 0;
};

// The schedule that every rank of the group chooses for this call.
Schedule choose(const Request& request);

}  // namespace jobkit
