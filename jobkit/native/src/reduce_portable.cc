// Reductions in vectors of 16 bytes, which every processor has or the compiler takes apart.
#include "reduce_kernels.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace jobkit {
namespace {

struct Machine : Vectors<16> {
  using Float16 = PlainFloat16<Machine>;
  using Bfloat16 = PlainBfloat16<Machine>;
#if defined(__SSE2__)
  JOBKIT_INLINE static void stream(std::byte* to, Words words) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)words);
  }
  JOBKIT_INLINE static void end_of_stream() { _mm_sfence(); }
#else
  JOBKIT_INLINE static void stream(std::byte* to, Words words) { std::memcpy(to, &words, sizeof words); }
  JOBKIT_INLINE static void end_of_stream() {}
#endif
};

constexpr Kernels kKernels = make_kernels<Machine>("portable");

}  // namespace

const Kernels* portable_kernels() { return &kKernels; }

}  // namespace jobkit
