#include "schedule.h"

#include <algorithm>

#include "choice.h"
#include "plans.h"

namespace jobkit {
namespace {

using S = Schedule;

Plan local(const Request& r) {
  plans::Builder plan;
  if (r.call == Call::kBarrier) return plan.take();
  Span in = plans::whole(Buffer::kInput, r.count), out = plans::whole(Buffer::kOutput, r.count);
  if (is_all_reduce(r.call) || is_reduce_scatter(r.call)) {
    plan.reduce({{in}}, out, true);
  } else {
    plan.copy(in, out);
  }
  return plan.take();
}

// Where partial sums of several ranks would lie in memory.
bool keeps_partial_sums(S schedule) {
  return schedule == S::kRecursiveDoubling || schedule == S::kRabenseifner || schedule == S::kTwoLevel;
}

bool is_possible_all_reduce(const Request& r, S schedule) {
  if (r.rounds && keeps_partial_sums(schedule)) return false;
  if (schedule == S::kTwoLevel) return plans::is_uniform(plans::hosts_of(r));
  return schedule == S::kOneShot || schedule == S::kTwoShot || keeps_partial_sums(schedule);
}

bool is_possible_broadcast(const Request& r, S schedule) {
  if (schedule == S::kTwoLevel) {
    size_t n_hosts = plans::hosts_of(r).size();
    return n_hosts > 1 && n_hosts < static_cast<size_t>(r.size);
  }
  return schedule == S::kDirect || schedule == S::kTree || schedule == S::kScatterGather;
}

}  // namespace

const char* name_of(Schedule schedule) {
  constexpr const char* names[kSchedules] = {
      "local",          "one-shot",           "two-shot",     "direct",    "ring", "tree",
      "scatter-gather", "recursive-doubling", "rabenseifner", "two-level", "bruck"};
  return names[static_cast<int>(schedule)];
}

Span segment(Buffer buffer, uint64_t count, int index, int size) {
  uint64_t n = count / size, longer = count % size, i = index;
  return {buffer, i * n + std::min(i, longer), n + (i < longer ? 1 : 0)};
}

bool is_possible(const Request& r, Schedule schedule) {
  if (r.size == 1) return schedule == S::kLocal;
  if (schedule == S::kRing) return true;
  if (r.topology != Topology::kDirect) return false;
  if (is_all_reduce(r.call)) return is_possible_all_reduce(r, schedule);
  if (r.call == Call::kBroadcast) return is_possible_broadcast(r, schedule);
  if (schedule == S::kBruck)
    return r.call == Call::kAllGather || r.call == Call::kSplit || r.call == Call::kAllToAll ||
           r.call == Call::kBarrier;
  return schedule == S::kDirect;
}

Plan make_plan(const Request& r, Schedule schedule) {
  Plan plan;
  if (schedule == S::kLocal) {
    plan = local(r);
  } else if (is_all_reduce(r.call)) {
    plan = plans::all_reduce(r, schedule);
  } else if (is_reduce_scatter(r.call)) {
    plan = plans::reduce_scatter(r, schedule);
  } else if (r.call == Call::kBroadcast) {
    plan = plans::broadcast(r, schedule);
  } else if (r.call == Call::kAllToAll) {
    plan = plans::all_to_all(r, schedule);
  } else if (r.call == Call::kGather) {
    plan = plans::gather(r, schedule);
  } else if (r.call == Call::kScatter) {
    plan = plans::scatter(r, schedule);
  } else if (r.call == Call::kBarrier) {
    plan = plans::barrier(r, schedule);
  } else {
    plan = plans::all_gather(r, schedule);
  }
  plan.schedule = schedule;
  return plan;
}

Plan make_plan(const Request& r) { return make_plan(r, choose(r)); }

}  // namespace jobkit
