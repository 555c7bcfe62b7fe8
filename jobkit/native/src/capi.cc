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

int rank(const jobkit_group* group) { return group->group->rank(); }
int size(const jobkit_group* group) { return group->group->size(); }

int split(jobkit_group* group, int color, int key, jobkit_group** out, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    std::shared_ptr<Group> made = group->group->split(color, key, {});
    *out = new jobkit_group{std::move(made)};
  });
}

int all_reduce(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
               double scale, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->group->all_reduce(checked_op(op), in, out, count, checked_dtype(dtype), {timeout_s, {}}, scale);
  });
}

int reduce_scatter(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
                   double scale, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->group->reduce_scatter(checked_op(op), in, out, count, checked_dtype(dtype), {timeout_s, {}},
                                 scale);
  });
}

int all_gather(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, double timeout_s,
               char* error, size_t n_error) {
  return guarded(error, n_error,
                 [&] { group->group->all_gather(in, out, count, checked_dtype(dtype), {timeout_s, {}}); });
}

int broadcast(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
              double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    Dtype type = checked_dtype(dtype);
    if (root == group->group->rank() && in != out && count > 0) std::memcpy(out, in, count * size_of(type));
    group->group->broadcast(out, count, type, root, {timeout_s, {}});
  });
}

int all_to_all(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, double timeout_s,
               char* error, size_t n_error) {
  return guarded(error, n_error,
                 [&] { group->group->all_to_all(in, out, count, checked_dtype(dtype), {timeout_s, {}}); });
}

int gather(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
           double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error,
                 [&] { group->group->gather(in, out, count, checked_dtype(dtype), root, {timeout_s, {}}); });
}

int scatter(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
            double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error,
                 [&] { group->group->scatter(in, out, count, checked_dtype(dtype), root, {timeout_s, {}}); });
}

int barrier(jobkit_group* group, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] { group->group->barrier({timeout_s, {}}); });
}

int send(jobkit_group* group, const void* in, uint64_t count, int dtype, int destination, int tag,
         double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->group->send(in, count, checked_dtype(dtype), destination, tag, {timeout_s, {}});
  });
}

int recv(jobkit_group* group, void* out, uint64_t count, int dtype, int source, int tag, double timeout_s,
         char* error, size_t n_error) {
  return guarded(error, n_error,
                 [&] { group->group->recv(out, count, checked_dtype(dtype), source, tag, {timeout_s, {}}); });
}

int sendrecv(jobkit_group* group, const void* in, uint64_t n_in, int destination, void* out, uint64_t n_out,
             int source, int dtype, int tag, double timeout_s, char* error, size_t n_error) {
  return guarded(error, n_error, [&] {
    group->group->sendrecv(in, n_in, destination, out, n_out, source, checked_dtype(dtype), tag,
                           {timeout_s, {}});
  });
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
