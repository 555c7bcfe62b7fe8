// SHA-256 and HMAC-SHA-256 for the handshake, constant-time comparison, random bytes from the system.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace jobkit {

using Digest = std::array<uint8_t, 32>;

// SHA-256 of one message (FIPS 180-4).
Digest sha256(const void* data, size_t n_bytes);

// HMAC-SHA-256 (RFC 2104).
Digest hmac_sha256(const void* key, size_t n_key, const void* data, size_t n_bytes);

// Whether two byte strings are equal, in a time that depends on n_bytes only.
bool equal_in_constant_time(const void* left, const void* right, size_t n_bytes);

// Fill `data` with n_bytes from the system's generator. Throws std::system_error when it gives none.
void random_bytes(void* data, size_t n_bytes);

}  // namespace jobkit
