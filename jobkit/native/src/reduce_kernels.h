// The reductions of one instruction set, written once for vectors of any width.
//
// Each of reduce_*.cc instantiates these templates with a Machine of its own: the width of its vectors, its
// conversions of float16 and bfloat16 and its stores past the cache. Such a file is compiled with flags that
// only some processors understand. A Machine has no linkage, hence neither has what is made of it, and the
// linker never takes one file's code for another's; for the same reason nothing here is an ordinary inline
// function.
//
// Operands are loaded and stored as Words; a reduction says what their bits mean:
//   take(words)        the value to be accumulated of one operand
//   join(left, right)  one value of two
//   give(value)        the words of the result
// float16 and bfloat16 are accumulated as two vectors of float32. Which elements are in which of them is the
// machine's affair: what widen() spreads, narrow() puts back, rounded, and every NaN as the canonical one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dtype.h"

// Left to itself, GCC calls these functions once for each vector.
#define JOBKIT_INLINE [[gnu::always_inline]] inline

namespace jobkit {

// n_bytes of every part, to be reduced to `out`, which may be one of the parts.
struct Work {
  const std::byte* const* parts;
  size_t n;  // of parts, at least 1
  std::byte* out;
  size_t n_bytes;
  double scale;      // 1 for none
  bool nontemporal;  // nobody reads `out` soon: it need not take up room in the cache
};

struct Kernels {
  using Kernel = void (*)(const Work&);
  const char* name;
  Kernel reduce[3][kDtypes];  // by ReduceOp and Dtype
  Kernel copy;                // of the first part
};

// Null where the compiler that built this, or the processor, lacks the instructions.
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* portable_kernels();

template <class T, size_t n_bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(n_bytes)));
};

// What every machine has.
template <size_t n_bytes>
struct Vectors {
  static constexpr size_t kBytes = n_bytes;
  template <class T>
  using Of = typename VectorOf<T, n_bytes>::type;
  using Words = Of<uint32_t>;
  using Floats = Of<float>;
  struct TwoFloats {
    Floats a, b;
  };
};

// --- float16 in lanes of 32 bits, for machines without instructions for it ---

template <class M>
struct Float16Lanes {
  using Words = typename M::Words;
  using Floats = typename M::Floats;

  JOBKIT_INLINE static Floats widen(Words half) {
    constexpr uint32_t rebias = (127 - 15) << 23;
    constexpr uint32_t exponent_mask = 0x7c00U << 13;
    const Words sign = (half & 0x8000) << 16;
    const Words magnitude = (half & 0x7fff) << 13;
    const Words exponent = magnitude & exponent_mask;
    const Words normal = magnitude + rebias;
    // A subnormal is the fraction of 1.f * 2^-14 without the 1.
    const Words subnormal = (Words)((Floats)(normal + (1U << 23)) - 0x1p-14F);
    Words bits = exponent == exponent_mask ? normal + rebias : normal;  // infinity and NaN
    bits = exponent == 0 ? subnormal : bits;
    return (Floats)(bits | sign);
  }

  // To nearest, ties to even; from 65520 on infinity.
  JOBKIT_INLINE static Words narrow(Floats value) {
    constexpr uint32_t two_to_16 = (127 + 16) << 23;
    constexpr uint32_t smallest_normal = (127 - 14) << 23;
    // The last bit of 0.5 is worth 2^-24, the smallest step of a half: the sum is rounded there.
    constexpr float aligner = 0.5F;
    const Words all = (Words)value;
    const Words sign = (all >> 16) & 0x8000;
    const Words bits = all & 0x7fffffff;
    const Words normal = (bits - ((127 - 15) << 23) + 0xfff + ((bits >> 13) & 1)) >> 13;
    const Words subnormal = (Words)((Floats)bits + aligner) - (126U << 23);
    const Words infinity = Words{} + 0x7c00;
    const Words nan = Words{} + 0x7e00;
    Words half = bits < smallest_normal ? subnormal : normal;
    half = bits >= two_to_16 ? infinity : half;
    half = bits > 0x7f800000 ? nan : half;
    return half | sign;
  }
};

