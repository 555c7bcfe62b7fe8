#include "reduce.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

// The iterations are independent although `out` may be an operand: without this GCC's run-time check for
// overlap sends every call in place to the scalar loop.
#if defined(__clang__)
#define JOBKIT_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define JOBKIT_INDEPENDENT _Pragma("GCC ivdep")
#else
#define JOBKIT_INDEPENDENT
#endif

namespace jobkit {
namespace {

// --- conversions of the 16-bit types: no branches, so that the loops around them become vector code ---

float widen_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// To nearest, ties to even.
uint16_t narrow_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto rounded = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  return (bits & 0x7fffffff) > 0x7f800000 ? uint16_t{0x7fc0} : rounded;
}

float widen_float16(uint16_t half) {
  constexpr uint32_t rebias = (127 - 15) << 23;
  constexpr float smallest_normal = 0x1p-14F;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  const uint32_t exponent = magnitude & (0x7c00U << 13);
  const uint32_t normal = magnitude + rebias;
  // A subnormal is the fraction of 1.f * 2^-14 without the 1.
  const float subnormal = std::bit_cast<float>(normal + (1U << 23)) - smallest_normal;
  uint32_t bits = exponent == (0x7c00U << 13) ? normal + rebias : normal;  // infinity and NaN
  bits = exponent == 0 ? std::bit_cast<uint32_t>(subnormal) : bits;
  return std::bit_cast<float>(bits | sign);
}

// To nearest, ties to even; from 65520 on infinity.
uint16_t narrow_float16(float value) {
  constexpr uint32_t two_to_16 = (127 + 16) << 23;
  constexpr uint32_t smallest_normal = (127 - 14) << 23;
  constexpr float aligner =
      0.5F;  // its last bit is worth 2^-24, half's smallest step: the sum is rounded there
  const auto all = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (all >> 16) & 0x8000;
  const uint32_t bits = all & 0x7fffffff;
  const uint32_t normal = (bits - ((127 - 15) << 23) + 0xfff + ((bits >> 13) & 1)) >> 13;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(bits) + aligner) - (126U << 23);
  uint32_t half = bits < smallest_normal ? subnormal : normal;
  half = bits >= two_to_16 ? 0x7c00 : half;
  half = bits > 0x7f800000 ? 0x7e00 : half | sign;
  return static_cast<uint16_t>(half);
}

// --- one pair of elements; `Lane` is how an element lies in memory ---

template <class T>
struct IntegerSum {
  using Lane = std::make_unsigned_t<T>;  // unsigned arithmetic wraps
  static Lane apply(Lane left, Lane right) { return static_cast<Lane>(left + right); }
};

template <class T>
struct IntegerMax {
  using Lane = T;
  static T apply(T left, T right) { return left > right ? left : right; }
};

template <class T>
struct IntegerMin {
  using Lane = T;
  static T apply(T left, T right) { return left < right ? left : right; }
};

struct BoolOr {
  using Lane = uint8_t;
  static uint8_t apply(uint8_t left, uint8_t right) { return (left | right) != 0; }
};

struct BoolAnd {
  using Lane = uint8_t;
  static uint8_t apply(uint8_t left, uint8_t right) { return (left != 0) & (right != 0); }
};

template <class T>
struct FloatSum {
  using Lane = T;
  static T apply(T left, T right) {
    const T sum = left + right;
    return sum == sum ? sum : std::numeric_limits<T>::quiet_NaN();
  }
};

template <float (*widen)(uint16_t), uint16_t (*narrow)(float)>
struct SmallFloatSum {
  using Lane = uint16_t;
  static uint16_t apply(uint16_t left, uint16_t right) { return narrow(widen(left) + widen(right)); }
};

// An IEEE format by its bits: as signed integers with the magnitude of negatives inverted, they order as the
// numbers do, with -0 just below +0.
template <class Bits_, Bits_ infinity_, Bits_ nan_>
struct Format {
  using Bits = Bits_;
  using Key = std::make_signed_t<Bits>;
  static constexpr Bits kMagnitude = std::numeric_limits<Key>::max();
  static constexpr Bits kNan = nan_;
  static bool is_any_nan(Bits left, Bits right) {
    return std::max<Bits>(left & kMagnitude, right & kMagnitude) > infinity_;
  }
  static Key key(Bits bits) {
    const Key negative = static_cast<Key>(static_cast<Key>(bits) >> (8 * sizeof(Bits) - 1));
    return static_cast<Key>(bits ^ (static_cast<Bits>(negative) & kMagnitude));
  }
};

