#include "group.h"

#include <algorithm>
#include <cstring>

#include "bytes.h"
#include "crc32c.h"
#include "turn.h"

namespace jobkit {
namespace {

// Plans that are kept: a training step repeats a handful of calls.
constexpr size_t kPlans = 16;

// Scratch that is kept between calls, so that its pages need not be touched anew.
constexpr size_t kKeptScratch = 64 << 20;

}  // namespace

// --- making groups ---

namespace {

Topology topology_of(const Mesh& mesh, const std::vector<int>& members) {
  size_t n = members.size();
  bool direct = true, ring = true;
  for (size_t a = 0; a < n; a++) {
    ring &= mesh.is_direct(members[a], members[(a + 1) % n]);
    for (size_t b = 0; b < n; b++) direct &= mesh.is_direct(members[a], members[b]);
  }
  return direct ? Topology::kDirect : ring ? Topology::kNeighbours : Topology::kBroken;
}

std::vector<int> all_ranks(int size) {
  std::vector<int> ranks(size);
  for (int p = 0; p < size; p++) ranks[p] = p;
  return ranks;
}

}  // namespace

Group::Group(std::shared_ptr<Mesh> mesh, double timeout_s)
    : mesh_(std::move(mesh)),
      members_(all_ranks(mesh_->size())),
      rank_(mesh_->rank()),
      timeout_s_(timeout_s),
      topology_(topology_of(*mesh_, members_)) {
  mesh_->join(context_, &active_);
}

Group::Group(const Group& parent, uint32_t context, std::vector<int> members, int rank)
    : mesh_(parent.mesh_),
      context_(context),
      members_(std::move(members)),
      rank_(rank),
      timeout_s_(parent.timeout_s_),
      topology_(topology_of(*mesh_, members_)) {
  mesh_->join(context_, &active_);
}

Group::~Group() {
  if (mesh_->generation() == process::generation()) mesh_->part(context_);
}

void Group::close() {
  if (mesh_->generation() != process::generation()) return;
  closed_ = true;
  std::string last = std::string("after ") + name_of(last_call_) + " #" + std::to_string(last_seq_);
  if (context_ == 0) mesh_->leave(last_seq_ == 0 ? "before its first collective" : last);
}

void Group::abort(const std::string& reason) {
  if (mesh_->generation() != process::generation()) return;
  mesh_->fail({mesh_->rank(), mesh_->rank(), mesh_->rank(), "aborted: " + reason});
}

// The number of a new group is a hash of how it came to be, which all its members know: no rank has to be
// asked.
std::unique_ptr<Group> Group::split(std::optional<int> color, int key, const CallOptions& options) {
  if (color && *color < 0)
    throw BadArgument(where() + "split: color " + std::to_string(*color) + ", expected >= 0");
  int32_t own[3] = {color ? 1 : 0, color.value_or(0), key < 0 ? rank_ : key};
  std::vector<int32_t> all(3 * members_.size());
  collective(Call::kSplit, own, all.data(), 3, Dtype::kInt32, 0, options);
  if (!color) return nullptr;
  std::vector<std::pair<int, int>> chosen;  // key, rank here
  for (int p = 0; p < size(); p++) {
    if (all[3 * p] && all[3 * p + 1] == *color) chosen.push_back({all[3 * p + 2], p});
  }
  std::sort(chosen.begin(), chosen.end());
  std::vector<int> members;
  int rank = 0;
  for (auto& [unused, p] : chosen) {
    if (p == rank_) rank = static_cast<int>(members.size());
    members.push_back(members_[p]);
  }
  uint8_t origin[12];
  ByteWriter(origin).put(context_).put(seq_).put(static_cast<uint32_t>(*color));
  return std::unique_ptr<Group>(new Group(*this, crc32c(origin, sizeof origin), std::move(members), rank));
}

std::unique_ptr<Group> Group::among(const std::vector<int>& ranks, const std::string& name) {
  std::vector<int> members;
  int rank = kNobody;
  for (int p : ranks) {
    if (p < 0 || p >= size()) throw BadArgument(where() + "among: no rank " + std::to_string(p));
    if (p == rank_) rank = static_cast<int>(members.size());
    members.push_back(members_[p]);
  }
  if (rank == kNobody) throw BadArgument(where() + "among: this rank is none of the ranks given");
  uint32_t origin = crc32c(name.data(), name.size(), context_);
  origin = crc32c(members.data(), members.size() * sizeof(int), origin);
  return std::unique_ptr<Group>(new Group(*this, origin, std::move(members), rank));
}

// --- collectives ---

const Plan& Group::plan_for(const Request& request) {
  for (CachedPlan& each : plans_) {
    if (each.request == request) return each.plan;
  }
  CachedPlan made{request, make_plan(request)};
  if (plans_.size() < kPlans) {
    plans_.push_back(std::move(made));
    return plans_.back().plan;
  }
  CachedPlan& oldest = plans_[next_plan_++ % kPlans];
  oldest = std::move(made);
  return oldest.plan;
}

void* Group::at(const Span& span, const Turn& turn) const {
  size_t offset = span.offset * size_of(turn.signature.dtype);
  switch (span.buffer) {
    case Buffer::kInput:
      return const_cast<uint8_t*>(turn.in) + offset;
    case Buffer::kOutput:
      return turn.out + offset;
    default:
      return scratch_.get() + offset;
  }
}

void Group::run_local(const LocalStep& step, const Turn& turn) {
  Dtype dtype = turn.signature.dtype;
  void* out = at(step.out, turn);
  size_t count = step.out.count;
  if (step.kind == LocalKind::kCopy) {
    const void* from = at(step.parts[0], turn);
    if (from != out && count > 0) std::memcpy(out, from, count * size_of(dtype));
    return;
  }
  ReduceOp op = reduce_op(turn.call);
  if (step.kind == LocalKind::kReduce) {
    reduce(op, dtype, at(step.parts[0], turn), at(step.parts[1], turn), out, count);
    if (step.last && turn.scale != 1.0) scale_in_place(dtype, out, count, turn.scale);
    return;
  }
  std::vector<const void*> parts;
  for (const Span& each : step.parts) parts.push_back(at(each, turn));
  reduce_all(op, dtype, parts.data(), static_cast<int>(parts.size()), out, count, turn.scale);
}

void Group::run_stage(const Stage& stage, Turn& turn) {
  for (const LocalStep& step : stage.before) run_local(step, turn);
  size_t n = size_of(turn.signature.dtype);
  receives_.clear();
  sends_.clear();
  auto key = [&](const Transfer& each) {
    return MessageKey{FrameKind::kCollective, context_, turn.seq, each.message, 0};
  };
  for (const Transfer& each : stage.receives) {
    auto* data = static_cast<uint8_t*>(at(each.span, turn));
    receives_.push_back(
        {members_[each.peer], key(each), turn.signature, data, each.span.count * n, 0, &turn.ticket});
  }
  for (const Transfer& each : stage.sends) {
    auto* data = static_cast<const uint8_t*>(at(each.span, turn));
    sends_.push_back({members_[each.peer], key(each), turn.signature, data, each.span.count * n, 0, 0, false,
                      &turn.ticket});
  }
  if (!receives_.empty() || !sends_.empty()) {
    turn.open = true;
    mesh_->post(receives_, sends_);
    finish(turn);
  }
  for (const LocalStep& step : stage.after) run_local(step, turn);
}

void Group::collective(Call call, const void* in, void* out, uint64_t count, Dtype dtype, int root,
                       const CallOptions& options, double scale) {
  Turn turn(*this, call, options);
  if (root < 0 || root >= size()) {
    throw BadArgument(where() + name_of(call) + ": root " + std::to_string(root) + ", expected 0 to " +
                      std::to_string(size() - 1));
  }
  turn.seq = ++seq_;
  turn.check();
  if (topology_ == Topology::kBroken) {
    throw Error(where() + turn.label() +
                ": the ranks of this group reach each other neither directly nor as a ring");
  }
  const Plan& plan = plan_for({call, rank_, size(), root, count, size_of(dtype), topology_});
  turn.signature = {call, dtype, static_cast<uint8_t>(plan.schedule), root, count};
  turn.in = static_cast<const uint8_t*>(in);
  turn.out = static_cast<uint8_t*>(out);
  turn.scale = scale;
  size_t n_scratch = plan.n_scratch * size_of(dtype);
  if (n_scratch > n_scratch_) {
    scratch_ = std::make_unique_for_overwrite<uint8_t[]>(n_scratch);
    n_scratch_ = n_scratch;
  }
  if (size() > 1) mesh_->enter(context_, active_, turn.seq, turn.signature, members_);
  for (const Stage& stage : plan.stages) run_stage(stage, turn);
  if (size() > 1 && !mesh_->quit(active_)) look_around(turn);
  if (n_scratch_ > kKeptScratch) {
    scratch_.reset();
    n_scratch_ = 0;
  }
  last_call_ = call;
  last_seq_ = turn.seq;
}

void Group::all_reduce(ReduceOp op, const void* in, void* out, uint64_t count, Dtype dtype,
                       const CallOptions& options, double scale) {
  collective(all_reduce_call(op), in, out, count, dtype, 0, options, scale);
}

void Group::reduce_scatter(ReduceOp op, const void* in, void* out, uint64_t count, Dtype dtype,
                           const CallOptions& options, double scale) {
  collective(reduce_scatter_call(op), in, out, count, dtype, 0, options, scale);
}

void Group::all_gather(const void* in, void* out, uint64_t count, Dtype dtype, const CallOptions& options) {
  collective(Call::kAllGather, in, out, count, dtype, 0, options);
}

void Group::broadcast(void* data, uint64_t count, Dtype dtype, int root, const CallOptions& options) {
  collective(Call::kBroadcast, data, data, count, dtype, root, options);
}

void Group::all_to_all(const void* in, void* out, uint64_t count, Dtype dtype, const CallOptions& options) {
  if (in != out) return collective(Call::kAllToAll, in, out, count, dtype, 0, options);
  // Blocks arrive while others have yet to leave.
  size_t n_bytes = count * members_.size() * size_of(dtype);
  auto copy = std::make_unique_for_overwrite<uint8_t[]>(n_bytes);
  if (n_bytes > 0) std::memcpy(copy.get(), in, n_bytes);
  collective(Call::kAllToAll, copy.get(), out, count, dtype, 0, options);
}

void Group::gather(const void* in, void* out, uint64_t count, Dtype dtype, int root,
                   const CallOptions& options) {
  collective(Call::kGather, in, out, count, dtype, root, options);
}

void Group::scatter(const void* in, void* out, uint64_t count, Dtype dtype, int root,
                    const CallOptions& options) {
  collective(Call::kScatter, in, out, count, dtype, root, options);
}

void Group::barrier(const CallOptions& options) {
  collective(Call::kBarrier, nullptr, nullptr, 0, Dtype::kUint8, 0, options);
}

// --- point to point ---

void Group::check_peer(const char* what, int peer) const {
  if (peer < 0 || peer >= size() || peer == rank_) {
    throw BadArgument(where() + what + ": rank " + std::to_string(peer) +
                      ", expected another rank of the group's " + std::to_string(size()));
  }
}

void Group::add_point_to_point(Turn& turn, bool sends, void* data, uint64_t count, int peer, Dtype dtype,
                               int tag) {
  turn.peer = members_[peer];
  if (!mesh_->is_direct(mesh_->rank(), turn.peer)) {
    throw Error(where() + turn.label() +
                ": it cannot be reached directly: only neighbours of the ring are connected");
  }
  auto& counters = sends ? send_seq_ : recv_seq_;
  MessageKey key{FrameKind::kPointToPoint, context_, counters[{peer, tag}]++, 0, tag};
  Signature signature{Call::kSend, dtype, 0, tag, count};
  uint64_t n_bytes = count * size_of(dtype);
  auto* bytes = static_cast<uint8_t*>(data);
  if (sends) {
    sends_.push_back({turn.peer, key, signature, bytes, n_bytes, 0, 0, false, &turn.ticket});
  } else {
    receives_.push_back({turn.peer, key, signature, bytes, n_bytes, 0, &turn.ticket});
  }
}

void Group::point_to_point(Call call, const void* in, uint64_t n_in, int to, void* out, uint64_t n_out,
                           int from, Dtype dtype, int tag, const CallOptions& options) {
  bool sends = call != Call::kRecv, receives = call != Call::kSend;
  if (sends) check_peer(call == Call::kSend ? "send" : "sendrecv", to);
  if (receives) check_peer(call == Call::kRecv ? "recv" : "sendrecv", from);
  if (tag < 0)
    throw BadArgument(where() + name_of(call) + ": tag " + std::to_string(tag) + ", expected >= 0");
  Turn turn(*this, call, options);
  turn.check();
  receives_.clear();
  sends_.clear();
  if (receives) add_point_to_point(turn, false, out, n_out, from, dtype, tag);
  if (sends) add_point_to_point(turn, true, const_cast<void*>(in), n_in, to, dtype, tag);
  turn.open = true;
  mesh_->post(receives_, sends_);
  finish(turn);
}

void Group::send(const void* in, uint64_t count, Dtype dtype, int to, int tag, const CallOptions& options) {
  point_to_point(Call::kSend, in, count, to, nullptr, 0, kNobody, dtype, tag, options);
}

void Group::recv(void* out, uint64_t count, Dtype dtype, int from, int tag, const CallOptions& options) {
  point_to_point(Call::kRecv, nullptr, 0, kNobody, out, count, from, dtype, tag, options);
}

void Group::sendrecv(const void* in, uint64_t n_in, int to, void* out, uint64_t n_out, int from, Dtype dtype,
                     int tag, const CallOptions& options) {
  point_to_point(Call::kSendrecv, in, n_in, to, out, n_out, from, dtype, tag, options);
}

}  // namespace jobkit