template <class M>
JOBKIT_INLINE typename M::Floats with_canonical_nan(typename M::Floats value) {
  const auto nan = (typename M::Floats)(typename M::Words{} + 0x7fc00000);
  return value == value ? value : nan;
}

template <class M>
JOBKIT_INLINE typename M::TwoFloats with_canonical_nan(typename M::TwoFloats values) {
  return {with_canonical_nan<M>(values.a), with_canonical_nan<M>(values.b)};
}

// The even elements in one vector, the odd ones in the other.
template <class M>
struct PlainFloat16 {
  using Lanes = Float16Lanes<M>;
  JOBKIT_INLINE static typename M::TwoFloats widen(typename M::Words halves) {
    return {Lanes::widen(halves & 0xffff), Lanes::widen(halves >> 16)};
  }
  JOBKIT_INLINE static typename M::Words narrow(typename M::TwoFloats values) {
    const auto [a, b] = with_canonical_nan<M>(values);
    return Lanes::narrow(a) | Lanes::narrow(b) << 16;
  }
};

template <class M>
struct PlainBfloat16 {
  using Words = typename M::Words;
  using Floats = typename M::Floats;
  JOBKIT_INLINE static typename M::TwoFloats widen(Words pairs) {
    return {(Floats)(pairs << 16), (Floats)(pairs & 0xffff0000)};
  }
  JOBKIT_INLINE static Words narrow(typename M::TwoFloats values) {
    const auto [a, b] = with_canonical_nan<M>(values);
    return rounded((Words)a) >> 16 | (rounded((Words)b) & 0xffff0000);
  }
  // To nearest, ties to even. The canonical NaN stays what it is; others might become infinity.
  JOBKIT_INLINE static Words rounded(Words bits) { return bits + 0x7fff + ((bits >> 16) & 1); }
};

// --- sums of floats: the only reductions whose bits depend on the order of the operands ---

// float32, and the two parts of complex64.
template <class M>
struct Float32Sum {
  using Words = typename M::Words;
  using Value = typename M::Floats;
  using Doubles = typename VectorOf<double, 2 * M::kBytes>::type;
  static constexpr size_t kElementBytes = 4;
  JOBKIT_INLINE static Value take(Words words) { return (Value)words; }
  JOBKIT_INLINE static Value join(Value left, Value right) { return left + right; }
  // The product is formed in double, so that a mean is the sum divided by N to the last bit but for rare
  // ties.
  JOBKIT_INLINE static Value scaled(Value value, double scale) {
    return __builtin_convertvector(__builtin_convertvector(value, Doubles) * scale, Value);
  }
  JOBKIT_INLINE static Words give(Value value) { return (Words)with_canonical_nan<M>(value); }
};

template <class M>
struct Float64Sum {
  using Words = typename M::Words;
  using Value = typename M::template Of<double>;
  using Bits = typename M::template Of<uint64_t>;
  static constexpr size_t kElementBytes = 8;
  JOBKIT_INLINE static Value take(Words words) { return (Value)words; }
  JOBKIT_INLINE static Value join(Value left, Value right) { return left + right; }
  JOBKIT_INLINE static Value scaled(Value value, double scale) { return value * scale; }
  JOBKIT_INLINE static Words give(Value value) {
    const Value nan = (Value)(Bits{} + 0x7ff8000000000000);
    return (Words)(value == value ? value : nan);
  }
};

template <class M, class Format>
struct SmallFloatSum {
  using Words = typename M::Words;
  using Value = typename M::TwoFloats;
  using Each = Float32Sum<M>;
  static constexpr size_t kElementBytes = 2;
  JOBKIT_INLINE static Value take(Words words) { return Format::widen(words); }
  JOBKIT_INLINE static Value join(Value left, Value right) { return {left.a + right.a, left.b + right.b}; }
  JOBKIT_INLINE static Value scaled(Value value, double scale) {
    return {Each::scaled(value.a, scale), Each::scaled(value.b, scale)};
  }
  JOBKIT_INLINE static Words give(Value value) { return Format::narrow(value); }
};

// --- reductions that may be formed in any order ---

