#include "express.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "process.h"

namespace jobkit {
namespace {

// Above this the plan is as fast, and goes on with the first bytes before the last have come.
constexpr size_t kMaxBytes = 32 << 10;

// Looks at the rings before the plan takes over, which asks for signals and deadlines, and falls asleep: some
// 50 us of spinning, or a few rounds of the ranks on this processor.
constexpr int kSpins = 2000;
constexpr int kYields = 100;

}  // namespace

std::unique_ptr<Express> Express::make(Mesh& mesh, const std::vector<int>& members, int rank) {
  std::unique_ptr<Express> made(new Express(mesh, rank));
  made->max_bytes_ = kMaxBytes;
  for (int p : members) {
    if (p == mesh.rank()) continue;
    if (mesh.reach(mesh.rank(), p) != Reach::kShared) return nullptr;
    made->links_.push_back(static_cast<ShmLink*>(&mesh.link(p)));
    made->max_bytes_ = std::min(made->max_bytes_, made->links_.back()->max_frame());
  }
  if (made->links_.empty()) return nullptr;
  made->rooms_.resize(made->links_.size());
  made->parts_.resize(members.size());
  return made;
}

Express::Result Express::all_reduce(Active& active, uint32_t seq, const Signature& signature, const void* in,
                                    void* out, double scale) {
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
bool Express::make_room() {
  for (size_t i = 0; i < links_.size(); i++) {
    rooms_[i] = links_[i]->room_for_express(frame_.n_bytes);
    if (!rooms_[i]) return false;
  }
  return true;
}

void Express::send(const void* in) {
  for (size_t i = 0; i < links_.size(); i++) links_[i]->send_express(rooms_[i], head_, in, frame_.n_bytes);
  Arena::publish();
  for (ShmLink* link : links_) link->wake_if_asleep();
}

// Until the frame of every other member is there. False: something else is, or it takes long.
bool Express::await() {
  size_t n_here = 0;
  for (int turn = mesh_.spins() ? kSpins : kYields; turn > 0 && !mesh_.is_contended(); turn--) {
    for (; n_here < links_.size(); n_here++) {
      ShmLink::Found found = links_[n_here]->find_express(head_, frame_.n_bytes);
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

void Express::reduce(const void* in, void* out, double scale) {
  parts_[rank_] = in;
  const Signature& call = frame_.signature;
  reduce_all(reduce_op(call.call), call.dtype, parts_.data(), static_cast<int>(parts_.size()), out,
             call.count, scale);
  for (ShmLink* link : links_) link->consume_express(frame_.n_bytes);
}

}  // namespace jobkit
