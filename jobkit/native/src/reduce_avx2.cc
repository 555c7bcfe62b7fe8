// Reductions in vectors of 32 bytes. CMake compiles this file, and no other one, with -mavx2 -mf16c.
#include "reduce_kernels.h"

#if defined(__AVX2__) && defined(__F16C__)
#include <cpuid.h>
#include <immintrin.h>

namespace jobkit {
namespace {

struct Machine : Vectors<32> {
  struct Float16 {
    JOBKIT_INLINE static TwoFloats widen(Words words) {
      const auto halves = (__m256i)words;
      return {(Floats)_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
              (Floats)_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
    }
    JOBKIT_INLINE static Words narrow(TwoFloats values) {
      values = with_canonical_nan<Machine>(values);
      const __m128i low = _mm256_cvtps_ph((__m256)values.a, _MM_FROUND_TO_NEAREST_INT);
      const __m128i high = _mm256_cvtps_ph((__m256)values.b, _MM_FROUND_TO_NEAREST_INT);
      return (Words)_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
  };
  // Both vectors are rounded at once, in lanes of 16 bits: the upper halves, plus one where the lower half is
  // above 0x8000, or is 0x8000 and the upper one odd.
  struct Bfloat16 {
    JOBKIT_INLINE static TwoFloats widen(Words pairs) { return PlainBfloat16<Machine>::widen(pairs); }
    JOBKIT_INLINE static Words narrow(TwoFloats values) {
      constexpr int odd_lanes = 0xaa;
      const auto a = (__m256i)values.a, b = (__m256i)values.b;
      const auto upper = (Lanes)_mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, odd_lanes);
      const auto lower = (Lanes)_mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), odd_lanes);
      // The average is that of lower + 0x7fff + odd, in 17 bits, without the last.
      const auto nearly_half = (Lanes)((upper & 1) + 0x7ffe);
      const auto carry = (Lanes)_mm256_avg_epu16((__m256i)lower, (__m256i)nearly_half) >> 15;
      const auto rounded = (Lanes)(upper + carry);
      // What comes out of an addition is a quiet NaN, which shows in the upper half.
      const auto magnitude = (SignedLanes)(upper & 0x7fff);
      return (Words)(magnitude > 0x7f80 ? Lanes{} + 0x7fc0 : rounded);
    }

   private:
    using Lanes = Of<uint16_t>;
    using SignedLanes = Of<int16_t>;
  };
  JOBKIT_INLINE static void stream(std::byte* to, Words words) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)words);
  }
  JOBKIT_INLINE static void end_of_stream() { _mm_sfence(); }
};

constexpr Kernels kKernels = make_kernels<Machine>("avx2");

// Not every compiler's __builtin_cpu_supports knows f16c.
bool has_float16_conversions() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

const Kernels* avx2_kernels() {
  return __builtin_cpu_supports("avx2") && has_float16_conversions() ? &kKernels : nullptr;
}

}  // namespace jobkit

#else

const jobkit::Kernels* jobkit::avx2_kernels() { return nullptr; }

#endif