template <class M, class T>
struct IntegerSum {  // T is unsigned, whose arithmetic wraps
  using Words = typename M::Words;
  using Value = typename M::template Of<T>;
  static constexpr size_t kElementBytes = sizeof(T);
  JOBKIT_INLINE static Value take(Words words) { return (Value)words; }
  JOBKIT_INLINE static Value join(Value left, Value right) { return left + right; }
  JOBKIT_INLINE static Words give(Value value) { return (Words)value; }
};

template <class M, class T, bool is_max>
struct IntegerExtreme {
  using Words = typename M::Words;
  using Value = typename M::template Of<T>;
  static constexpr size_t kElementBytes = sizeof(T);
  JOBKIT_INLINE static Value take(Words words) { return (Value)words; }
  JOBKIT_INLINE static Value join(Value left, Value right) {
    if constexpr (is_max) return left > right ? left : right;
    return left < right ? left : right;
  }
  JOBKIT_INLINE static Words give(Value value) { return (Words)value; }
};

template <class M, bool is_or>
struct BoolReduction {
  using Words = typename M::Words;
  using Value = typename M::template Of<uint8_t>;
  static constexpr size_t kElementBytes = 1;
  JOBKIT_INLINE static Value take(Words words) { return (Value)((Value)words != 0); }
  JOBKIT_INLINE static Value join(Value left, Value right) {
    if constexpr (is_or) return left | right;
    return left & right;
  }
  JOBKIT_INLINE static Words give(Value value) { return (Words)(value & 1); }
};

// An IEEE format by its bits: as signed integers with the magnitude of negatives inverted, they order as the
// numbers do, with -0 just below +0.
template <class M, class Key_, Key_ infinity, Key_ nan>
struct Format {
  using Key = Key_;
  using Keys = typename M::template Of<Key>;
  static constexpr Key kMagnitude = static_cast<Key>(~(Key{1} << (8 * sizeof(Key) - 1)));
  static constexpr Key kInfinity = infinity;
  static constexpr Key kMinusInfinity = static_cast<Key>(~infinity);  // as a key
  static constexpr Key kNan = nan;
  // Its own inverse.
  JOBKIT_INLINE static Keys key(Keys bits) { return bits ^ ((bits < 0) & kMagnitude); }
};

// NaNs lie beyond the infinities, at either end.
template <class M, class F, bool is_max>
struct FloatExtreme {
  using Words = typename M::Words;
  using Keys = typename F::Keys;
  struct Value {
    Keys lowest, highest;
  };
  static constexpr size_t kElementBytes = sizeof(typename F::Key);
  JOBKIT_INLINE static Value take(Words words) {
    const Keys key = F::key((Keys)words);
    return {key, key};
  }
  JOBKIT_INLINE static Value join(Value left, Value right) {
    return {IntegerExtreme<M, typename F::Key, false>::join(left.lowest, right.lowest),
            IntegerExtreme<M, typename F::Key, true>::join(left.highest, right.highest)};
  }
  JOBKIT_INLINE static Words give(Value value) {
    const Keys nan = Keys{} + F::kNan;
    const Keys is_nan = (value.highest > F::kInfinity) | (value.lowest < F::kMinusInfinity);
    return (Words)(is_nan ? nan : F::key(is_max ? value.highest : value.lowest));
  }
};

// Complex numbers order by the real part, then by the imaginary one. Numbers that compare equal differ at
// most in the signs of their zeros; these decide last, so that the order of the operands never does. A NaN in
// either part makes both parts NaN.
template <class M, bool is_max>
struct ComplexExtreme {
  using Words = typename M::Words;
  using Parts = Format<M, int32_t, 0x7f800000, 0x7fc00000>;
  using Keys = typename Parts::Keys;
  using Pairs = typename M::template Of<int64_t>;
  using Bits = typename M::template Of<uint64_t>;
  struct Value {
    Pairs order;  // with all zeros alike
    Pairs key;    // with -0 below +0
    Pairs is_nan;
  };
  static constexpr size_t kElementBytes = 8;

