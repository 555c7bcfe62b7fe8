// The flat C interface of capi.h over Group.
#include "capi.h"

#include <cstring>

#include "capi_group.h"

namespace jobkit {
namespace {

// Runs `body` and turns what it throws into a message.
template <typename Body>
int guarded(char* error, size_t n_error, Body body) {
  try {
    body();
    return 0;
  } catch (const std::exception& caught) {
    if (n_error > 0) {
      std::strncpy(error, caught.what(), n_error - 1);
      error[n_error - 1] = 0;
    }
    return 1;
  }
}

Dtype checked_dtype(int dtype) {
  if (!is_dtype(dtype)) throw BadArgument("not a dtype code, got " + std::to_string(dtype));
  return static_cast<Dtype>(dtype);
}

ReduceOp checked_op(int op) {
  if (!is_reduce_op(op)) throw BadArgument("not a reduction code, got " + std::to_string(op));
  return static_cast<ReduceOp>(op);
}

void retain(jobkit_group* group) { group->references.fetch_add(1); }

void release(jobkit_group* group) {
  if (group->references.fetch_sub(1) == 1) delete group;
}

int rank(const jobkit_group* group) { return group->lane->group().rank(); }
int size(const jobkit_group* group) { return group->lane->group().size(); }

// Runs the operation after what was issued before it.
int run(jobkit_group* group, int dtype, Operation operation, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    operation.dtype = checked_dtype(dtype);
    group->lane->run(operation, {});
  });
}

int split(jobkit_group* group, int color, int key, jobkit_group** out, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    Lane& lane = *group->lane;
    *out = new jobkit_group{Lane::make(lane.split(color, key, {}), lane.checks())};
  });
}

int all_reduce(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
               double scale, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->lane->run({.call = all_reduce_call(checked_op(op)),
                      .in = in,
                      .out = out,
                      .count = count,
                      .dtype = checked_dtype(dtype),
                      .timeout_s = timeout_s,
                      .scale = scale},
                     {});
  });
}

int reduce_scatter(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
                   double scale, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->lane->run({.call = reduce_scatter_call(checked_op(op)),
                      .in = in,
                      .out = out,
                      .count = count,
                      .dtype = checked_dtype(dtype),
                      .timeout_s = timeout_s,
                      .scale = scale},
                     {});
  });
}

int all_gather(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, double timeout_s,
               char* error, size_t n_error) {
  return run(group, dtype,
             {.call = Call::kAllGather, .in = in, .out = out, .count = count, .timeout_s = timeout_s}, error,
             n_error);
}

int broadcast(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
              double timeout_s, char* error, size_t n_error) {
  return run(
      group, dtype,
      {.call = Call::kBroadcast, .in = in, .out = out, .count = count, .peer = root, .timeout_s = timeout_s},
      error, n_error);
}

int all_to_all(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, double timeout_s,
               char* error, size_t n_error) {
  return run(group, dtype,
             {.call = Call::kAllToAll, .in = in, .out = out, .count = count, .timeout_s = timeout_s}, error,
             n_error);
}

int gather(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
           double timeout_s, char* error, size_t n_error) {
  return run(
      group, dtype,
      {.call = Call::kGather, .in = in, .out = out, .count = count, .peer = root, .timeout_s = timeout_s},
      error, n_error);
}

int scatter(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
            double timeout_s, char* error, size_t n_error) {
  return run(
      group, dtype,
      {.call = Call::kScatter, .in = in, .out = out, .count = count, .peer = root, .timeout_s = timeout_s},
      error, n_error);
}

int barrier(jobkit_group* group, double timeout_s, char* error, size_t n_error) {
  return run(group, 0, {.call = Call::kBarrier, .timeout_s = timeout_s}, error, n_error);
}

int send(jobkit_group* group, const void* in, uint64_t count, int dtype, int destination, int tag,
         double timeout_s, char* error, size_t n_error) {
  return run(group, dtype,
             {.call = Call::kSend,
              .in = in,
              .count = count,
              .peer = destination,
              .tag = tag,
              .timeout_s = timeout_s},
             error, n_error);
}

int recv(jobkit_group* group, void* out, uint64_t count, int dtype, int source, int tag, double timeout_s,
         char* error, size_t n_error) {
  return run(
      group, dtype,
      {.call = Call::kRecv, .out = out, .count = count, .peer = source, .tag = tag, .timeout_s = timeout_s},
      error, n_error);
}

int sendrecv(jobkit_group* group, const void* in, uint64_t n_in, int destination, void* out, uint64_t n_out,
             int source, int dtype, int tag, double timeout_s, char* error, size_t n_error) {
  return run(group, dtype,
             {.call = Call::kSendrecv,
              .in = in,
              .out = out,
              .count = n_in,
              .peer = destination,
              .tag = tag,
              .timeout_s = timeout_s,
              .n_received = n_out,
              .sender = source},
             error, n_error);
}

}  // namespace

const jobkit_api* c_api() {
  static const jobkit_api api = {JOBKIT_API_VERSION,
                                 retain,
                                 release,
                                 rank,
                                 size,
                                 split,
                                 all_reduce,
                                 reduce_scatter,
                                 all_gather,
                                 broadcast,
                                 all_to_all,
                                 gather,
                                 scatter,
                                 barrier,
                                 send,
                                 recv,
                                 sendrecv};
  return &api;
}

}  // namespace jobkit
