#include "schedule.h"

#include <algorithm>
#include <numeric>

namespace jobkit {
namespace {

// Bytes that each rank receives, up to which one message per peer beats two rounds of smaller ones. Two ranks
// over loopback TCP break even at 60 to 90 KiB (2-core VM: 3 us a message, 14.5 GB/s of reduction).
constexpr uint64_t kOneShotBytes = 64 << 10;

// Bytes from which a broadcast is cut into segments, so that the root's link carries the array once.
constexpr uint64_t kCutBroadcastBytes = 256 << 10;

// Bytes of a piece that travels down the chain of neighbours while the next one follows.
constexpr uint64_t kChainPieceBytes = 256 << 10;

Span whole(Buffer buffer, uint64_t count) { return {buffer, 0, count}; }
Span block(Buffer buffer, uint64_t index, uint64_t count) { return {buffer, index * count, count}; }

LocalStep copy(Span from, Span to) { return {LocalKind::kCopy, false, {from}, to}; }

// The others, each rank beginning with its right neighbour, so that they do not all send to rank 0 first.
template <typename Visit>
void for_each_peer(const Request& r, Visit visit) {
  for (int distance = 1; distance < r.size; distance++) visit((r.rank + distance) % r.size);
}

int right(const Request& r) { return (r.rank + 1) % r.size; }
int left(const Request& r) { return (r.rank + r.size - 1) % r.size; }

// The rank `distance` before this one, for a distance up to 2 * size.
int before(const Request& r, int distance) { return (r.rank + 2 * r.size - distance) % r.size; }

// The rank as counted from the root.
int place(const Request& r) { return (r.rank - r.root + r.size) % r.size; }
int at_place(const Request& r, int where) { return (where + r.root) % r.size; }

// Where another rank's part waits for a fixed-tree reduction: one block of the scratch for each.
Span slot(const Request& r, int p, uint64_t count) {
  return block(Buffer::kScratch, p < r.rank ? p : p - 1, count);
}

std::vector<Span> parts_of_all(const Request& r, uint64_t count, Span own) {
  std::vector<Span> parts;
  for (int p = 0; p < r.size; p++) parts.push_back(p == r.rank ? own : slot(r, p, count));
  return parts;
}

// --- a group of one ---

Plan local(const Request& r) {
  Plan plan;
  if (r.call == Call::kBarrier || r.call == Call::kBroadcast) return plan;
  Span in = whole(Buffer::kInput, r.count), out = whole(Buffer::kOutput, r.count);
  bool reduces = is_all_reduce(r.call) || is_reduce_scatter(r.call);
  LocalStep step = reduces ? LocalStep{LocalKind::kReduceAll, true, {in}, out} : copy(in, out);
  plan.stages.push_back({{step}, {}, {}, {}});
  return plan;
}

// --- all_reduce ---

Plan one_shot(const Request& r) {
  Plan plan;
  plan.n_scratch = r.count * (r.size - 1);
  Stage stage;
  for_each_peer(r, [&](int p) {
    stage.receives.push_back({p, 0, slot(r, p, r.count)});
    stage.sends.push_back({p, 0, whole(Buffer::kInput, r.count)});
  });
  std::vector<Span> parts = parts_of_all(r, r.count, whole(Buffer::kInput, r.count));
  stage.after.push_back({LocalKind::kReduceAll, true, std::move(parts), whole(Buffer::kOutput, r.count)});
  plan.stages.push_back(std::move(stage));
  return plan;
}

// Every rank gives segment p to rank p, which reduces what it got with its own.
Stage reduce_segments(const Request& r, Span (*input)(const Request&, int), Span out) {
  Stage stage;
  for_each_peer(r, [&](int p) {
    stage.receives.push_back({p, 0, slot(r, p, out.count)});
    stage.sends.push_back({p, 0, input(r, p)});
  });
  stage.after.push_back({LocalKind::kReduceAll, true, parts_of_all(r, out.count, input(r, r.rank)), out});
  return stage;
}

// Every rank gives its own segment of the output to everybody.
Stage share_segments(const Request& r, uint32_t message) {
  Stage stage;
  for_each_peer(r, [&](int p) {
    stage.receives.push_back({p, message, segment(Buffer::kOutput, r.count, p, r.size)});
    stage.sends.push_back({p, message, segment(Buffer::kOutput, r.count, r.rank, r.size)});
  });
  return stage;
}

Span input_segment(const Request& r, int p) { return segment(Buffer::kInput, r.count, p, r.size); }
Span input_block(const Request& r, int p) { return block(Buffer::kInput, p, r.count); }

Plan two_shot(const Request& r) {
  Plan plan;
  Span own = segment(Buffer::kOutput, r.count, r.rank, r.size);
  plan.n_scratch = own.count * (r.size - 1);
  plan.stages.push_back(reduce_segments(r, input_segment, own));
  plan.stages.push_back(share_segments(r, 1));
  return plan;
}

// A partial result goes round: rank r starts with segment r - 1, and in each step adds its own share to the
// partial that came from the left and passes it on, until segment r arrives with everybody's share in it. Two
// halves of the scratch take turns.
void ring_reduce(const Request& r, Plan& plan, uint64_t n_half, Span (*input)(const Request&, int),
                 Span out) {
  plan.n_scratch = 2 * n_half;
  Span held = input(r, before(r, 1));
  for (int step = 0; step < r.size - 1; step++) {
    int index = before(r, step + 2);
    bool last = step == r.size - 2;
    Span mine = input(r, index);
    Span partial{Buffer::kScratch, (step % 2) * n_half, mine.count};
    auto message = static_cast<uint32_t>(step);
    Stage stage;
    stage.receives.push_back({left(r), message, partial});
    stage.sends.push_back({right(r), message, held});
    stage.after.push_back({LocalKind::kReduce, last, {partial, mine}, last ? out : partial});
    plan.stages.push_back(std::move(stage));
    held = partial;
  }
}

// Finished pieces go round: each step passes on what the last one brought, beginning with this rank's own.
void ring_share(const Request& r, Plan& plan, uint32_t first_message, Span (*output)(const Request&, int)) {
  for (int step = 0; step < r.size - 1; step++) {
    uint32_t message = first_message + static_cast<uint32_t>(step);
    Stage stage;
    stage.receives.push_back({left(r), message, output(r, before(r, step + 1))});
    stage.sends.push_back({right(r), message, output(r, before(r, step))});
    plan.stages.push_back(std::move(stage));
  }
}

Span output_segment(const Request& r, int p) { return segment(Buffer::kOutput, r.count, p, r.size); }
Span output_block(const Request& r, int p) { return block(Buffer::kOutput, p, r.count); }

Plan ring_all_reduce(const Request& r) {
  Plan plan;
  uint64_t n_half = segment(Buffer::kScratch, r.count, 0, r.size).count;
  ring_reduce(r, plan, n_half, input_segment, output_segment(r, r.rank));
  ring_share(r, plan, static_cast<uint32_t>(r.size), output_segment);
  return plan;
}

Plan all_reduce(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return ring_all_reduce(r);
  return schedule == Schedule::kOneShot ? one_shot(r) : two_shot(r);
}

// --- reduce_scatter, all_gather ---

Plan reduce_scatter(const Request& r, Schedule schedule) {
  Plan plan;
  Span out = whole(Buffer::kOutput, r.count);
  if (schedule == Schedule::kRing) {
    ring_reduce(r, plan, r.count, input_block, out);
    return plan;
  }
  plan.n_scratch = r.count * (r.size - 1);
  plan.stages.push_back(reduce_segments(r, input_block, out));
  return plan;
}

Plan all_gather(const Request& r, Schedule schedule) {
  Plan plan;
  LocalStep own = copy(whole(Buffer::kInput, r.count), output_block(r, r.rank));
  if (schedule == Schedule::kRing) {
    ring_share(r, plan, 0, output_block);
    plan.stages.front().before.push_back(own);
    return plan;
  }
  Stage stage;
  for_each_peer(r, [&](int p) {
    stage.receives.push_back({p, 0, output_block(r, p)});
    stage.sends.push_back({p, 0, whole(Buffer::kInput, r.count)});
  });
  stage.after.push_back(own);
  plan.stages.push_back(std::move(stage));
  return plan;
}

// --- broadcast: the one buffer is both input and output ---

// In round k the ranks that have the array, places 0 to 2^k - 1, give it to the rank 2^k places on.
Plan tree_broadcast(const Request& r) {
  Plan plan;
  int own = place(r);
  for (int distance = 1; distance < r.size; distance *= 2) {
    Stage stage;
    Span all = whole(Buffer::kOutput, r.count);
    if (own >= distance && own < 2 * distance)
      stage.receives.push_back({at_place(r, own - distance), 0, all});
    if (own < distance && own + distance < r.size)
      stage.sends.push_back({at_place(r, own + distance), 0, all});
    if (!stage.receives.empty() || !stage.sends.empty()) plan.stages.push_back(std::move(stage));
  }
  return plan;
}

Plan cut_broadcast(const Request& r) {
  Plan plan;
  Stage scatter;
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { scatter.sends.push_back({p, 0, output_segment(r, p)}); });
  } else {
    scatter.receives.push_back({r.root, 0, output_segment(r, r.rank)});
  }
  Stage share;
  for_each_peer(r, [&](int p) {
    if (r.rank != r.root) share.receives.push_back({p, 1, output_segment(r, p)});
    if (p != r.root) share.sends.push_back({p, 1, output_segment(r, r.rank)});
  });
  plan.stages.push_back(std::move(scatter));
  plan.stages.push_back(std::move(share));
  return plan;
}

