// Numbers to and from little-endian bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace jobkit {

// Writes numbers and byte strings one after another.
class ByteWriter {
 public:
  explicit ByteWriter(uint8_t* at) : at_(at) {}

  template <typename T>
  ByteWriter& put(T value) {
    for (size_t i = 0; i < sizeof(T); i++)
      *at_++ = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
    return *this;
  }
  ByteWriter& put_bytes(const void* data, size_t n_bytes) {
    std::memcpy(at_, data, n_bytes);
    at_ += n_bytes;
    return *this;
  }

 private:
  uint8_t* at_;
};

// Reads what a ByteWriter wrote. The caller has checked that enough bytes are there.
class ByteReader {
 public:
  explicit ByteReader(const uint8_t* at) : at_(at) {}

  template <typename T>
  T get() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); i++) value |= static_cast<uint64_t>(*at_++) << (8 * i);
    return static_cast<T>(value);
  }
  void get_bytes(void* data, size_t n_bytes) {
    std::memcpy(data, at_, n_bytes);
    at_ += n_bytes;
  }

 private:
  const uint8_t* at_;
};

}  // namespace jobkit
