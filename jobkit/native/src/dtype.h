// The fourteen element types, MLX's set. The codes travel on the wire: never renumber.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jobkit {

enum class Dtype : uint8_t {
  kBool = 0,
  kUint8 = 1,
  kUint16 = 2,
  kUint32 = 3,
  kUint64 = 4,
  kInt8 = 5,
  kInt16 = 6,
  kInt32 = 7,
  kInt64 = 8,
  kFloat16 = 9,
  kBfloat16 = 10,
  kFloat32 = 11,
  kFloat64 = 12,
  kComplex64 = 13,
};

inline constexpr int kDtypes = 14;

inline constexpr bool is_dtype(int code) { return code >= 0 && code < kDtypes; }

// Bytes of one element.
inline constexpr size_t size_of(Dtype dtype) {
  constexpr size_t sizes[kDtypes] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8};
  return sizes[static_cast<int>(dtype)];
}

// NumPy's name, as errors print it: "float32".
inline constexpr const char* name_of(Dtype dtype) {
  constexpr const char* names[kDtypes] = {"bool",     "uint8",   "uint16",  "uint32",   "uint64",
                                          "int8",     "int16",   "int32",   "int64",    "float16",
                                          "bfloat16", "float32", "float64", "complex64"};
  return names[static_cast<int>(dtype)];
}

}  // namespace jobkit