// Piece c reaches place p in step c + p - 1 and leaves it in step c + p.
Plan chain_broadcast(const Request& r) {
  Plan plan;
  uint64_t wanted = std::max<uint64_t>(1, kChainPieceBytes / r.n_bytes_per_element);
  int pieces = static_cast<int>(std::clamp<uint64_t>((r.count + wanted - 1) / wanted, 1, 1 << 16));
  int own = place(r);
  for (int step = 0; step < pieces + r.size - 2; step++) {
    Stage stage;
    int coming = step - own + 1, leaving = step - own;
    if (own > 0 && coming >= 0 && coming < pieces) {
      stage.receives.push_back(
          {left(r), static_cast<uint32_t>(coming), segment(Buffer::kOutput, r.count, coming, pieces)});
    }
    if (own < r.size - 1 && leaving >= 0 && leaving < pieces) {
      stage.sends.push_back(
          {right(r), static_cast<uint32_t>(leaving), segment(Buffer::kOutput, r.count, leaving, pieces)});
    }
    if (!stage.receives.empty() || !stage.sends.empty()) plan.stages.push_back(std::move(stage));
  }
  return plan;
}

Plan broadcast(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return chain_broadcast(r);
  return schedule == Schedule::kTree ? tree_broadcast(r) : cut_broadcast(r);
}

