// all_to_all and barrier.
#include "plans.h"

namespace jobkit::plans {
namespace {

Span input_block(const Request& r, int p) { return block(Buffer::kInput, p, r.count); }
Span output_block(const Request& r, int p) { return block(Buffer::kOutput, p, r.count); }

void keep_own_block(const Request& r, Builder& plan) {
  plan.copy(input_block(r, r.rank), output_block(r, r.rank));
}

Plan direct_all_to_all(const Request& r) {
  Builder plan;
  for_each_peer(r, [&](int p) { plan.receive(p, 0, output_block(r, p)); });
  for_each_peer(r, [&](int p) { plan.send(p, 0, input_block(r, p)); });
  keep_own_block(r, plan);
  return plan.take();
}

// In step k the blocks that still have k or more hops to go move on by one, nearest destination first; the
// first that arrives is for this rank, from the rank k before it. Two halves of the scratch take turns.
Plan ring_all_to_all(const Request& r) {
  uint64_t n_half = (r.size - 1) * r.count;
  Builder plan(2 * n_half);
  Steps after, sends, kept;
  for (int d = 1; d < r.size; d++) {
    Span waiting{Buffer::kScratch, (d - 1) * r.count, r.count};
    after.push_back(plan.copy(input_block(r, (r.rank + d) % r.size), waiting));
  }
  uint64_t leaving = 0;
  for (int k = 1; k < r.size; k++) {
    uint64_t n = (r.size - k) * r.count, arriving = (k % 2) * n_half;
    auto message = static_cast<uint32_t>(k);
    Steps gate;  // what still reads the half that this message overwrites
    if (k > 1) gate.push_back(sends[k - 2]);
    if (k > 2) gate.push_back(kept[k - 3]);
    int got = plan.receive(left(r), message, {Buffer::kScratch, arriving, n}, gate);
    sends.push_back(plan.send(right(r), message, {Buffer::kScratch, leaving, n}, after));
    kept.push_back(plan.copy({Buffer::kScratch, arriving, r.count}, output_block(r, before(r, k)), {got}));
    leaving = arriving + r.count;
    after = {got};
  }
  keep_own_block(r, plan);
  return plan.take();
}

// Everybody tells everybody: one step, for as long as telling costs less than waiting once more.
Plan direct_barrier(const Request& r) {
  Builder plan;
  Span nothing = whole(Buffer::kScratch, 0);
  for_each_peer(r, [&](int p) { plan.receive(p, 0, nothing); });
  for_each_peer(r, [&](int p) { plan.send(p, 0, nothing); });
  return plan.take();
}

// Dissemination (Hensgen, Finkel, Manber, 1988, doi 10.1007/BF01379320): once a rank has the messages of the
// rounds up to distance d it knows of the 2d - 1 ranks before it. In a ring each distance is 1, and a message
// tells of one rank more than the last.
Plan rounds_barrier(const Request& r, bool ring) {
  Builder plan;
  Span nothing = whole(Buffer::kScratch, 0);
  Steps heard;
  uint32_t round = 0;
  for (int distance = 1; distance < r.size; distance = ring ? distance + 1 : 2 * distance, round++) {
    int hop = ring ? 1 : distance;
    int got = plan.receive(before(r, hop), round, nothing);
    plan.send((r.rank + hop) % r.size, round, nothing, {}, heard);
    heard.push_back(got);
  }
  return plan.take();
}

}  // namespace

Plan all_to_all(const Request& r, Schedule schedule) {
  return schedule == Schedule::kRing ? ring_all_to_all(r) : direct_all_to_all(r);
}

Plan barrier(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kDirect) return direct_barrier(r);
  return rounds_barrier(r, schedule == Schedule::kRing);
}

}  // namespace jobkit::plans
