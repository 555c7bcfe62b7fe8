#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

// The two compilers have different names for the processors' CRC extension.
#if defined(__x86_64__) && defined(__clang__)
#define JOBKIT_CRC_TARGET "crc32"
#elif defined(__x86_64__)
#define JOBKIT_CRC_TARGET "sse4.2"
#elif defined(__clang__)
#define JOBKIT_CRC_TARGET "crc"
#else
#define JOBKIT_CRC_TARGET "+crc"
#endif

namespace jobkit {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41 with its bits reversed

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: what byte b followed by k zero bytes adds to the remainder.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ ((remainder & 1) ? kPolynomial : 0);
    tables[0][byte] = remainder;
  }
  for (size_t k = 1; k < tables.size(); ++k)
    for (size_t byte = 0; byte < 256; ++byte)
      tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 0xff];
  return tables;
}

constexpr Tables kTables = make_tables();

uint64_t load_little_endian(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

using Function = uint32_t (*)(const void*, size_t, uint32_t);

#if defined(__x86_64__)

__attribute__((target(JOBKIT_CRC_TARGET))) uint32_t by_instruction(const void* data, size_t n_bytes,
                                                                   uint32_t seed) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint64_t remainder = ~seed;
  for (; n_bytes >= 8; n_bytes -= 8, bytes += 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    remainder = _mm_crc32_u64(remainder, word);
  }
  auto rest = static_cast<uint32_t>(remainder);
  for (; n_bytes > 0; --n_bytes, ++bytes) rest = _mm_crc32_u8(rest, *bytes);
  return ~rest;
}

Function choose() { return __builtin_cpu_supports("sse4.2") ? by_instruction : crc32c_by_table; }

#elif defined(__aarch64__)

__attribute__((target(JOBKIT_CRC_TARGET))) uint32_t by_instruction(const void* data, size_t n_bytes,
                                                                   uint32_t seed) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint32_t remainder = ~seed;
  for (; n_bytes >= 8; n_bytes -= 8, bytes += 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    remainder = __crc32cd(remainder, word);
  }
  for (; n_bytes > 0; --n_bytes, ++bytes) remainder = __crc32cb(remainder, *bytes);
  return ~remainder;
}

#if defined(__APPLE__)
Function choose() { return by_instruction; }  // every Apple Silicon has it
#elif defined(__linux__)
Function choose() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) ? by_instruction : crc32c_by_table; }
#else
Function choose() { return crc32c_by_table; }
#endif

#else

Function choose() { return crc32c_by_table; }

#endif

}  // namespace

uint32_t crc32c_by_table(const void* data, size_t n_bytes, uint32_t seed) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint32_t remainder = ~seed;
  for (; n_bytes >= 8; n_bytes -= 8, bytes += 8) {
    const uint64_t word = load_little_endian(bytes) ^ remainder;
    remainder = 0;
    for (int i = 0; i < 8; ++i) remainder ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; n_bytes > 0; --n_bytes, ++bytes)
    remainder = (remainder >> 8) ^ kTables[0][(remainder ^ *bytes) & 0xff];
  return ~remainder;
}

uint32_t crc32c(const void* data, size_t n_bytes, uint32_t seed) {
  static const Function function = choose();
  return function(data, n_bytes, seed);
}

}  // namespace jobkit
