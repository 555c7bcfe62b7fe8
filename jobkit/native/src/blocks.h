// Memory for large results, kept when they die and used again: fresh memory costs a page fault for every
// page, which for a result of 64 MiB is as much as half of its all_sum.
//
// Callers hold the interpreter's lock, which guards what is kept. A child of fork has a copy of it all.
#pragma once

#include <cstddef>

namespace jobkit::blocks {

// Results from this size on get a block; for smaller ones malloc does the same.
inline constexpr size_t kSmallest = 1 << 20;

// Bytes of unused blocks that a process keeps at most.
inline constexpr size_t kKept = 256 << 20;

struct Block {
  void* data = nullptr;
  size_t n_bytes = 0;
};

// At least `n_bytes` > 0, aligned to a page, with arbitrary contents; no data when the system has none.
Block take(size_t n_bytes);
void give_back(Block block);

// Bytes that are kept, unused.
size_t n_kept();

}  // namespace jobkit::blocks