  JOBKIT_INLINE static Value take(Words words) {
    const Keys bits = (Keys)words;
    const Keys key = Parts::key(bits);
    const Keys minus_zero = key == -1;
    const Keys is_nan = (bits & Parts::kMagnitude) > Parts::kInfinity;
    return {real_above(key - minus_zero), real_above(key), (Pairs)((Pairs)is_nan != 0)};
  }
  JOBKIT_INLINE static Value join(Value left, Value right) {
    const Pairs right_wins = is_max ? is_less(left, right) : is_less(right, left);
    return {right_wins ? right.order : left.order, right_wins ? right.key : left.key,
            left.is_nan | right.is_nan};
  }
  JOBKIT_INLINE static Words give(Value value) {
    const Words nan = Words{} + 0x7fc00000;
    const Keys key = (Keys)turned((Bits)value.key ^ kSign);
    return (Words)value.is_nan ? nan : (Words)Parts::key(key);
  }

 private:
  static constexpr uint64_t kSign = 0x80000000;
  JOBKIT_INLINE static Bits turned(Bits pairs) { return pairs << 32 | pairs >> 32; }
  // In memory the real part is the low half. Above, it counts first; the low half compares without a sign.
  JOBKIT_INLINE static Pairs real_above(Keys key) { return (Pairs)(turned((Bits)key) ^ kSign); }
  JOBKIT_INLINE static Pairs is_less(const Value& left, const Value& right) {
    return (left.order < right.order) | ((left.order == right.order) & (left.key < right.key));
  }
};

// --- the way through the parts ---

// A single number is moved so often that a call of memcpy would show.
template <class M, class Number>
JOBKIT_INLINE typename M::Words load_number(const std::byte* from) {
  Number number;
  std::memcpy(&number, from, sizeof number);
  typename M::template Of<Number> vector{};
  vector[0] = number;
  return (typename M::Words)vector;
}

template <class M, class Number>
JOBKIT_INLINE void store_number(typename M::Words words, std::byte* to) {
  const Number number = ((typename M::template Of<Number>)words)[0];
  std::memcpy(to, &number, sizeof number);
}

// Less than a vector, and then zeros.
template <class M>
JOBKIT_INLINE typename M::Words load_some(const std::byte* from, size_t n_bytes) {
  if (n_bytes == 4) return load_number<M, uint32_t>(from);
  if (n_bytes == 8) return load_number<M, uint64_t>(from);
  typename M::Words words{};
  std::memcpy(&words, from, n_bytes);
  return words;
}

template <class M>
JOBKIT_INLINE void store_some(typename M::Words words, std::byte* to, size_t n_bytes) {
  if (n_bytes == 4) return store_number<M, uint32_t>(words, to);
  if (n_bytes == 8) return store_number<M, uint64_t>(words, to);
  std::memcpy(to, &words, n_bytes);
}

// The same bytes of every part.
template <class M, bool whole, class Parts>
struct Place {
  const Parts& parts;
  size_t begin;
  size_t n_bytes;
  JOBKIT_INLINE typename M::Words operator[](size_t part) const {
    if constexpr (!whole) return load_some<M>(parts[part] + begin, n_bytes);
    typename M::Words words;
    std::memcpy(&words, parts[part] + begin, M::kBytes);
    return words;
  }
};

template <class M, class Reduction>
[[gnu::noinline]] void reduce_some(const Reduction& reduction, std::byte* out, size_t begin, size_t n_bytes) {
  store_some<M>(reduction.template at<false>(begin, n_bytes), out + begin, n_bytes);
}

// One vector after the other. All operands of a vector are loaded before it is stored, so that `out` may be
// one of the parts.
template <class M, class Reduction>
JOBKIT_INLINE void sweep(const Work& work, const Reduction& reduction) {
  std::byte* const out = work.out;
  const size_t n_bytes = work.n_bytes;
  size_t begin = 0;
  if (work.nontemporal && n_bytes >= 2 * M::kBytes) {
    const size_t head = -reinterpret_cast<uintptr_t>(out) % M::kBytes;
    if (head % Reduction::kElementBytes == 0) {  // else no element lies where such a store begins
      if (head > 0) reduce_some<M>(reduction, out, 0, head);
      for (begin = head; begin + M::kBytes <= n_bytes; begin += M::kBytes)
        M::stream(out + begin, reduction.template at<true>(begin, M::kBytes));
      M::end_of_stream();
    }
  }
  for (; begin + M::kBytes <= n_bytes; begin += M::kBytes) {
    const typename M::Words words = reduction.template at<true>(begin, M::kBytes);
    std::memcpy(out + begin, &words, M::kBytes);
  }
  if (begin < n_bytes) reduce_some<M>(reduction, out, begin, n_bytes - begin);
}

