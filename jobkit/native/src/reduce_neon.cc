// Reductions in vectors of 16 bytes with ARM's conversions of float16, which every 64-bit ARM processor has.
#include "reduce_kernels.h"

#if defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>

namespace jobkit {
namespace {

struct Machine : Vectors<16> {
  struct Float16 {
    JOBKIT_INLINE static TwoFloats widen(Words words) {
      const auto halves = (float16x8_t)words;
      return {(Floats)vcvt_f32_f16(vget_low_f16(halves)), (Floats)vcvt_high_f32_f16(halves)};
    }
    JOBKIT_INLINE static Words narrow(TwoFloats values) {
      values = with_canonical_nan<Machine>(values);
      const float16x4_t low = vcvt_f16_f32((float32x4_t)values.a);
      return (Words)vcvt_high_f16_f32(low, (float32x4_t)values.b);
    }
  };
  using Bfloat16 = PlainBfloat16<Machine>;
  // There is no such store of a single vector, and two are taken apart by the compilers.
  JOBKIT_INLINE static void stream(std::byte* to, Words words) { std::memcpy(to, &words, sizeof words); }
  JOBKIT_INLINE static void end_of_stream() {}
};

constexpr Kernels kKernels = make_kernels<Machine>("neon");

}  // namespace

const Kernels* neon_kernels() { return &kKernels; }

}  // namespace jobkit

#else

const jobkit::Kernels* jobkit::neon_kernels() { return nullptr; }

#endif
