// all_gather and gather.
#include <algorithm>

#include "plans.h"

namespace jobkit::plans {
namespace {

Span output_block(const Request& r, int p) { return block(Buffer::kOutput, p, r.count); }

Plan direct_all_gather(const Request& r) {
  Builder plan;
  Span in = whole(Buffer::kInput, r.count);
  for_each_peer(r, [&](int p) { plan.receive(p, 0, output_block(r, p)); });
  for_each_peer(r, [&](int p) { plan.send(p, 0, in); });
  plan.copy(in, output_block(r, r.rank));
  return plan.take();
}

// Blocks go round: each step passes on what the last one brought, beginning with this rank's own.
Plan ring_all_gather(const Request& r) {
  Builder plan;
  Span in = whole(Buffer::kInput, r.count), held = in;
  Steps after;
  for (int step = 0; step < r.size - 1; step++) {
    auto message = static_cast<uint32_t>(step);
    Span coming = output_block(r, before(r, step + 1));
    int got = plan.receive(left(r), message, coming);
    plan.send(right(r), message, held, after);
    held = coming;
    after = {got};
  }
  plan.copy(in, output_block(r, r.rank));
  return plan.take();
}

// Bruck et al., IEEE TPDS 8(11), 1997, doi 10.1109/71.642949: place j of the scratch is for the block of rank
// r + j; in the round of distance d the first d places, or what is still wanted of them, go to rank r - d.
Plan bruck_all_gather(const Request& r) {
  auto size = static_cast<uint64_t>(r.size);
  Builder plan(size * r.count);
  auto places = [&](int first, int n) {
    return Span{Buffer::kScratch, first * r.count, static_cast<uint64_t>(n) * r.count};
  };
  Steps have{plan.copy(whole(Buffer::kInput, r.count), places(0, 1))};
  uint32_t round = 0;
  for (int distance = 1; distance < r.size; distance *= 2, round++) {
    int n = std::min(distance, r.size - distance);
    int got = plan.receive((r.rank + distance) % r.size, round, places(distance, n));
    plan.send(before(r, distance), round, places(0, n), have);
    have.push_back(got);
  }
  auto to_output = [&](int first_place, int first_rank, int n) {
    Span to{Buffer::kOutput, first_rank * r.count, n * r.count};
    plan.copy(places(first_place, n), to, have);
  };
  to_output(0, r.rank, r.size - r.rank);
  if (r.rank > 0) to_output(r.size - r.rank, 0, r.rank);
  return plan.take();
}

Plan direct_gather(const Request& r) {
  Builder plan;
  Span in = whole(Buffer::kInput, r.count);
  if (r.rank != r.root) {
    plan.send(r.root, 0, in);
    return plan.take();
  }
  for_each_peer(r, [&](int p) { plan.receive(p, 0, output_block(r, p)); });
  plan.copy(in, output_block(r, r.rank));
  return plan.take();
}

// Blocks travel down the chain of places 1, 2 ... to the root, each under the number of its place; the
// nearest to the root goes first.
Plan chain_gather(const Request& r) {
  int own = place(r);
  Span in = whole(Buffer::kInput, r.count);
  if (own == 0) {
    Builder plan;
    for (int p = r.size - 1; p > 0; p--) {
      plan.receive(left(r), static_cast<uint32_t>(p), output_block(r, at_place(r, p)));
    }
    plan.copy(in, output_block(r, r.rank));
    return plan.take();
  }
  Builder plan((own - 1) * r.count);
  plan.send(right(r), static_cast<uint32_t>(own), in);
  for (int p = own - 1; p > 0; p--) {
    Span passing = block(Buffer::kScratch, p - 1, r.count);
    int got = plan.receive(left(r), static_cast<uint32_t>(p), passing);
    plan.send(right(r), static_cast<uint32_t>(p), passing, {got});
  }
  return plan.take();
}

}  // namespace

Plan all_gather(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return ring_all_gather(r);
  return schedule == Schedule::kBruck ? bruck_all_gather(r) : direct_all_gather(r);
}

Plan gather(const Request& r, Schedule schedule) {
  return schedule == Schedule::kRing ? chain_gather(r) : direct_gather(r);
}

}  // namespace jobkit::plans