using Float16 = Format<uint16_t, 0x7c00, 0x7e00>;
using Bfloat16 = Format<uint16_t, 0x7f80, 0x7fc0>;
using Float32 = Format<uint32_t, 0x7f800000, 0x7fc00000>;
using Float64 = Format<uint64_t, 0x7ff0000000000000, 0x7ff8000000000000>;

template <class F, bool is_max>
struct FloatExtreme {
  using Lane = typename F::Bits;
  static Lane apply(Lane left, Lane right) {
    const bool take_left = is_max ? F::key(left) > F::key(right) : F::key(left) < F::key(right);
    const Lane extreme = take_left ? left : right;
    return F::is_any_nan(left, right) ? F::kNan : extreme;
  }
};

struct Complex {
  float real, imag;
};

// Numbers that compare equal differ at most in the signs of their zeros; these decide last, so that the order
// of the operands never does. A NaN makes both parts NaN.
template <bool is_max>
struct ComplexExtreme {
  using Lane = Complex;
  static bool is_nan(Complex z) { return z.real != z.real || z.imag != z.imag; }
  static bool is_less(Complex left, Complex right) {
    if (left.real != right.real) return left.real < right.real;
    if (left.imag != right.imag) return left.imag < right.imag;
    return signs(left) > signs(right);
  }
  static uint32_t signs(Complex z) {
    return (std::bit_cast<uint32_t>(z.real) >> 31) * 2 + (std::bit_cast<uint32_t>(z.imag) >> 31);
  }
  static Complex apply(Complex left, Complex right) {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    if (is_nan(left) || is_nan(right)) return {nan, nan};
    return is_less(left, right) == is_max ? right : left;
  }
};

// --- arrays of them ---

using Combine = void (*)(const void* left, const void* right, void* out, size_t count);

template <class Pair>
void combine(const void* left, const void* right, void* out, size_t count) {
  using Lane = typename Pair::Lane;
  const auto* a = static_cast<const Lane*>(left);
  const auto* b = static_cast<const Lane*>(right);
  auto* c = static_cast<Lane*>(out);
  JOBKIT_INDEPENDENT
  for (size_t i = 0; i < count; ++i) c[i] = Pair::apply(a[i], b[i]);
}

// The same without a demand for vector code, which complex numbers' order does not allow.
template <class Pair>
void combine_scalar(const void* left, const void* right, void* out, size_t count) {
  using Lane = typename Pair::Lane;
  const auto* a = static_cast<const Lane*>(left);
  const auto* b = static_cast<const Lane*>(right);
  auto* c = static_cast<Lane*>(out);
  for (size_t i = 0; i < count; ++i) c[i] = Pair::apply(a[i], b[i]);
}

// Two parts of a complex number are added as two floats are.
void combine_complex_sum(const void* left, const void* right, void* out, size_t count) {
  combine<FloatSum<float>>(left, right, out, 2 * count);
}

template <class Sum, class Max, class Min>
Combine choose(ReduceOp op) {
  if (op == ReduceOp::kSum) return combine<Sum>;
  return op == ReduceOp::kMax ? combine<Max> : combine<Min>;
}

template <class T>
Combine choose_integer(ReduceOp op) {
  return choose<IntegerSum<T>, IntegerMax<T>, IntegerMin<T>>(op);
}

template <class Sum, class F>
Combine choose_float(ReduceOp op) {
  return choose<Sum, FloatExtreme<F, true>, FloatExtreme<F, false>>(op);
}

Combine choose_complex(ReduceOp op) {
  if (op == ReduceOp::kSum) return combine_complex_sum;
  return op == ReduceOp::kMax ? combine_scalar<ComplexExtreme<true>> : combine_scalar<ComplexExtreme<false>>;
}

