// Element-wise reductions of two operands, and of one segment from every rank; copies.
//
// bool: sum is or, max is or, min is and. Integers wrap. Complex max and min order by the real part, then by
// the imaginary one, and a NaN in either part wins. A NaN wins in max and min, and every NaN that comes out
// is the canonical one; +0 > -0.
//
// The bits of a result depend neither on the processor nor on where the operands lie. Pointers need not be
// aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dtype.h"

namespace jobkit {

enum class ReduceOp : uint8_t { kSum = 0, kMax = 1, kMin = 2 };

inline constexpr bool is_reduce_op(int code) { return code >= 0 && code <= 2; }

// In all of these `nontemporal` says that nobody reads `out` soon: it is written past the cache, which is
// faster where `out` is larger than the cache's last level, and slower where it is small.

// out[i] = left[i] op right[i] for i in [0, count). `out` may be `left` or `right` itself; no other overlap.
void reduce(ReduceOp op, Dtype dtype, const void* left, const void* right, void* out, size_t count,
            bool nontemporal = false);

// out[i] = parts[0][i] op parts[1][i] op ... op parts[n-1][i], grouped as the fixed tree of native.md (the
// ranks beyond the largest power of two fold onto a partner first: rank p + i onto rank i; then distances 1,
// 2, 4, ...; the lower rank is the left operand), so that every rank that reduces the same parts gets the
// same bits. float16 and bfloat16 are accumulated in float32 and rounded once; other types in their own.
// `scale` multiplies the result before that rounding (1 for none; only floating and complex types accept
// another). `out` may be one of the parts. Every part is read once, `out` is written once.
void reduce_all(ReduceOp op, Dtype dtype, const void* const* parts, int n, void* out, size_t count,
                double scale = 1.0, bool nontemporal = false);

// data[i] *= scale, in float32 for the 16-bit types, rounded once.
void scale_in_place(Dtype dtype, void* data, size_t count, double scale);

// The two do not overlap, or are the same.
void copy(void* out, const void* in, size_t n_bytes, bool nontemporal = false);

// The names of those that this build and this processor have, the fastest first: {"avx2", "portable"}. The
// first is used.
std::vector<std::string> instruction_sets();

// Use another one, in all threads. A name that is not among them is a BadArgument.
void use_instruction_set(const std::string& name);

}  // namespace jobkit