template <class M>
struct Copy {
  static constexpr size_t kElementBytes = 1;
  const std::byte* parts[1];
  template <bool whole>
  JOBKIT_INLINE typename M::Words at(size_t begin, size_t n_bytes) const {
    return Place<M, whole, decltype(parts)>{parts, begin, n_bytes}[0];
  }
};

// From the first part to the last.
template <class M, class Pair>
struct InSequence {
  static constexpr size_t kElementBytes = Pair::kElementBytes;
  const std::byte* const* parts;
  size_t n;
  template <bool whole>
  JOBKIT_INLINE typename M::Words at(size_t begin, size_t n_bytes) const {
    const Place<M, whole, decltype(parts)> place{parts, begin, n_bytes};
    auto value = Pair::take(place[0]);
    for (size_t i = 1; i < n; ++i) value = Pair::join(value, Pair::take(place[i]));
    return Pair::give(value);
  }
};

// A node of the fixed tree of reduce.h spans `span` of the p first parts, p the largest power of two in their
// number; a leaf is part i joined with part p + i where there is one.
template <class M>
constexpr size_t power_of_two_in(size_t n) {
  return size_t{1} << (63 - __builtin_clzll(n));
}

template <class Sum, class AnyPlace>
JOBKIT_INLINE typename Sum::Value leaf(const AnyPlace& place, size_t i, size_t p, size_t n) {
  const auto own = Sum::take(place[i]);
  return p + i < n ? Sum::join(own, Sum::take(place[p + i])) : own;
}

template <class Sum, size_t span, class AnyPlace>
JOBKIT_INLINE typename Sum::Value node(const AnyPlace& place, size_t first, size_t p, size_t n) {
  if constexpr (span == 1) {
    return leaf<Sum>(place, first, p, n);
  } else {
    const auto left = node<Sum, span / 2>(place, first, p, n);
    return Sum::join(left, node<Sum, span / 2>(place, first + span / 2, p, n));
  }
}

// All values of a tree of up to 8 parts are in registers. Left to itself, GCC asks for every vector whether
// it is to be scaled.
template <class M, class Sum, size_t n, bool scaled>
struct InTree {
  static constexpr size_t kElementBytes = Sum::kElementBytes;
  const std::byte* parts[n];
  double scale;

  explicit InTree(const Work& work) : scale(work.scale) {
    for (size_t i = 0; i < n; ++i) parts[i] = work.parts[i];
  }
  template <bool whole>
  JOBKIT_INLINE typename M::Words at(size_t begin, size_t n_bytes) const {
    constexpr size_t p = power_of_two_in<M>(n);
    const Place<M, whole, decltype(parts)> place{parts, begin, n_bytes};
    const auto value = node<Sum, p>(place, 0, p, n);
    if constexpr (scaled) return Sum::give(Sum::scaled(value, scale));
    return Sum::give(value);
  }
};

// More parts: the nodes above those of 8 leaves wait in memory for their right neighbours.
template <class M, class Sum>
struct InGroups {
  static constexpr size_t kElementBytes = Sum::kElementBytes;
  static constexpr size_t kGroup = 8;
  static constexpr size_t kLevels = 32;
  const std::byte* const* parts;
  size_t n;
  double scale;

  template <bool whole>
  JOBKIT_INLINE typename M::Words at(size_t begin, size_t n_bytes) const {
    const size_t p = power_of_two_in<M>(n);
    const Place<M, whole, decltype(parts)> place{parts, begin, n_bytes};
    typename Sum::Value waiting[kLevels];
    size_t n_waiting = 0;
    for (size_t group = 0; group < p / kGroup; ++group) {
      auto value = node<Sum, kGroup>(place, group * kGroup, p, n);
      for (size_t pairs = group; pairs % 2 == 1; pairs /= 2) value = Sum::join(waiting[--n_waiting], value);
      waiting[n_waiting++] = value;
    }
    return Sum::give(scale == 1.0 ? waiting[0] : Sum::scaled(waiting[0], scale));
  }
};

