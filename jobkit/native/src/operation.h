// One operation on a group as data, so that another thread can run it.
#pragma once

#include <cstdint>
#include <optional>

#include "group.h"

namespace jobkit {

struct Operation {
  Call call = Call::kBarrier;
  const void* in = nullptr;
  void* out = nullptr;
  uint64_t count = 0;  // as the method of Group counts it; sendrecv: of what is sent
  Dtype dtype = Dtype::kUint8;
  int peer = 0;  // the root; send, recv: the other one; sendrecv: who receives
  int tag = 0;
  double timeout_s = -1;
  double scale = 1.0;
  // sendrecv: of what is received.
  uint64_t n_received = 0;
  int sender = kNobody;
  bool elsewhere = false;  // its data travels by other means: see Group::announce

  bool is_message() const { return call >= Call::kSend; }
};

// Calls the method of Group. `issued`: a message got its numbers before.
void run(Group& group, const Operation& operation, const InterruptCheck& interrupted,
         const std::optional<MessageNumbers>& issued = std::nullopt);

// The numbers of a message that will run later.
MessageNumbers issue(Group& group, const Operation& operation);

// Compares what all ranks are about to call, before anything of it is sent, and throws on all of them where
// they differ. Collective; messages between two ranks pass unchecked.
void agree(Group& group, const Operation& operation, const InterruptCheck& interrupted);

}  // namespace jobkit