// --- all_to_all, gather, scatter ---

// In step k the blocks that still have k or more hops to go move on by one, nearest destination first; the
// first that arrives is for this rank, from the rank k before it.
void ring_all_to_all(const Request& r, Plan& plan) {
  uint64_t n_half = (r.size - 1) * r.count;
  plan.n_scratch = 2 * n_half;
  plan.stages.resize(r.size - 1);
  for (int d = 1; d < r.size; d++) {
    plan.stages[0].before.push_back(
        copy(input_block(r, (r.rank + d) % r.size), {Buffer::kScratch, (d - 1) * r.count, r.count}));
  }
  uint64_t leaving = 0;
  for (int k = 1; k < r.size; k++) {
    uint64_t n = (r.size - k) * r.count, arriving = (k % 2) * n_half;
    auto message = static_cast<uint32_t>(k);
    Stage& stage = plan.stages[k - 1];
    stage.receives.push_back({left(r), message, {Buffer::kScratch, arriving, n}});
    stage.sends.push_back({right(r), message, {Buffer::kScratch, leaving, n}});
    stage.after.push_back(copy({Buffer::kScratch, arriving, r.count}, output_block(r, before(r, k))));
    leaving = arriving + r.count;
  }
}

Plan all_to_all(const Request& r, Schedule schedule) {
  Plan plan;
  if (schedule == Schedule::kRing) {
    ring_all_to_all(r, plan);
  } else {
    Stage stage;
    for_each_peer(r, [&](int p) {
      stage.receives.push_back({p, 0, output_block(r, p)});
      stage.sends.push_back({p, 0, input_block(r, p)});
    });
    plan.stages.push_back(std::move(stage));
  }
  plan.stages.front().before.push_back(copy(input_block(r, r.rank), output_block(r, r.rank)));
  return plan;
}

// Place p gets the blocks of places 1 to p - 1 from its left, appends its own and passes them on: the root
// ends with all of them.
Plan chain_gather(const Request& r) {
  Plan plan;
  int own = place(r) == 0 ? r.size : place(r);
  plan.n_scratch = own * r.count;
  Stage take, give;
  Span got{Buffer::kScratch, 0, (own - 1) * r.count};
  if (own > 1) take.receives.push_back({left(r), 0, got});
  if (own < r.size) {
    take.before.push_back(
        copy(whole(Buffer::kInput, r.count), {Buffer::kScratch, (own - 1) * r.count, r.count}));
    give.sends.push_back({right(r), 0, {Buffer::kScratch, 0, own * r.count}});
  }
  if (own == r.size) {
    for (int p = 1; p < r.size; p++) {
      take.after.push_back(
          copy({Buffer::kScratch, (p - 1) * r.count, r.count}, output_block(r, at_place(r, p))));
    }
    take.after.push_back(copy(whole(Buffer::kInput, r.count), output_block(r, r.rank)));
  }
  plan.stages.push_back(std::move(take));
  plan.stages.push_back(std::move(give));
  return plan;
}

Plan gather(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return chain_gather(r);
  Plan plan;
  Stage stage;
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { stage.receives.push_back({p, 0, output_block(r, p)}); });
    stage.after.push_back(copy(whole(Buffer::kInput, r.count), output_block(r, r.rank)));
  } else {
    stage.sends.push_back({r.root, 0, whole(Buffer::kInput, r.count)});
  }
  plan.stages.push_back(std::move(stage));
  return plan;
}

