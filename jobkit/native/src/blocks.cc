#include "blocks.h"

#include <sys/mman.h>

#include <cstdint>
#include <deque>

namespace jobkit::blocks {
namespace {

// Blocks come in steps of this, a huge page on the usual machines.
constexpr size_t kStep = 2 << 20;

struct Cache {
  std::deque<Block> blocks;  // the oldest first
  size_t n_bytes = 0;
};

// Never destroyed: arrays may outlive static destructors.
Cache& cache() {
  static Cache* const kept = new Cache;
  return *kept;
}

Block map(size_t n_bytes) {
  void* data = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return {};
#ifdef MADV_HUGEPAGE
  ::madvise(data, n_bytes, MADV_HUGEPAGE);
#endif
  return {data, n_bytes};
}

// Large enough, with at most a quarter of it wasted.
bool fits(const Block& block, size_t n_bytes) {
  return block.n_bytes >= n_bytes && block.n_bytes - n_bytes <= block.n_bytes / 4;
}

}  // namespace

Block take(size_t n_bytes) {
  if (n_bytes > SIZE_MAX - kStep) return {};
  n_bytes = (n_bytes + kStep - 1) / kStep * kStep;
  Cache& kept = cache();
  auto best = kept.blocks.end();
  for (auto each = kept.blocks.begin(); each != kept.blocks.end(); ++each) {
    if (!fits(*each, n_bytes)) continue;
    // Of equals the youngest, which the processor's caches may still hold.
    if (best == kept.blocks.end() || each->n_bytes <= best->n_bytes) best = each;
  }
  if (best == kept.blocks.end()) return map(n_bytes);
  Block found = *best;
  kept.blocks.erase(best);
  kept.n_bytes -= found.n_bytes;
  return found;
}

void give_back(Block block) {
  Cache& kept = cache();
  kept.blocks.push_back(block);
  kept.n_bytes += block.n_bytes;
  while (kept.n_bytes > kKept) {
    Block oldest = kept.blocks.front();
    kept.blocks.pop_front();
    kept.n_bytes -= oldest.n_bytes;
    ::munmap(oldest.data, oldest.n_bytes);
  }
}

size_t n_kept() { return cache().n_bytes; }

}  // namespace jobkit::blocks
