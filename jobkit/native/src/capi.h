/* The engine's flat C interface: what the bridge to MLX, compiled apart against the installed mlx, calls.
 *
 * `_core.c_api()` returns a PyCapsule named "jobkit.native.c_api" that holds a `const struct jobkit_api *`;
 * `_core.Group.handle()` returns a PyCapsule named "jobkit.native.group" that holds a `jobkit_group *` and
 * keeps it alive; the bridge calls `retain` to keep its own reference.
 *
 * Every call that can fail returns 0, or non-zero with a message in `error` (always terminated, cut to
 * n_error). Calls block until the operation is complete, hold no Python lock and never call Python. Counts
 * are elements, `dtype` is a code of dtype.h, `op` one of reduce.h, buffers are contiguous. `timeout_s` < 0
 * means the group's own.
 */
#ifndef JOBKIT_CAPI_H
#define JOBKIT_CAPI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JOBKIT_API_VERSION 2

typedef struct jobkit_group jobkit_group;

struct jobkit_api {
  uint32_t version; /* JOBKIT_API_VERSION */
  void (*retain)(jobkit_group* group);
  void (*release)(jobkit_group* group);
  int (*rank)(const jobkit_group* group);
  int (*size)(const jobkit_group* group);
  /* Collective. color < 0 is refused; key < 0 keeps the order. The new group is owned by the caller (release
   * it). */
  int (*split)(jobkit_group* group, int color, int key, jobkit_group** out, char* error, size_t n_error);
  /* out[i] = reduction over all ranks of in[i], times `scale` (before the one rounding of the 16-bit floats;
   * 1 for bool and integers); `in` may be `out`. */
  int (*all_reduce)(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
                    double scale, double timeout_s, char* error, size_t n_error);
  /* out[0 : count] = reduction over all ranks of in[rank * count : (rank + 1) * count], times `scale`;
   * `count` is of `out`. */
  int (*reduce_scatter)(jobkit_group* group, int op, const void* in, void* out, uint64_t count, int dtype,
                        double scale, double timeout_s, char* error, size_t n_error);
  /* out[r * count : (r + 1) * count] = rank r's `in`. */
  int (*all_gather)(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype,
                    double timeout_s, char* error, size_t n_error);
  /* out = rank root's `in`; the others' is not read. `in` may be `out`. */
  int (*broadcast)(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
                   double timeout_s, char* error, size_t n_error);
  /* out[r * count : (r + 1) * count] = rank r's in[rank * count : (rank + 1) * count]; `in` may be `out`. */
  int (*all_to_all)(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype,
                    double timeout_s, char* error, size_t n_error);
  /* On rank root as all_gather; the others' `out` is not used. */
  int (*gather)(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
                double timeout_s, char* error, size_t n_error);
  /* out[0 : count] = rank root's in[rank * count : (rank + 1) * count]; the others' `in` is not used. */
  int (*scatter)(jobkit_group* group, const void* in, void* out, uint64_t count, int dtype, int root,
                 double timeout_s, char* error, size_t n_error);
  int (*barrier)(jobkit_group* group, double timeout_s, char* error, size_t n_error);
  int (*send)(jobkit_group* group, const void* in, uint64_t count, int dtype, int destination, int tag,
              double timeout_s, char* error, size_t n_error);
  int (*recv)(jobkit_group* group, void* out, uint64_t count, int dtype, int source, int tag,
              double timeout_s, char* error, size_t n_error);
  /* Both at once; the two counts may differ. */
  int (*sendrecv)(jobkit_group* group, const void* in, uint64_t n_in, int destination, void* out,
                  uint64_t n_out, int source, int dtype, int tag, double timeout_s, char* error,
                  size_t n_error);
};

#ifdef __cplusplus
}
#endif

#endif
