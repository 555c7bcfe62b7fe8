#include "ring.h"

namespace jobkit {

// The position has two lines to itself: processors fetch lines in pairs.
RingShape::RingShape(uint8_t* block, size_t n_block)
    : data_(block + 2 * kCacheLine), capacity_((n_block - 2 * kCacheLine) & ~(kCacheLine - 1)) {}

bool RingWriter::find_room(size_t n) {
  uint64_t read = read_position().load(std::memory_order_acquire);
  if (read == kEnd) state_ = RingState::kEnded;
  if (read != kEnd && (read > position_ || position_ - read > capacity_)) state_ = RingState::kBroken;
  if (state_ != RingState::kOpen) return false;
  limit_ = read + capacity_;
  return position_ + n <= limit_;
}

void RingWriter::leave_gap(size_t n) {
  Word& own = stamp(offset_);
  advance(n);
  stamp(offset_).store(0, std::memory_order_relaxed);
  own.store(kGap, std::memory_order_release);
}

Record RingReader::peek_odd(uint64_t n_bytes) {
  if (n_bytes != kGap || offset_ == 0) {
    state_ = n_bytes == kEnd ? RingState::kEnded : RingState::kBroken;
    return {};
  }
  advance(capacity_ - offset_);
  return peek();
}

}  // namespace jobkit