// --- the table ---

template <class M>
void copy_all(const Work& work) {
  sweep<M>(work, Copy<M>{{work.parts[0]}});
}

template <class M, class Pair>
void in_sequence(const Work& work) {
  sweep<M>(work, InSequence<M, Pair>{work.parts, work.n});
}

template <class M, class Sum, size_t n>
JOBKIT_INLINE void in_registers(const Work& work) {
  if (work.scale == 1.0) return sweep<M>(work, InTree<M, Sum, n, false>(work));
  sweep<M>(work, InTree<M, Sum, n, true>(work));
}

template <class M, class Sum>
void in_tree(const Work& work) {
  switch (work.n) {
    case 1:
      return in_registers<M, Sum, 1>(work);
    case 2:
      return in_registers<M, Sum, 2>(work);
    case 3:
      return in_registers<M, Sum, 3>(work);
    case 4:
      return in_registers<M, Sum, 4>(work);
    case 5:
      return in_registers<M, Sum, 5>(work);
    case 6:
      return in_registers<M, Sum, 6>(work);
    case 7:
      return in_registers<M, Sum, 7>(work);
    case 8:
      return in_registers<M, Sum, 8>(work);
    default:
      return sweep<M>(work, InGroups<M, Sum>{work.parts, work.n, work.scale});
  }
}

template <class M, bool is_max>
constexpr void fill_extremes(Kernels::Kernel* by_dtype) {
  using Kernel = Kernels::Kernel;
  const Kernel all[kDtypes] = {
      in_sequence<M, BoolReduction<M, is_max>>,
      in_sequence<M, IntegerExtreme<M, uint8_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, uint16_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, uint32_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, uint64_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, int8_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, int16_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, int32_t, is_max>>,
      in_sequence<M, IntegerExtreme<M, int64_t, is_max>>,
      in_sequence<M, FloatExtreme<M, Format<M, int16_t, 0x7c00, 0x7e00>, is_max>>,
      in_sequence<M, FloatExtreme<M, Format<M, int16_t, 0x7f80, 0x7fc0>, is_max>>,
      in_sequence<M, FloatExtreme<M, Format<M, int32_t, 0x7f800000, 0x7fc00000>, is_max>>,
      in_sequence<M, FloatExtreme<M, Format<M, int64_t, 0x7ff0000000000000, 0x7ff8000000000000>, is_max>>,
      in_sequence<M, ComplexExtreme<M, is_max>>,
  };
  for (int i = 0; i < kDtypes; ++i) by_dtype[i] = all[i];
}

// In the order of ReduceOp and Dtype.
template <class M>
constexpr Kernels make_kernels(const char* name) {
  using Kernel = Kernels::Kernel;
  constexpr Kernel bytes = in_sequence<M, IntegerSum<M, uint8_t>>;
  constexpr Kernel shorts = in_sequence<M, IntegerSum<M, uint16_t>>;
  constexpr Kernel words = in_sequence<M, IntegerSum<M, uint32_t>>;
  constexpr Kernel longs = in_sequence<M, IntegerSum<M, uint64_t>>;
  constexpr Kernel floats = in_tree<M, Float32Sum<M>>;
  Kernels kernels{
      name,
      {{in_sequence<M, BoolReduction<M, true>>, bytes, shorts, words, longs, bytes, shorts, words, longs,
        in_tree<M, SmallFloatSum<M, typename M::Float16>>, in_tree<M, SmallFloatSum<M, typename M::Bfloat16>>,
        floats, in_tree<M, Float64Sum<M>>, floats}},
      copy_all<M>};
  fill_extremes<M, true>(kernels.reduce[1]);
  fill_extremes<M, false>(kernels.reduce[2]);
  return kernels;
}

}  // namespace jobkit