Combine combine_for(ReduceOp op, Dtype dtype) {
  if (!is_reduce_op(static_cast<int>(op)))
    throw std::invalid_argument("unknown reduction " + std::to_string(static_cast<int>(op)));
  switch (dtype) {
    case Dtype::kBool:
      return choose<BoolOr, BoolOr, BoolAnd>(op);
    case Dtype::kUint8:
      return choose_integer<uint8_t>(op);
    case Dtype::kUint16:
      return choose_integer<uint16_t>(op);
    case Dtype::kUint32:
      return choose_integer<uint32_t>(op);
    case Dtype::kUint64:
      return choose_integer<uint64_t>(op);
    case Dtype::kInt8:
      return choose_integer<int8_t>(op);
    case Dtype::kInt16:
      return choose_integer<int16_t>(op);
    case Dtype::kInt32:
      return choose_integer<int32_t>(op);
    case Dtype::kInt64:
      return choose_integer<int64_t>(op);
    case Dtype::kFloat16:
      return choose_float<SmallFloatSum<widen_float16, narrow_float16>, Float16>(op);
    case Dtype::kBfloat16:
      return choose_float<SmallFloatSum<widen_bfloat16, narrow_bfloat16>, Bfloat16>(op);
    case Dtype::kFloat32:
      return choose_float<FloatSum<float>, Float32>(op);
    case Dtype::kFloat64:
      return choose_float<FloatSum<double>, Float64>(op);
    case Dtype::kComplex64:
      return choose_complex(op);
  }
  throw std::invalid_argument("unknown dtype " + std::to_string(static_cast<int>(dtype)));
}

template <float (*widen)(uint16_t)>
void widen_all(const void* in, float* out, size_t count) {
  const auto* from = static_cast<const uint16_t*>(in);
  for (size_t i = 0; i < count; ++i) out[i] = widen(from[i]);
}

template <uint16_t (*narrow)(float)>
void narrow_all(const float* in, void* out, size_t count) {
  auto* to = static_cast<uint16_t*>(out);
  for (size_t i = 0; i < count; ++i) to[i] = narrow(in[i]);
}

// The product is formed in double, so that a mean is the sum divided by N to the last bit but for rare ties.
void scale_float32(float* data, size_t count, double scale) {
  for (size_t i = 0; i < count; ++i) data[i] = static_cast<float>(data[i] * scale);
}

void scale_float64(double* data, size_t count, double scale) {
  for (size_t i = 0; i < count; ++i) data[i] *= scale;
}

// How the elements of one dtype are accumulated: in place of themselves (widen and narrow are null), or as
// float32.
struct Accumulator {
  Combine combine;
  size_t n_bytes;  // of one accumulated element
  void (*widen)(const void*, float*, size_t) = nullptr;
  void (*narrow)(const float*, void*, size_t) = nullptr;
};

Accumulator accumulator_for(ReduceOp op, Dtype dtype) {
  if (op == ReduceOp::kSum && dtype == Dtype::kFloat16)
    return {combine<FloatSum<float>>, sizeof(float), widen_all<widen_float16>, narrow_all<narrow_float16>};
  if (op == ReduceOp::kSum && dtype == Dtype::kBfloat16)
    return {combine<FloatSum<float>>, sizeof(float), widen_all<widen_bfloat16>, narrow_all<narrow_bfloat16>};
  return {combine_for(op, dtype), size_of(dtype)};
}

// Levels of scratch stay in the second-level cache, one block of operands in the first.
constexpr size_t kBlockBytes = 16384;

// One block of every part reduced by the fixed tree. A node spans the ranks [first, first + span) of the
// largest power of two p <= n, and a leaf is rank i joined with rank p + i where there is one.
class Tree {
 public:
  Tree(const Accumulator& accumulator, Dtype dtype, const void* const* parts, size_t n, size_t block)
      : accumulator_(accumulator),
        element_bytes_(size_of(dtype)),
        parts_(parts),
        n_(n),
        p_(std::bit_floor(n)),
        level_bytes_(block * accumulator.n_bytes),
        scratch_(new std::byte[level_bytes_ * (static_cast<size_t>(std::bit_width(p_)) + 1)]) {}

