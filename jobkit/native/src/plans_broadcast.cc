// broadcast and scatter. What arrives is passed on as it arrives: a long chain or tree costs latency, not
// bandwidth. The root sends its input, and copies it to its output meanwhile.
#include <algorithm>

#include "plans.h"

namespace jobkit::plans {
namespace {

// What this rank passes on: only the root has it from the beginning.
Span source(const Request& r) { return whole(r.rank == r.root ? Buffer::kInput : Buffer::kOutput, r.count); }

Span target(const Request& r) { return whole(Buffer::kOutput, r.count); }

// After its sends.
void keep_own_array(const Request& r, Builder& plan) {
  if (r.rank == r.root) plan.copy(source(r), target(r));
}

// Passes the array down the binomial tree over `ranks`, whose first one has it: in round k the first 2^k of
// them give it to the rank 2^k places on. `have` is the step that brought it to this rank, if any did.
void down_the_tree(const Request& r, Builder& plan, const std::vector<int>& ranks, Steps& have) {
  size_t own = std::find(ranks.begin(), ranks.end(), r.rank) - ranks.begin();
  for (size_t distance = 1; distance < ranks.size(); distance *= 2) {
    if (own >= distance && own < 2 * distance) have = {plan.receive(ranks[own - distance], 0, target(r))};
    if (own < distance && own + distance < ranks.size()) plan.send(ranks[own + distance], 0, source(r), have);
  }
}

Plan tree_broadcast(const Request& r) {
  std::vector<int> ranks;
  for (int p = 0; p < r.size; p++) ranks.push_back(at_place(r, p));
  Builder plan;
  Steps have;
  down_the_tree(r, plan, ranks, have);
  keep_own_array(r, plan);
  return plan.take();
}

// A tree over one rank of each host, then one on each host.
Plan two_level_broadcast(const Request& r) {
  std::vector<std::vector<int>> hosts = hosts_of(r);
  for (auto& host : hosts) {
    auto root = std::find(host.begin(), host.end(), r.root);
    if (root != host.end()) {
      std::rotate(host.begin(), root, root + 1);
      std::swap(hosts.front(), host);
    }
  }
  std::vector<int> first;
  for (auto& host : hosts) first.push_back(host[0]);
  Builder plan;
  Steps have;
  if (std::find(first.begin(), first.end(), r.rank) != first.end()) down_the_tree(r, plan, first, have);
  for (auto& host : hosts) {
    if (std::find(host.begin(), host.end(), r.rank) != host.end()) down_the_tree(r, plan, host, have);
  }
  keep_own_array(r, plan);
  return plan.take();
}

Plan direct_broadcast(const Request& r) {
  Builder plan;
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { plan.send(p, 0, source(r)); });
  } else {
    plan.receive(r.root, 0, target(r));
  }
  keep_own_array(r, plan);
  return plan.take();
}

Plan scatter_gather_broadcast(const Request& r) {
  Builder plan;
  auto own = [&](Span all) { return piece(all, r.rank, r.size); };
  Steps have;
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { plan.send(p, 0, piece(source(r), p, r.size)); });
  } else {
    have = {plan.receive(r.root, 0, own(target(r)))};
    for_each_peer(r, [&](int p) { plan.receive(p, 1, piece(target(r), p, r.size)); });
  }
  for_each_peer(r, [&](int p) {
    if (p != r.root) plan.send(p, 1, own(source(r)), have);
  });
  keep_own_array(r, plan);
  return plan.take();
}

Plan chain_broadcast(const Request& r) {
  Builder plan;
  Steps have;
  if (place(r) > 0) have = {plan.receive(left(r), 0, target(r))};
  if (place(r) < r.size - 1) plan.send(right(r), 0, source(r), have);
  keep_own_array(r, plan);
  return plan.take();
}

Span input_block(const Request& r, int p) { return block(Buffer::kInput, p, r.count); }

Plan direct_scatter(const Request& r) {
  Builder plan;
  Span out = whole(Buffer::kOutput, r.count);
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { plan.send(p, 0, input_block(r, p)); });
    plan.copy(input_block(r, r.rank), out);
  } else {
    plan.receive(r.root, 0, out);
  }
  return plan.take();
}

// Blocks travel down the chain of places 1, 2 ..., each under the number of its place, the farthest first.
Plan chain_scatter(const Request& r) {
  int own = place(r), n_passing = r.size - 1 - own;
  Span out = whole(Buffer::kOutput, r.count);
  if (own == 0) {
    Builder plan;
    for (int p = r.size - 1; p > 0; p--) {
      plan.send(right(r), static_cast<uint32_t>(p), input_block(r, at_place(r, p)));
    }
    plan.copy(input_block(r, r.rank), out);
    return plan.take();
  }
  Builder plan(n_passing * r.count);
  for (int p = r.size - 1; p > own; p--) {
    Span passing = block(Buffer::kScratch, p - own - 1, r.count);
    int got = plan.receive(left(r), static_cast<uint32_t>(p), passing);
    plan.send(right(r), static_cast<uint32_t>(p), passing, {got});
  }
  plan.receive(left(r), static_cast<uint32_t>(own), out);
  return plan.take();
}

}  // namespace

Plan broadcast(const Request& r, Schedule schedule) {
  switch (schedule) {
    case Schedule::kTree:
      return tree_broadcast(r);
    case Schedule::kScatterGather:
      return scatter_gather_broadcast(r);
    case Schedule::kTwoLevel:
      return two_level_broadcast(r);
    case Schedule::kRing:
      return chain_broadcast(r);
    default:
      return direct_broadcast(r);
  }
}

Plan scatter(const Request& r, Schedule schedule) {
  return schedule == Schedule::kRing ? chain_scatter(r) : direct_scatter(r);
}

}  // namespace jobkit::plans
