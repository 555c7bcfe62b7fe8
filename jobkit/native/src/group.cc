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
  bool direct = true;
  for (size_t a = 0; a < n; a++) {
    for (size_t b = 0; b < n; b++) direct &= mesh.is_direct(members[a], members[b]);
  }
  // Where some are reached through others only, a ring has the fewest ways that are long.
  return direct ? Topology::kDirect : Topology::kNeighbours;
}

// The same on all ranks: what shares memory is agreed on.
LinkClass links_of(const Mesh& mesh, const std::vector<int>& members) {
  if (mesh.mpi()) return LinkClass::kMpi;
  bool some = false, all = true;
  for (int a : members) {
    for (int b : members) {
      if (a == b) continue;
      bool shared = mesh.reach(a, b) == Reach::kShared;
      some |= shared;
      all &= shared;
    }
  }
  const LinkClass apart = mesh.has_cables() ? LinkClass::kVerbs : LinkClass::kTcp;
  return !some ? apart : all ? LinkClass::kShm : LinkClass::kMixed;
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
      births_(members_.size(), 0),
      rank_(mesh_->rank()),
      timeout_s_(timeout_s),
      topology_(topology_of(*mesh_, members_)) {
  prepare();
}

Group::Group(const Group& parent, uint32_t context, std::vector<int> members, int rank,
             std::vector<uint32_t> births)
    : mesh_(parent.mesh_),
      context_(context),
      members_(std::move(members)),
      births_(std::move(births)),
      rank_(rank),
      timeout_s_(parent.timeout_s_),
      topology_(topology_of(*mesh_, members_)),
      choices_(parent.choices_) {
  for (size_t i = births_.size(); i < members_.size(); i++)
    births_.push_back(parent.births_[parent.group_rank(members_[i])]);
  prepare();
}

void Group::prepare() {
  express_ = Express::make(*mesh_, members_, rank_);
  links_ = links_of(*mesh_, members_);
  std::map<uint64_t, std::pair<int, uint32_t>> nodes;  // how many ranks, on how many processors
  std::vector<uint64_t> found;
  for (int p : members_) {
    const Identity& identity = mesh_->identity(p);
    auto at = std::find(found.begin(), found.end(), identity.node);
    placement_.nodes.push_back(static_cast<int>(at - found.begin()));
    // A node that nobody knows is nobody else's.
    if (at == found.end() || identity.node == 0) found.push_back(identity.node);
    auto& [n_ranks, n_processors] = nodes[identity.node];
    crowded_ |= identity.node != 0 && ++n_ranks > static_cast<int>(identity.processors);
  }
  active_.context = context_;
  active_.members = &members_;
  mesh_->join(context_, &active_);
  if (Recorder* recorder = mesh_->recorder()) recorder->group(context_, rank_, size());
}

Group::~Group() {
  if (mesh_->mpi() && mesh_->health() != 0) (void)scratch_.release();  // which may still be read and written
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
  mesh_->fail({mesh_->rank(), mesh_->rank(), mesh_->rank(), "aborted: " + reason, mesh_->age()});
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

std::unique_ptr<Group> Group::apart(const std::string& name) { return among(all_ranks(size()), name); }

// --- collectives ---

void Group::use(Choices choices) {
  plans_.clear();
  choices_ = std::make_shared<const Choices>(std::move(choices));
}

const Choices& Group::choices() const {
  static const Choices none;
  return choices_ ? *choices_ : none;
}

Request Group::request(Call call, uint64_t count, Dtype dtype, int root) const {
  Request request{call, rank_, size(), root, count, size_of(dtype), topology_};
  request.rounds = dtype == Dtype::kFloat16 || dtype == Dtype::kBfloat16;
  request.crowded = crowded_;
  request.links = links_;
  request.placement = &placement_;
  request.choices = choices_.get();
  return request;
}

Execution& Group::execution_for(const Request& request) {
  for (CachedPlan& each : plans_) {
    if (each.request == request) return *each.execution;
  }
  CachedPlan made{request, std::make_unique<Execution>(make_plan(request), members_)};
  if (plans_.size() < kPlans) {
    plans_.push_back(std::move(made));
    return *plans_.back().execution;
  }
  CachedPlan& oldest = plans_[next_plan_++ % kPlans];
  oldest = std::move(made);
  return *oldest.execution;
}

uint8_t* Group::scratch(size_t n_bytes) {
  if (n_bytes > n_scratch_) {
    scratch_ = std::make_unique_for_overwrite<uint8_t[]>(n_bytes);
    n_scratch_ = n_bytes;
  }
  return scratch_.get();
}

void Group::check_root(Call call, int root) const {
  if (root >= 0 && root < size()) return;
  throw BadArgument(where() + name_of(call) + ": root " + std::to_string(root) + ", expected 0 to " +
                    std::to_string(size() - 1));
}

void Group::collective(Call call, const void* in, void* out, uint64_t count, Dtype dtype, int root,
                       const CallOptions& options, double scale) {
  Turn turn(*this, call, options);
  check_root(call, root);
  turn.seq = ++seq_;
  turn.check();
  Execution& execution = execution_for(request(call, count, dtype, root));
  auto* from = static_cast<const uint8_t*>(in);
  auto* to = static_cast<uint8_t*>(out);
  Operands operands{from, to, scratch(execution.n_scratch() * size_of(dtype)), reduce_op(call), scale};
  Signature signature{call, dtype, static_cast<uint8_t>(execution.schedule()), root, count};
  turn.put_on_record(signature, has_root(call) ? members_[root] : kNobody, turn.seq);
  if (express_ && is_all_reduce(call) && execution.schedule() == Schedule::kOneShot &&
      count * size_of(dtype) <= express_->max_bytes()) {
    Express::Result result = express_->all_reduce(active_, turn.seq, signature, in, out, scale);
    if (result == Express::Result::kDone) {
      last_call_ = call;
      last_seq_ = turn.seq;
      return;
    }
    execution.begin(operands, context_, turn.seq, signature);
    if (result == Express::Result::kSent) execution.messages_are_out();
  } else {
    execution.begin(operands, context_, turn.seq, signature);
  }
  carry_out(turn, execution);
  if (n_scratch_ > kKeptScratch) {
    scratch_.reset();
    n_scratch_ = 0;
  }
}

// The execution has begun.
void Group::carry_out(Turn& turn, Execution& execution) {
  execution.active = size() > 1 ? &active_ : nullptr;
  turn.work = &execution;
  finish(turn);
  last_call_ = turn.call;
  last_seq_ = turn.seq;
}

void Group::announce(Call call, uint64_t count, Dtype dtype, int root, const CallOptions& options) {
  Turn turn(*this, call, options);
  check_root(call, root);
  turn.seq = ++seq_;
  turn.check();
  Execution& execution = execution_for(request(Call::kBarrier, 0, Dtype::kUint8));
  const Signature signature{call, dtype, kElsewhere, root, count};
  turn.put_on_record(signature, has_root(call) ? members_[root] : kNobody, turn.seq);
  execution.begin({}, context_, turn.seq, signature);
  carry_out(turn, execution);
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

void Group::broadcast(const void* in, void* out, uint64_t count, Dtype dtype, int root,
                      const CallOptions& options) {
  collective(Call::kBroadcast, in, out, count, dtype, root, options);
}

void Group::all_to_all(const void* in, void* out, uint64_t count, Dtype dtype, const CallOptions& options) {
  if (in != out) return collective(Call::kAllToAll, in, out, count, dtype, 0, options);
  // Blocks arrive while others have yet to leave.
  size_t n_bytes = count * members_.size() * size_of(dtype);
  auto copy = std::make_unique_for_overwrite<uint8_t[]>(n_bytes);
  if (n_bytes > 0) std::memcpy(copy.get(), in, n_bytes);
  try {
    collective(Call::kAllToAll, copy.get(), out, count, dtype, 0, options);
  } catch (...) {
    if (mesh_->mpi()) (void)copy.release();  // which may still be read
    throw;
  }
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

MessageNumbers Group::issue(int to, int from, int tag) {
  std::lock_guard lock(numbers_mutex_);
  MessageNumbers numbers;
  if (to != kNobody) numbers.sent = send_seq_[{to, tag}]++;
  if (from != kNobody) numbers.received = recv_seq_[{from, tag}]++;
  return numbers;
}

void Group::point_to_point(Call call, const void* in, uint64_t n_in, int to, void* out, uint64_t n_out,
                           int from, Dtype dtype, int tag, const CallOptions& options, bool elsewhere) {
  const uint8_t schedule = elsewhere ? kElsewhere : 0;
  const size_t n_item = elsewhere ? 0 : size_of(dtype);
  bool sends = call != Call::kRecv, receives = call != Call::kSend;
  if (sends) check_peer(call == Call::kSend ? "send" : "sendrecv", to);
  if (receives) check_peer(call == Call::kRecv ? "recv" : "sendrecv", from);
  if (tag < 0)
    throw BadArgument(where() + name_of(call) + ": tag " + std::to_string(tag) + ", expected >= 0");
  Exchange exchange;  // outlives the turn, which withdraws it
  Turn turn(*this, call, options);
  turn.peer = members_[sends ? to : from];
  turn.check();
  const MessageNumbers numbers = options.issued ? *options.issued : issue(to, from, tag);
  exchange.begin(0, {});
  if (receives) {
    Receive& receive = exchange.receive.emplace();
    receive.key = {FrameKind::kPointToPoint, context_, numbers.received, 0, tag};
    receive.peer = members_[from];
    receive.signature = {Call::kSend, dtype, schedule, tag, n_out};
    receive.data = static_cast<uint8_t*>(out);
    receive.n_bytes = n_out * n_item;
    receive.ticket = &exchange.ticket;
  }
  if (sends) {
    Send& send = exchange.send.emplace();
    send.key = {FrameKind::kPointToPoint, context_, numbers.sent, 0, tag};
    send.peer = members_[to];
    send.signature = {Call::kSend, dtype, schedule, tag, n_in};
    send.data = static_cast<const uint8_t*>(in);
    send.n_bytes = send.n_ready = n_in * n_item;
    send.may_go = true;
    send.ticket = &exchange.ticket;
  }
  exchange.ticket.n_open = (sends ? 1 : 0) + (receives ? 1 : 0);
  turn.work = turn.exchange = &exchange;
  turn.put_on_record(receives ? exchange.receive->signature : exchange.send->signature, turn.peer,
                     receives ? exchange.receive->key.seq : exchange.send->key.seq);
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

void Group::announce_message(uint64_t n_in, int to, uint64_t n_out, int from, Dtype dtype, int tag,
                             const CallOptions& options) {
  const Call call = from == kNobody ? Call::kSend : to == kNobody ? Call::kRecv : Call::kSendrecv;
  point_to_point(call, nullptr, n_in, to, nullptr, n_out, from, dtype, tag, options, true);
}

}  // namespace jobkit
