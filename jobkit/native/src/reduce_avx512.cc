// Reductions in vectors of 64 bytes. CMake compiles this file, and no other one, with -mavx512f -mavx512bw
// -mavx512dq -mavx512vl.
//
// AVX512-BF16 is not used: it takes subnormal numbers for zero, and the portable code does not. Nor is
// AVX512-FP16, which rounds every partial sum.
#include "reduce_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
// GCC's own header leaves lanes undefined on purpose, and GCC warns of it; clang does not know the warning.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace jobkit {
namespace {

struct Machine : Vectors<64> {
  struct Float16 {
    JOBKIT_INLINE static TwoFloats widen(Words words) {
      const auto halves = (__m512i)words;
      return {(Floats)_mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
              (Floats)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))};
    }
    JOBKIT_INLINE static Words narrow(TwoFloats values) {
      values = with_canonical_nan<Machine>(values);
      const __m256i low = _mm512_cvtps_ph((__m512)values.a, _MM_FROUND_TO_NEAREST_INT);
      const __m256i high = _mm512_cvtps_ph((__m512)values.b, _MM_FROUND_TO_NEAREST_INT);
      return (Words)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
  };
  using Bfloat16 = PlainBfloat16<Machine>;
  JOBKIT_INLINE static void stream(std::byte* to, Words words) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)words);
  }
  JOBKIT_INLINE static void end_of_stream() { _mm_sfence(); }
};

constexpr Kernels kKernels = make_kernels<Machine>("avx512");

}  // namespace

const Kernels* avx512_kernels() {
  const bool is_there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return is_there ? &kKernels : nullptr;
}

}  // namespace jobkit

#else

const jobkit::Kernels* jobkit::avx512_kernels() { return nullptr; }

#endif
