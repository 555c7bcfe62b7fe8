// Element-wise reductions of two operands, and of one segment from every rank.
//
// bool: sum is or, max is or, min is and. Integers wrap. Complex max and min order by the real part, then by
// the imaginary one, and a NaN in either part wins. A NaN wins in max and min, and every NaN that comes out
// is the canonical one; +0 > -0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dtype.h"

namespace jobkit {

enum class ReduceOp : uint8_t { kSum = 0, kMax = 1, kMin = 2 };

inline constexpr bool is_reduce_op(int code) { return code >= 0 && code <= 2; }

// out[i] = left[i] op right[i] for i in [0, count). `out` may be `left` or `right` itself; no other overlap.
void reduce(ReduceOp op, Dtype dtype, const void* left, const void* right, void* out, size_t count);

// out[i] = parts[0][i] op parts[1][i] op ... op parts[n-1][i], grouped as the fixed tree of native.md (the
// ranks beyond the largest power of two fold onto a partner first: rank p + i onto rank i; then distances 1,
// 2, 4, ...; the lower rank is the left operand), so that every rank that reduces the same parts gets the
// same bits. float16 and bfloat16 are accumulated in float32 and rounded once; other types in their own.
// `scale` multiplies the result before that rounding (1 for none; only floating and complex types accept
// another). `out` may be one of the parts.
void reduce_all(ReduceOp op, Dtype dtype, const void* const* parts, int n, void* out, size_t count,
                double scale = 1.0);

// data[i] *= scale, in float32 for the 16-bit types, rounded once.
void scale_in_place(Dtype dtype, void* data, size_t count, double scale);

}  // namespace jobkit
