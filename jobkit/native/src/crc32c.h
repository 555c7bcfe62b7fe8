// CRC-32C (Castagnoli, RFC 3720 appendix B.4), as the headers on the wire carry it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jobkit {

// The checksum of `n_bytes` at `data`; `seed` is the checksum of what came before, so that
// crc32c(b, n, crc32c(a, m)) is that of a followed by b. Uses the processor's instruction where there is one.
uint32_t crc32c(const void* data, size_t n_bytes, uint32_t seed = 0);

// The same by tables alone: what every processor can do, and what the tests compare the instruction with.
uint32_t crc32c_by_table(const void* data, size_t n_bytes, uint32_t seed = 0);

}  // namespace jobkit
