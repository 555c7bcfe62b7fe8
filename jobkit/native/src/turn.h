// One call of one thread in a group.
#pragma once

#include <string>

#include "group.h"
#include "process.h"

namespace jobkit {

// A wait that is worth telling the others of.
inline constexpr auto kLongWait = milliseconds(200);

// Its destructor leaves nothing behind, whatever happened.
class Group::Turn {
 public:
  Turn(Group& group, Call wanted, const CallOptions& given) : group_(group), call(wanted), options(given) {
    if (group.mesh_->generation() != process::generation()) {
      throw Error(group.where() + std::string(name_of(call)) + ": the group belongs to process " +
                  std::to_string(group.mesh_->process_id()) + "; a child of fork must make its own");
    }
    int other = kNobody;
    if (!options.issued && !group.busy_with_.compare_exchange_strong(other, static_cast<int>(call))) {
      throw Error(group.where() + name_of(call) + ": called while " + name_of(static_cast<Call>(other)) +
                  " runs in another thread; a group serves one thread at a time (split makes another)");
    }
    is_strict = options.timeout_s >= 0;
    timeout_s = is_strict ? options.timeout_s : group.timeout_s_;
    if (is_strict) deadline = Deadline::in(timeout_s);
  }
  ~Turn() {
    if (record != 0) group_.mesh_->recorder()->end(record, !open);
    if (noted) group_.mesh_->forget(work->ticket);
    if (open) group_.mesh_->withdraw(*work);
    if (!options.issued) group_.busy_with_ = kNobody;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Refuse a group that is closed or has failed.
  void check() {
    if (group_.closed_ || group_.mesh_->has_left())
      throw Error(group_.where() + label() + ": the group is closed");
    if (group_.mesh_->health() == 0) return;
    if (auto found = group_.failure()) group_.pass_on(*this, *found);
  }

  // Puts the call on record, until the turn is over.
  void put_on_record(const Signature& signature, int partner, uint32_t number) {
    if (Recorder* recorder = group_.mesh_->recorder())
      record = recorder->begin({group_.context_, number, signature, call, partner});
  }

  // "all_sum #12"
  std::string label() const {
    std::string text = name_of(call);
    if (call < Call::kSend) return text + " #" + std::to_string(seq);
    return text + (peer == kNobody ? ""
                                   : (call == Call::kRecv   ? " from "
                                      : call == Call::kSend ? " to "
                                                            : " with ") +
                                         group_.name(peer));
  }

 private:
  Group& group_;

 public:
  const Call call;
  const CallOptions& options;
  const Moment started = roughly_now();
  bool is_strict = false;  // the timeout holds whatever the others do
  double timeout_s = 0;
  Deadline deadline = Deadline::in(0);
  bool noted = false;  // others who ask are told of this wait
  Moment look_again = started + kLongWait;
  Moment report_at;
  Work* work = nullptr;
  Exchange* exchange = nullptr;  // point to point: the same
  bool open = false;             // the work is with the mesh
  uint64_t seen = 0;             // the mesh's health when this turn last looked around
  uint32_t seq = 0;
  int peer = kNobody;   // point to point
  uint64_t record = 0;  // 0: none
};

}  // namespace jobkit
