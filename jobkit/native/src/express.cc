#include "express.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "process.h"
#include "shm_link.h"
#include "verbs_link.h"

namespace jobkit {
namespace {

// Above this the plan is as fast, and goes on with the first bytes before the last have come.
constexpr size_t kMaxBytes = 32 << 10;

// Looks at the rings before the plan takes over, which asks for signals and deadlines, and falls asleep: some
// 50 us of spinning, or a few rounds of the ranks on this processor.
constexpr int kSpins = 2000;
constexpr int kYields = 100;

}  // namespace

// Over links of one kind, each of which gives room for a record, sends it, finds the next one that came, and
// consumes it.
template <class Kind>
class ExpressOver final : public Express {
 public:
  ExpressOver(Mesh& mesh, const std::vector<int>& members, int rank)
      : Express(kMaxBytes), mesh_(mesh), rank_(rank) {
    for (int p : members) {
      if (p == mesh.rank()) continue;
      links_.push_back(static_cast<Kind*>(&mesh.link(p)));
      max_bytes_ = std::min(max_bytes_, links_.back()->max_frame());
    }
    rooms_.resize(links_.size());
    parts_.resize(members.size());
  }

  Result all_reduce(Active& active, uint32_t seq, const Signature& signature, const void* in, void* out,
                    double scale) override;

 private:
  bool make_room();
  void send(const void* in);
  bool await();
  void reduce(const void* in, void* out, double scale);

  Mesh& mesh_;
  const int rank_;
  std::vector<Kind*> links_;        // in the order of the members, without this rank
  std::vector<uint8_t*> rooms_;     // [link]: where its record is written
  std::vector<const void*> parts_;  // [member]
  // The frame of the last call: the next one often differs in its number only.
  Frame frame_;
  FrameBytes head_{};
};

template <class Kind>
Express::Result ExpressOver<Kind>::all_reduce(Active& active, uint32_t seq, const Signature& signature,
                                              const void* in, void* out, double scale) {
  Mesh::Lock lock(mesh_);
  if (active.other != kNobody || mesh_.is_contended()) return Result::kUntouched;
  if (!(frame_.signature == signature) || frame_.key.context != active.context) {
    auto n_bytes = static_cast<uint32_t>(signature.count * size_of(signature.dtype));
    frame_ = {{FrameKind::kCollective, active.context, seq, 0, 0}, signature, n_bytes, 0};
    encode_unchecked(frame_, head_);
  } else {
    renumber(head_, seq);
  }
  if (!make_room()) return Result::kUntouched;
  send(in);
  active.enter(seq, signature);
  if (!await()) return Result::kSent;
  reduce(in, out, scale);
  active.running = false;
  return Result::kDone;
}

// Room for a record in every ring, or in none that counts.
template <class Kind>
bool ExpressOver<Kind>::make_room() {
  for (size_t i = 0; i < links_.size(); i++) {
    rooms_[i] = links_[i]->room_for_express(frame_.n_bytes);
    if (!rooms_[i]) return false;
  }
  return true;
}

template <class Kind>
void ExpressOver<Kind>::send(const void* in) {
  for (size_t i = 0; i < links_.size(); i++) links_[i]->send_express(rooms_[i], head_, in, frame_.n_bytes);
  Arena::publish();
  for (Kind* link : links_) link->wake_if_asleep();
}

// Until the frame of every other member is there. False: something else is, or it takes long.
template <class Kind>
bool ExpressOver<Kind>::await() {
  size_t n_here = 0;
  for (int turn = mesh_.spins() ? kSpins : kYields; turn > 0 && !mesh_.is_contended(); turn--) {
    for (; n_here < links_.size(); n_here++) {
      const auto found = links_[n_here]->find_express(head_, frame_.n_bytes);
      if (found.is_other) return false;
      if (!found.payload) break;
      parts_[n_here + (static_cast<int>(n_here) >= rank_)] = found.payload;
    }
    if (n_here == links_.size()) return true;
    if (mesh_.spins()) {
      process::pause_processor();
    } else {
      ::sched_yield();
    }
  }
  return false;
}

template <class Kind>
void ExpressOver<Kind>::reduce(const void* in, void* out, double scale) {
  parts_[rank_] = in;
  const Signature& call = frame_.signature;
  reduce_all(reduce_op(call.call), call.dtype, parts_.data(), static_cast<int>(parts_.size()), out,
             call.count, scale);
  for (Kind* link : links_) link->consume_express(frame_.n_bytes);
}

std::unique_ptr<Express> Express::make(Mesh& mesh, const std::vector<int>& members, int rank) {
  if (mesh.mpi()) return nullptr;
  bool shares = members.size() > 1, is_cabled = shares && mesh.has_cables();
  for (int p : members) {
    if (p == mesh.rank()) continue;
    shares &= mesh.reach(mesh.rank(), p) == Reach::kShared;
    is_cabled &= mesh.reach(mesh.rank(), p) == Reach::kDirect;
  }
  if (shares) return std::make_unique<ExpressOver<ShmLink>>(mesh, members, rank);
  if (is_cabled) return std::make_unique<ExpressOver<VerbsLink>>(mesh, members, rank);
  return nullptr;
}

}  // namespace jobkit
