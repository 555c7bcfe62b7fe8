// all_to_all and barrier.
#include <bit>

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

// Bruck et al., IEEE TPDS 8(11), 1997, doi 10.1109/71.642949: the block for the rank d places on goes by
// those of the distances 1, 2, 4 ... of which d is the sum, in one message with all others that go the same
// distance. Each message is packed, and arrives, in a part of the scratch of its own.
Plan bruck_all_to_all(const Request& r) {
  uint64_t n_hops = 0, n_used = 0;
  for (int d = 1; d < r.size; d++) n_hops += std::popcount(static_cast<unsigned>(d));
  Builder plan(2 * n_hops * r.count);
  std::vector<Span> where;  // [d]: the block for the rank d places on, later that from the rank d before
  std::vector<Steps> brought(r.size);
  for (int d = 0; d < r.size; d++) where.push_back(input_block(r, (r.rank + d) % r.size));
  uint32_t round = 0;
  for (int distance = 1; distance < r.size; distance *= 2, round++) {
    Span leaving{Buffer::kScratch, n_used, 0};
    Steps packed;
    for (int d = 1; d < r.size; d++) {
      if (!(d & distance)) continue;
      packed.push_back(plan.copy(where[d], {Buffer::kScratch, n_used + leaving.count, r.count}, brought[d]));
      leaving.count += r.count;
    }
    plan.send((r.rank + distance) % r.size, round, leaving, packed);
    Span arriving{Buffer::kScratch, n_used + leaving.count, leaving.count};
    int got = plan.receive(before(r, distance), round, arriving);
    n_used += 2 * leaving.count;
    for (int d = 1, i = 0; d < r.size; d++) {
      if (!(d & distance)) continue;
      where[d] = {Buffer::kScratch, arriving.offset + r.count * i++, r.count};
      brought[d] = {got};
    }
  }
  for (int d = 0; d < r.size; d++) plan.copy(where[d], output_block(r, before(r, d)), brought[d]);
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
  if (schedule == Schedule::kDirect) return direct_all_to_all(r);
  return schedule == Schedule::kRing ? ring_all_to_all(r) : bruck_all_to_all(r);
}

Plan barrier(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kDirect) return direct_barrier(r);
  return rounds_barrier(r, schedule == Schedule::kRing);
}

}  // namespace jobkit::plans
