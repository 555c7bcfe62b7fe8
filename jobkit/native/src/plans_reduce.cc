// all_reduce and reduce_scatter. Sources of the recursive schedules and of all costs: Thakur, Rabenseifner,
// Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 19(1), 2005,
// doi 10.1177/1094342005051521.
#include <bit>

#include "plans.h"

namespace jobkit::plans {
namespace {

Span input_segment(const Request& r, int p) { return segment(Buffer::kInput, r.count, p, r.size); }
Span output_segment(const Request& r, int p) { return segment(Buffer::kOutput, r.count, p, r.size); }
Span input_block(const Request& r, int p) { return block(Buffer::kInput, p, r.count); }

using Part = Span (*)(const Request&, int);

// Every rank gives part p of its input to rank p, and reduces what it gets with its own part to `out`, by the
// fixed tree. Returns the reduction's step.
int reduce_parts(const Request& r, Builder& plan, Part input, Span out) {
  std::vector<Operand> operands(r.size);
  operands[r.rank] = {input(r, r.rank)};
  for_each_peer(r, [&](int p) { operands[p] = plan.stream(p, 0, out.count); });
  for_each_peer(r, [&](int p) { plan.send(p, 0, input(r, p)); });
  return plan.reduce(operands, out, true);
}

Plan one_shot(const Request& r) {
  Builder plan;
  Span in = whole(Buffer::kInput, r.count);
  std::vector<Operand> operands(r.size);
  operands[r.rank] = {in};
  Steps sends;
  for_each_peer(r, [&](int p) { operands[p] = plan.stream(p, 0, r.count); });
  for_each_peer(r, [&](int p) { sends.push_back(plan.send(p, 0, in)); });
  // In place, the result of an element must not overtake the element itself on its way to a slower rank.
  plan.reduce(operands, whole(Buffer::kOutput, r.count), true, {}, sends);
  return plan.take();
}

Plan two_shot(const Request& r) {
  Builder plan;
  Span own = output_segment(r, r.rank);
  int reduced = reduce_parts(r, plan, input_segment, own);
  for_each_peer(r, [&](int p) { plan.receive(p, 1, output_segment(r, p)); });
  for_each_peer(r, [&](int p) { plan.send(p, 1, own, {reduced}); });
  return plan.take();
}

// --- recursive: partners at distance 1, 2, 4 ... among the first 2^k ranks ---

// The largest power of two up to `size`, and how many ranks are beyond it.
int core_of(int size) { return static_cast<int>(std::bit_floor(static_cast<unsigned>(size))); }

// Messages: kFold and kUnfold between the rank beyond the power of two and its partner, one per distance
// while reducing, one per distance while gathering.
constexpr uint32_t kFold = 0, kUnfold = 1, kReducing = 2, kGathering = 34;

// The lower rank is the left operand.
std::vector<Operand> in_order(int rank, int partner, Operand own, Operand other) {
  return rank < partner ? std::vector{own, other} : std::vector{other, own};
}

// A rank beyond the power of two gives its input to its partner and gets the result.
Plan folded(const Request& r, int partner) {
  Builder plan;
  plan.send(partner, kFold, whole(Buffer::kInput, r.count));
  plan.receive(partner, kUnfold, whole(Buffer::kOutput, r.count));
  return plan.take();
}

// What a rank has before the first exchange: its input, or in the output the sum of it and of the rank that
// folds onto it.
struct Start {
  Buffer buffer = Buffer::kInput;
  Steps after;
};

Start fold(const Request& r, Builder& plan, int core) {
  if (r.rank + core >= r.size) return {};
  Operand own{whole(Buffer::kInput, r.count)};
  Operand other = plan.stream(r.rank + core, kFold, r.count);
  int sum = plan.reduce({own, other}, whole(Buffer::kOutput, r.count), core == 1);
  return {Buffer::kOutput, {sum}};
}

Plan recursive_doubling(const Request& r) {
  int core = core_of(r.size);
  if (r.rank >= core) return folded(r, r.rank - core);
  Builder plan;
  auto [buffer, after] = fold(r, plan, core);
  Span out = whole(Buffer::kOutput, r.count);
  for (int distance = 1; distance < core; distance *= 2) {
    int partner = r.rank ^ distance;
    auto message = kReducing + static_cast<uint32_t>(std::countr_zero(static_cast<unsigned>(distance)));
    Span have = whole(buffer, r.count);
    Operand other = plan.stream(partner, message, r.count);
    int sent = plan.send(partner, message, have, after);
    auto operands = in_order(r.rank, partner, {have}, other);
    after = {plan.reduce(operands, out, 2 * distance == core, after, {sent})};
    buffer = Buffer::kOutput;
  }
  if (r.rank + core < r.size) plan.send(r.rank + core, kUnfold, out, after);
  return plan.take();
}

// Partners halve what they are responsible for, at distance 1, 2, 4 ..., so that the sums are those of the
// fixed tree; then they give each other the finished parts, in the opposite order.
Plan rabenseifner(const Request& r) {
  int core = core_of(r.size);
  if (r.rank >= core) return folded(r, r.rank - core);
  Builder plan;
  auto [buffer, after] = fold(r, plan, core);
  std::vector<Span> held{whole(Buffer::kOutput, r.count)};
  for (int distance = 1; distance < core; distance *= 2) {
    int partner = r.rank ^ distance, upper = r.rank & distance ? 1 : 0;
    auto message = kReducing + static_cast<uint32_t>(held.size());
    Span kept = piece(held.back(), upper, 2), given = piece(held.back(), 1 - upper, 2);
    Operand other = plan.stream(partner, message, kept.count);
    plan.send(partner, message, {buffer, given.offset, given.count}, after);
    auto operands = in_order(r.rank, partner, {{buffer, kept.offset, kept.count}}, other);
    after = {plan.reduce(operands, kept, 2 * distance == core, after)};
    buffer = Buffer::kOutput;
    held.push_back(kept);
  }
  for (int distance = core / 2; distance > 0; distance /= 2) {
    int partner = r.rank ^ distance, upper = r.rank & distance ? 1 : 0;
    auto message = kGathering + static_cast<uint32_t>(held.size());
    Span own = held.back();
    held.pop_back();
    int got = plan.receive(partner, message, piece(held.back(), 1 - upper, 2));
    plan.send(partner, message, own, after);
    after.push_back(got);
  }
  if (r.rank + core < r.size) plan.send(r.rank + core, kUnfold, held.back(), after);
  return plan.take();
}

// --- ring ---

// A partial result goes round: rank r starts with part r - 1, and in each step adds its own share to the
// partial that comes from the left and passes it on, until part r arrives with everybody's share in it.
// `partial` says where the sum of a step lies. Returns the step of the last sum.
template <typename Partial>
int ring_reduce(const Request& r, Builder& plan, Part input, Partial partial) {
  Span held = input(r, before(r, 1));
  Steps after, behind;
  for (int step = 0; step < r.size - 1; step++) {
    auto message = static_cast<uint32_t>(step);
    Span mine = input(r, before(r, step + 2)), out = partial(step);
    Operand coming = plan.stream(left(r), message, mine.count);
    int sent = plan.send(right(r), message, held, after);
    after = {plan.reduce({coming, {mine}}, out, step == r.size - 2, {}, behind)};
    behind = {sent};  // the next sum may lie where this message came from
    held = out;
  }
  return after[0];
}

Plan ring_all_reduce(const Request& r) {
  Builder plan;
  // The sum of each step lies where the result of its segment will.
  auto partial = [&](int step) { return output_segment(r, before(r, step + 2)); };
  int reduced = ring_reduce(r, plan, input_segment, partial);
  Steps after{reduced};
  for (int step = 0; step < r.size - 1; step++) {
    auto message = static_cast<uint32_t>(r.size + step);
    int got = plan.receive(left(r), message, output_segment(r, before(r, step + 1)));
    plan.send(right(r), message, output_segment(r, before(r, step)), after);
    after = {got};
  }
  return plan.take();
}

Plan ring_reduce_scatter(const Request& r) {
  // Two blocks of the scratch take turns; the last sum is the result.
  Builder plan(2 * r.count);
  auto partial = [&](int step) {
    bool last = step == r.size - 2;
    return last ? whole(Buffer::kOutput, r.count) : block(Buffer::kScratch, step % 2, r.count);
  };
  ring_reduce(r, plan, input_block, partial);
  return plan.take();
}

}  // namespace

Plan all_reduce(const Request& r, Schedule schedule) {
  switch (schedule) {
    case Schedule::kOneShot:
      return one_shot(r);
    case Schedule::kRecursiveDoubling:
      return recursive_doubling(r);
    case Schedule::kRabenseifner:
      return rabenseifner(r);
    case Schedule::kTwoLevel:
      return two_level_all_reduce(r);
    case Schedule::kRing:
      return ring_all_reduce(r);
    default:
      return two_shot(r);
  }
}

Plan reduce_scatter(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return ring_reduce_scatter(r);
  Builder plan;
  reduce_parts(r, plan, input_block, whole(Buffer::kOutput, r.count));
  return plan.take();
}

}  // namespace jobkit::plans
