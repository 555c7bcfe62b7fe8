#include "hash.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#if defined(__linux__)
#include <sys/random.h>
#endif

namespace jobkit {
namespace {

constexpr size_t kBlock = 64;

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// A message taken in piece by piece.
class Sha256 {
 public:
  void update(const void* data, size_t n_bytes) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    n_total_ += n_bytes;
    while (n_bytes > 0) {
      const size_t n = std::min(n_bytes, kBlock - n_pending_);
      std::memcpy(pending_.data() + n_pending_, bytes, n);
      n_pending_ += n;
      bytes += n;
      n_bytes -= n;
      if (n_pending_ == kBlock) {
        compress();
        n_pending_ = 0;
      }
    }
  }

  // One bit 1, zeros up to eight bytes before the end of a block, the length in bits, big-endian.
  Digest finish() {
    const uint64_t n_bits = n_total_ * 8;
    const uint8_t one = 0x80, zero = 0;
    update(&one, 1);
    while (n_pending_ != kBlock - 8) update(&zero, 1);
    std::array<uint8_t, 8> length;
    for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(n_bits >> (56 - 8 * i));
    update(length.data(), length.size());
    Digest digest;
    for (size_t i = 0; i < digest.size(); ++i)
      digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
    return digest;
  }

 private:
  // The names a..h, s0, s1 are those of FIPS 180-4, section 6.2.2.
  void compress() {
    std::array<uint32_t, 64> w;
    for (int t = 0; t < 16; ++t)
      w[t] = static_cast<uint32_t>(pending_[4 * t]) << 24 | static_cast<uint32_t>(pending_[4 * t + 1]) << 16 |
             static_cast<uint32_t>(pending_[4 * t + 2]) << 8 | pending_[4 * t + 3];
    for (int t = 16; t < 64; ++t) {
      const uint32_t s0 = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ (w[t - 15] >> 3);
      const uint32_t s1 = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ (w[t - 2] >> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int t = 0; t < 64; ++t) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[t] + w[t];
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<uint32_t, 8> added = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state_[i] += added[i];
  }

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, kBlock> pending_{};
  size_t n_pending_ = 0;
  uint64_t n_total_ = 0;
};

// One read from the system's generator: the number of bytes, or -1 and errno.
#if defined(__linux__)
ssize_t read_random(void* data, size_t n_bytes) { return getrandom(data, n_bytes, 0); }
#else
ssize_t read_random(void* data, size_t n_bytes) {
  const int descriptor = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  const ssize_t n = read(descriptor, data, n_bytes);
  const int error = errno;
  close(descriptor);
  errno = n == 0 ? EIO : error;
  return n == 0 ? -1 : n;
}
#endif

}  // namespace

Digest sha256(const void* data, size_t n_bytes) {
  Sha256 hash;
  hash.update(data, n_bytes);
  return hash.finish();
}

Digest hmac_sha256(const void* key, size_t n_key, const void* data, size_t n_bytes) {
  std::array<uint8_t, kBlock> padded{};
  if (n_key > kBlock) {
    const Digest digest = sha256(key, n_key);
    std::memcpy(padded.data(), digest.data(), digest.size());
  } else if (n_key > 0) {
    std::memcpy(padded.data(), key, n_key);
  }
  std::array<uint8_t, kBlock> inner, outer;
  for (size_t i = 0; i < kBlock; ++i) {
    inner[i] = padded[i] ^ 0x36;
    outer[i] = padded[i] ^ 0x5c;
  }
  Sha256 first, second;
  first.update(inner.data(), kBlock);
  first.update(data, n_bytes);
  const Digest digest = first.finish();
  second.update(outer.data(), kBlock);
  second.update(digest.data(), digest.size());
  return second.finish();
}

bool equal_in_constant_time(const void* left, const void* right, size_t n_bytes) {
  const auto* a = static_cast<const volatile uint8_t*>(left);
  const auto* b = static_cast<const volatile uint8_t*>(right);
  uint8_t difference = 0;
  for (size_t i = 0; i < n_bytes; ++i) difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

void random_bytes(void* data, size_t n_bytes) {
  auto* bytes = static_cast<uint8_t*>(data);
  while (n_bytes > 0) {
    const ssize_t n = read_random(bytes, n_bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::system_error(errno, std::generic_category(), "no random bytes from the system");
    bytes += n;
    n_bytes -= static_cast<size_t>(n);
  }
}

}  // namespace jobkit