// Place p gets the blocks of places p to size - 1, nearest last, keeps its own and passes the rest on.
Plan chain_scatter(const Request& r) {
  Plan plan;
  int own = place(r), n_after = r.size - 1 - own;
  plan.n_scratch = (n_after + 1) * r.count;
  Stage take, give;
  if (own == 0) {
    for (int p = 1; p < r.size; p++) {
      uint64_t slot = r.size - 1 - p;
      take.before.push_back(
          copy(input_block(r, at_place(r, p)), {Buffer::kScratch, slot * r.count, r.count}));
    }
    take.before.push_back(copy(input_block(r, r.rank), whole(Buffer::kOutput, r.count)));
  } else {
    take.receives.push_back({left(r), 0, {Buffer::kScratch, 0, (n_after + 1) * r.count}});
    take.after.push_back(
        copy({Buffer::kScratch, n_after * r.count, r.count}, whole(Buffer::kOutput, r.count)));
  }
  if (n_after > 0) give.sends.push_back({right(r), 0, {Buffer::kScratch, 0, n_after * r.count}});
  plan.stages.push_back(std::move(take));
  plan.stages.push_back(std::move(give));
  return plan;
}

Plan scatter(const Request& r, Schedule schedule) {
  if (schedule == Schedule::kRing) return chain_scatter(r);
  Plan plan;
  Stage stage;
  if (r.rank == r.root) {
    for_each_peer(r, [&](int p) { stage.sends.push_back({p, 0, input_block(r, p)}); });
    stage.after.push_back(copy(input_block(r, r.rank), whole(Buffer::kOutput, r.count)));
  } else {
    stage.receives.push_back({r.root, 0, whole(Buffer::kOutput, r.count)});
  }
  plan.stages.push_back(std::move(stage));
  return plan;
}

// --- barrier ---

// Dissemination: after round k each rank has heard, directly or not, of the 2^(k+1) - 1 ranks before it.
Plan barrier(const Request& r, Schedule schedule) {
  Plan plan;
  Span nothing = whole(Buffer::kScratch, 0);
  uint32_t round = 0;
  for (int distance = 1; distance < r.size;
       distance = schedule == Schedule::kRing ? distance + 1 : 2 * distance) {
    int hop = schedule == Schedule::kRing ? 1 : distance;
    Stage stage;
    stage.receives.push_back({(r.rank + r.size - hop) % r.size, round, nothing});
    stage.sends.push_back({(r.rank + hop) % r.size, round, nothing});
    plan.stages.push_back(std::move(stage));
    round++;
  }
  return plan;
}

Schedule choose_all_reduce(const Request& r, uint64_t n_bytes) {
  bool small = n_bytes * static_cast<uint64_t>(r.size - 1) <= kOneShotBytes;
  return small ? Schedule::kOneShot : Schedule::kTwoShot;
}

}  // namespace

const char* name_of(Schedule schedule) {
  constexpr const char* names[] = {"local", "one-shot", "two-shot",      "direct",
                                   "ring",  "tree",     "scatter-gather"};
  return names[static_cast<int>(schedule)];
}

Span segment(Buffer buffer, uint64_t count, int index, int size) {
  uint64_t n = count / size, longer = count % size, i = index;
  return {buffer, i * n + std::min(i, longer), n + (i < longer ? 1 : 0)};
}

Schedule choose(const Request& r) {
  uint64_t n_bytes = r.count * r.n_bytes_per_element;
  if (r.size == 1) return Schedule::kLocal;
  if (r.topology == Topology::kNeighbours) return Schedule::kRing;
  if (is_all_reduce(r.call)) return choose_all_reduce(r, n_bytes);
  if (r.call == Call::kBroadcast) {
    return r.size > 2 && n_bytes >= kCutBroadcastBytes ? Schedule::kScatterGather : Schedule::kTree;
  }
  return Schedule::kDirect;
}

Plan make_plan(const Request& r) {
  Schedule schedule = choose(r);
  Plan plan;
  if (schedule == Schedule::kLocal) {
    plan = local(r);
  } else if (is_all_reduce(r.call)) {
    plan = all_reduce(r, schedule);
  } else if (is_reduce_scatter(r.call)) {
    plan = reduce_scatter(r, schedule);
  } else if (r.call == Call::kBroadcast) {
    plan = broadcast(r, schedule);
  } else if (r.call == Call::kAllToAll) {
    plan = all_to_all(r, schedule);
  } else if (r.call == Call::kGather) {
    plan = gather(r, schedule);
  } else if (r.call == Call::kScatter) {
    plan = scatter(r, schedule);
  } else if (r.call == Call::kBarrier) {
    plan = barrier(r, schedule);
  } else {
    plan = all_gather(r, schedule);
  }
  plan.schedule = schedule;
  return plan;
}

}  // namespace jobkit
