// The operations of a group, as they are numbered on the wire and named in errors.
#pragma once

#include <cstdint>

#include "reduce.h"

namespace jobkit {

// The codes travel on the wire: never renumber.
enum class Call : uint8_t {
  kAllSum = 0,  // the three reductions follow ReduceOp's order, here and below
  kAllMax = 1,
  kAllMin = 2,
  kSumScatter = 3,
  kMaxScatter = 4,
  kMinScatter = 5,
  kAllGather = 6,
  kBroadcast = 7,
  kAllToAll = 8,
  kGather = 9,
  kScatter = 10,
  kBarrier = 11,
  kSplit = 12,
  kSend = 13,
  kRecv = 14,      // never on the wire: what waits for a send
  kSendrecv = 15,  // never on the wire: a send and a recv
};

inline constexpr int kCalls = 16;

inline constexpr Call all_reduce_call(ReduceOp op) { return static_cast<Call>(static_cast<int>(op)); }
inline constexpr Call reduce_scatter_call(ReduceOp op) { return static_cast<Call>(3 + static_cast<int>(op)); }

inline constexpr bool is_all_reduce(Call call) { return call <= Call::kAllMin; }
inline constexpr bool is_reduce_scatter(Call call) {
  return call >= Call::kSumScatter && call <= Call::kMinScatter;
}
inline constexpr bool has_root(Call call) {
  return call == Call::kBroadcast || call == Call::kGather || call == Call::kScatter;
}

// The reduction of an all_reduce or a reduce_scatter.
inline constexpr ReduceOp reduce_op(Call call) { return static_cast<ReduceOp>(static_cast<int>(call) % 3); }

// The API's name: "all_sum".
inline const char* name_of(Call call) {
  constexpr const char* names[kCalls] = {"all_sum",
                                         "all_max",
                                         "all_min",
                                         "sum_scatter",
                                         "sum_scatter(op='max')",
                                         "sum_scatter(op='min')",
                                         "all_gather",
                                         "broadcast",
                                         "all_to_all",
                                         "gather",
                                         "scatter",
                                         "barrier",
                                         "split",
                                         "send",
                                         "recv",
                                         "sendrecv"};
  int code = static_cast<int>(call);
  return code < kCalls ? names[code] : "an unknown operation";
}

}  // namespace jobkit
