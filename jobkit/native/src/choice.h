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
// four ranks; ":4096-65536" is of 4096 bytes at least. `call` is the first of its kind: kAllSum, kSumScatter,
// kAllGather (split as well) or itself.
struct ChoiceRow {
  Call call = Call::kBarrier;
  int min_size = 1;
  int max_size = INT32_MAX;
  uint64_t max_bytes = UINT64_MAX;  // of the array or block that the API counts
  Schedule schedule = Schedule::kLocal;
  uint64_t min_bytes = 0;

  bool operator==(const ChoiceRow&) const = default;
};

class Choices {
 public:
  Choices() = default;
  explicit Choices(std::vector<ChoiceRow> rows) : rows_(std::move(rows)) {}

  // Of rows separated by commas: CALL[@SIZES][:BYTES]=SCHEDULE, SIZES being N, N-M or N-, and BYTES N for up
  // to N, N-M or N-. Throws BadArgument.
  static Choices parse(const std::string& text);
  std::string text() const;

  // What was measured, for requests like this one: one row for each size at which a schedule is clearly
  // faster than the one of the built-in table, which also has to be among the `timings` of that size. A size
  // stands for those around it, up to the largest.
  static Choices of(const Request& like, const std::vector<struct Timing>& timings);

  const std::vector<ChoiceRow>& rows() const { return rows_; }

 private:
  std::vector<ChoiceRow> rows_;
};

// How long a call of so many bytes took by a schedule, once.
struct Timing {
  uint64_t n_bytes = 0;
  Schedule schedule = Schedule::kLocal;
  double seconds = 0;
};

// The schedules of an all_reduce that sum in the order of the fixed tree, whatever the placement: which of
// them is taken changes no bit of a result.
inline constexpr Schedule kTreeOrder[] = {Schedule::kOneShot, Schedule::kTwoShot,
                                          Schedule::kRecursiveDoubling, Schedule::kRabenseifner};

bool keeps_tree_order(Schedule schedule);

// The schedule that every rank of the group chooses for this call.
Schedule choose(const Request& request);

}  // namespace jobkit