  // The reduction of elements [begin, begin + count). It lies in `out` where elements are accumulated in
  // place of themselves, else in scratch memory as float32.
  void* reduce(size_t begin, size_t count, void* out) {
    begin_ = begin;
    count_ = count;
    void* into = accumulator_.widen ? scratch(0) : out;
    const void* result = node(0, p_, 0, into);
    if (result != into) std::memmove(into, result, count * accumulator_.n_bytes);  // a single part
    return into;
  }

 private:
  void* scratch(size_t level) { return scratch_.get() + level * level_bytes_; }

  const void* node(size_t first, size_t span, size_t level, void* into) {
    if (span == 1) return leaf(first, level, into);
    const void* left = node(first, span / 2, level, scratch(level));
    const void* right = node(first + span / 2, span / 2, level + 1, scratch(level + 1));
    accumulator_.combine(left, right, into, count_);
    return into;
  }

  const void* leaf(size_t rank, size_t level, void* into) {
    const void* own = part(rank, level);
    if (p_ + rank >= n_) return own;
    accumulator_.combine(own, part(p_ + rank, level + 1), into, count_);
    return into;
  }

  const void* part(size_t rank, size_t level) {
    const auto* data = static_cast<const std::byte*>(parts_[rank]) + begin_ * element_bytes_;
    if (!accumulator_.widen) return data;
    accumulator_.widen(data, static_cast<float*>(scratch(level)), count_);
    return scratch(level);
  }

  const Accumulator accumulator_;
  const size_t element_bytes_;
  const void* const* const parts_;
  const size_t n_;
  const size_t p_;
  const size_t level_bytes_;
  const std::unique_ptr<std::byte[]> scratch_;
  size_t begin_ = 0;
  size_t count_ = 0;
};

void check_scale(Dtype dtype, double scale) {
  if (scale != 1.0 && dtype < Dtype::kFloat16)
    throw std::invalid_argument(std::string("only floating and complex types are scaled, not ") +
                                name_of(dtype));
}

}  // namespace

void reduce(ReduceOp op, Dtype dtype, const void* left, const void* right, void* out, size_t count) {
  combine_for(op, dtype)(left, right, out, count);
}

void reduce_all(ReduceOp op, Dtype dtype, const void* const* parts, int n, void* out, size_t count,
                double scale) {
  if (n < 1) throw std::invalid_argument("nothing to reduce: " + std::to_string(n) + " parts");
  check_scale(dtype, scale);
  if (count == 0) return;
  const Accumulator accumulator = accumulator_for(op, dtype);
  const size_t block = std::min(count, kBlockBytes / accumulator.n_bytes);
  Tree tree(accumulator, dtype, parts, static_cast<size_t>(n), block);
  for (size_t begin = 0; begin < count; begin += block) {
    const size_t n_here = std::min(block, count - begin);
    void* out_here = static_cast<std::byte*>(out) + begin * size_of(dtype);
    void* result = tree.reduce(begin, n_here, out_here);
    if (!accumulator.narrow) {
      scale_in_place(dtype, result, n_here, scale);
      continue;
    }
    auto* sums = static_cast<float*>(result);
    if (scale != 1.0) scale_float32(sums, n_here, scale);
    accumulator.narrow(sums, out_here, n_here);
  }
}

void scale_in_place(Dtype dtype, void* data, size_t count, double scale) {
  check_scale(dtype, scale);
  if (scale == 1.0) return;
  if (dtype == Dtype::kFloat32) return scale_float32(static_cast<float*>(data), count, scale);
  if (dtype == Dtype::kComplex64) return scale_float32(static_cast<float*>(data), 2 * count, scale);
  if (dtype == Dtype::kFloat64) return scale_float64(static_cast<double*>(data), count, scale);
  auto* elements = static_cast<uint16_t*>(data);
  const bool is_half = dtype == Dtype::kFloat16;
  for (size_t i = 0; i < count; ++i) {
    const float value = is_half ? widen_float16(elements[i]) : widen_bfloat16(elements[i]);
    const auto scaled = static_cast<float>(value * scale);
    elements[i] = is_half ? narrow_float16(scaled) : narrow_bfloat16(scaled);
  }
}

}  // namespace jobkit
