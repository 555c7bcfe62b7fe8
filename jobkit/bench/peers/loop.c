/* The engine called again and again without Python in between: what a call costs below the Python layer.
 *
 * Compiled by `peers/loop.py` when `jobkit bench --overhead` asks for it.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "capi.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Returns the seconds of `iterations` sums over all ranks, or -1 with a message in `error`. */
double loop(const struct jobkit_api* api, jobkit_group* group, const void* in, void* out, uint64_t count,
            int dtype, uint64_t iterations, char* error, size_t n_error) {
  if (api->version != JOBKIT_API_VERSION) {
    snprintf(error, n_error, "the engine has version %u of its interface, expected %u", api->version,
             (unsigned)JOBKIT_API_VERSION);
    return -1;
  }
  double began = now();
  for (uint64_t i = 0; i < iterations; i++) {
    if (api->all_reduce(group, 0, in, out, count, dtype, 1.0, -1.0, error, n_error)) return -1;
  }
  return now() - began;
}
