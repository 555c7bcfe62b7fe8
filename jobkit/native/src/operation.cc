#include "operation.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace jobkit {
namespace {

// What ranks compare: no padding, so that equal calls are equal bytes.
struct CallRecord {
  uint64_t count = 0;
  double scale = 1.0;
  int32_t root = 0;
  uint8_t call = 0, dtype = 0, zero[2] = {};
};
static_assert(sizeof(CallRecord) == 24);

CallRecord record_of(const Operation& op) {
  CallRecord record;
  record.count = op.count;
  record.scale = op.scale;
  record.root = has_root(op.call) ? op.peer : 0;
  record.call = static_cast<uint8_t>(op.call);
  record.dtype = static_cast<uint8_t>(op.dtype);
  return record;
}

// "rank 1 (node7) called all_sum(float32, 4 elements), scaled by 0.5"
std::string told(const Group& group, int rank, const CallRecord& record) {
  Signature signature{static_cast<Call>(record.call), static_cast<Dtype>(record.dtype), 0, record.root,
                      record.count};
  std::string text = "rank " + std::to_string(rank) + " (" +
                     group.mesh().identity(group.members()[rank]).host + ") called " + to_string(signature);
  char scaled[40] = "";
  if (record.scale != 1.0) std::snprintf(scaled, sizeof scaled, ", scaled by %g", record.scale);
  return text + scaled;
}

}  // namespace

MessageNumbers issue(Group& group, const Operation& op) {
  const bool sends = op.call != Call::kRecv;
  const int from = op.call == Call::kSendrecv ? op.sender : op.call == Call::kRecv ? op.peer : kNobody;
  return group.issue(sends ? op.peer : kNobody, from, op.tag);
}

void run(Group& group, const Operation& op, const InterruptCheck& interrupted,
         const std::optional<MessageNumbers>& issued) {
  const CallOptions options{op.timeout_s, interrupted, issued};
  if (op.elsewhere && op.is_message()) {
    const bool sends = op.call != Call::kRecv, receives = op.call != Call::kSend;
    const int from = !receives ? kNobody : op.call == Call::kSendrecv ? op.sender : op.peer;
    const uint64_t n_out = op.call == Call::kSendrecv ? op.n_received : op.count;
    return group.announce_message(op.count, sends ? op.peer : kNobody, n_out, from, op.dtype, op.tag,
                                  options);
  }
  if (op.elsewhere) return group.announce(op.call, op.count, op.dtype, op.peer, options);
  switch (op.call) {
    case Call::kAllSum:
    case Call::kAllMax:
    case Call::kAllMin:
      return group.all_reduce(reduce_op(op.call), op.in, op.out, op.count, op.dtype, options, op.scale);
    case Call::kSumScatter:
    case Call::kMaxScatter:
    case Call::kMinScatter:
      return group.reduce_scatter(reduce_op(op.call), op.in, op.out, op.count, op.dtype, options, op.scale);
    case Call::kAllGather:
      return group.all_gather(op.in, op.out, op.count, op.dtype, options);
    case Call::kBroadcast:
      return group.broadcast(op.in, op.out, op.count, op.dtype, op.peer, options);
    case Call::kAllToAll:
      return group.all_to_all(op.in, op.out, op.count, op.dtype, options);
    case Call::kGather:
      return group.gather(op.in, op.out, op.count, op.dtype, op.peer, options);
    case Call::kScatter:
      return group.scatter(op.in, op.out, op.count, op.dtype, op.peer, options);
    case Call::kBarrier:
      return group.barrier(options);
    case Call::kSend:
      return group.send(op.in, op.count, op.dtype, op.peer, op.tag, options);
    case Call::kRecv:
      return group.recv(op.out, op.count, op.dtype, op.peer, op.tag, options);
    case Call::kSendrecv:
      return group.sendrecv(op.in, op.count, op.peer, op.out, op.n_received, op.sender, op.dtype, op.tag,
                            options);
    case Call::kSplit:
      break;  // has a result of its own kind
  }
  throw BadArgument(std::string(name_of(op.call)) + " is not an operation on arrays");
}

void agree(Group& group, const Operation& op, const InterruptCheck& interrupted) {
  if (op.is_message()) return;
  const CallRecord own = record_of(op);
  std::vector<CallRecord> all(group.size());
  group.all_gather(&own, all.data(), sizeof own, Dtype::kUint8, {op.timeout_s, interrupted});
  for (int p = 1; p < group.size(); p++) {
    if (std::memcmp(&all[p], &all[0], sizeof own) == 0) continue;
    std::string text = "calls differ: " + told(group, 0, all[0]) + ", " + told(group, p, all[p]);
    group.abort(text);
    throw Error("[" + group.mesh().label() + "] rank " + std::to_string(group.rank()) + " of " +
                std::to_string(group.size()) + ": " + text);
  }
}

}  // namespace jobkit
