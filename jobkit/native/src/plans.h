// What the plans are built with, and the plans of each call. make_plan (schedule.h) is the way in.
//
// All of them keep two rules, which the tests prove for every interleaving. A rank's result may overwrite its
// input (all_reduce in place) because a final element comes back only after everybody has taken in this
// rank's contribution to it; where that does not follow, the step stays `behind` the sends. And a rank that
// takes in the messages of a link strictly in their order, with room for one element of each streamed
// message, never waits for ever.
#pragma once

#include <utility>

#include "schedule.h"

namespace jobkit::plans {

using Steps = std::vector<int>;

inline Span whole(Buffer buffer, uint64_t count) { return {buffer, 0, count}; }
inline Span block(Buffer buffer, uint64_t index, uint64_t count) { return {buffer, index * count, count}; }

// Piece `index` of `size` of a span.
inline Span piece(const Span& span, int index, int size) {
  Span cut = segment(span.buffer, span.count, index, size);
  return {cut.buffer, span.offset + cut.offset, cut.count};
}

// One operand of a reduction: memory, or what a streamed receive brings.
struct Operand {
  Span span;
  int stream = -1;
};

// Appends steps to a plan; each function returns the index of its step.
class Builder {
 public:
  explicit Builder(uint64_t n_scratch = 0) { plan_.n_scratch = n_scratch; }

  int receive(int peer, uint32_t message, Span out, Steps gate = {});
  // A receive whose bytes go straight into the one reduction that names it.
  Operand stream(int peer, uint32_t message, uint64_t count);
  int send(int peer, uint32_t message, Span from, Steps after = {}, Steps gate = {});
  int copy(Span from, Span out, Steps after = {});
  int reduce(const std::vector<Operand>& operands, Span out, bool last, Steps after = {}, Steps behind = {});

  Plan take() { return std::move(plan_); }

 private:
  int add(Step step);

  Plan plan_;
};

// The others, each rank beginning with its right neighbour, so that they do not all turn to rank 0 first.
template <typename Visit>
void for_each_peer(const Request& r, Visit visit) {
  for (int distance = 1; distance < r.size; distance++) visit((r.rank + distance) % r.size);
}

inline int right(const Request& r) { return (r.rank + 1) % r.size; }
inline int left(const Request& r) { return (r.rank + r.size - 1) % r.size; }

// The rank `distance` before this one, for a distance up to 2 * size.
inline int before(const Request& r, int distance) { return (r.rank + 2 * r.size - distance) % r.size; }

// The rank as counted from the root, and back.
inline int place(const Request& r) { return (r.rank - r.root + r.size) % r.size; }
inline int at_place(const Request& r, int where) { return (where + r.root) % r.size; }

// The ranks of each host, hosts in the order of their first rank, ranks in order.
std::vector<std::vector<int>> hosts_of(const Request& r);

// Whether there are several hosts with the same number of ranks, more than one, on each.
bool is_uniform(const std::vector<std::vector<int>>& hosts);

// plans_reduce.cc
Plan all_reduce(const Request& r, Schedule schedule);
Plan reduce_scatter(const Request& r, Schedule schedule);
// plans_levels.cc
Plan two_level_all_reduce(const Request& r);
// plans_gather.cc
Plan all_gather(const Request& r, Schedule schedule);
Plan gather(const Request& r, Schedule schedule);
// plans_broadcast.cc
Plan broadcast(const Request& r, Schedule schedule);
Plan scatter(const Request& r, Schedule schedule);
// plans_exchange.cc
Plan all_to_all(const Request& r, Schedule schedule);
Plan barrier(const Request& r, Schedule schedule);

}  // namespace jobkit::plans
