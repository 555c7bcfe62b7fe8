// A byte ring in shared memory, through which one process gives records to one other.
//
// A record is a stamp of 8 bytes and its bytes. It begins on a cache line and never wraps, so that the reader
// uses the bytes where they lie, and a frame's header with 8 bytes of payload costs one line. The stamp is
// the number of bytes, 0 until the record is there; where the end of the ring is too near for a record, a
// stamp says that the next one is at the beginning.
//
// The reader looks only at the stamp of the record that it waits for. The writer clears the stamp after a
// record before it publishes that record: what lay there in the last round cannot be taken for a stamp. The
// reader says rarely how far it has come, and the writer looks at that only when it runs out of room.
//
// A writer that has no more to give says so in the place of the next stamp, and a reader that wants no more
// in the place of its position. The other side's memory is not trusted: a length or a position that cannot be
// is kBroken.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace jobkit {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kStamp = 8;

// A record as it lies in the ring. Nothing: data is nullptr.
struct Record {
  const uint8_t* data = nullptr;
  size_t n_bytes = 0;
};

enum class RingState : uint8_t { kOpen, kEnded, kBroken };

// What both sides agree on: where the ring is, and how large it is. `n_block` bytes at `block`, which is all
// zero at first and begins on a cache line, hold the reader's position and the records.
class RingShape {
 public:
  RingShape(uint8_t* block, size_t n_block);

  // The bytes of the largest record: a quarter of the ring, so that a record, a gap at the end and what the
  // reader has not reported yet fit in it together.
  size_t max_record() const { return capacity_ / 4 - kStamp; }

  // kEnded: the other side has ended it, and, for a reader, all its records have been consumed.
  RingState state() const { return state_; }

 protected:
  using Word = std::atomic<uint64_t>;
  static_assert(Word::is_always_lock_free && sizeof(Word) == kStamp);

  static constexpr uint64_t kGap = UINT64_MAX;      // a stamp: the next record is at the beginning
  static constexpr uint64_t kEnd = UINT64_MAX - 1;  // a stamp or a position: nothing follows

  static size_t room_for(size_t n_bytes) { return (kStamp + n_bytes + kCacheLine - 1) & ~(kCacheLine - 1); }
  Word& stamp(size_t offset) const { return *reinterpret_cast<Word*>(data_ + offset); }
  Word& read_position() const { return *reinterpret_cast<Word*>(data_ - 2 * kCacheLine); }
  void advance(size_t n) {
    position_ += n;
    offset_ += n;
    if (offset_ == capacity_) offset_ = 0;
  }

  uint8_t* data_;
  size_t capacity_;
  uint64_t position_ = 0;  // bytes written or consumed, ever
  size_t offset_ = 0;      // where that is in the ring
  RingState state_ = RingState::kOpen;
};

class RingWriter : public RingShape {
 public:
  using RingShape::RingShape;

  // Room for a record of n_bytes <= max_record(), or nullptr while there is none.
  uint8_t* reserve(size_t n_bytes) {
    size_t n = room_for(n_bytes), gap = offset_ + n > capacity_ ? capacity_ - offset_ : 0;
    // The line after the record is needed as well, for its cleared stamp.
    if (position_ + gap + n + kCacheLine > limit_ && !find_room(gap + n + kCacheLine)) return nullptr;
    if (gap > 0) leave_gap(gap);
    return data_ + offset_ + kStamp;
  }

  // Gives the reader the record that was reserved last and has been filled.
  void commit(size_t n_bytes) {
    Word& own = stamp(offset_);
    advance(room_for(n_bytes));
    stamp(offset_).store(0, std::memory_order_relaxed);
    own.store(n_bytes, std::memory_order_release);
  }

  // After the last record.
  void end() { stamp(offset_).store(kEnd, std::memory_order_release); }

 private:
  bool find_room(size_t n);
  void leave_gap(size_t n);

  uint64_t limit_ = capacity_;  // of the position: what the reader has let go of
};

class RingReader : public RingShape {
 public:
  using RingShape::RingShape;

  // The next record; it stays where it is until it is consumed.
  Record peek() {
    uint64_t n_bytes = stamp(offset_).load(std::memory_order_acquire);
    if (n_bytes == 0) [[likely]]
      return {};
    if (n_bytes > max_record() || offset_ + room_for(n_bytes) > capacity_) [[unlikely]]
      return peek_odd(n_bytes);
    return {data_ + offset_ + kStamp, n_bytes};
  }

  // Lets go of the record that was peeked at. True when the writer, which may wait for room, can know now.
  bool consume(size_t n_bytes) {
    advance(room_for(n_bytes));
    if (position_ - reported_ < capacity_ / 8) return false;
    reported_ = position_;
    read_position().store(position_, std::memory_order_release);
    return true;
  }

  // Wants no more.
  void end() { read_position().store(kEnd, std::memory_order_release); }

 private:
  Record peek_odd(uint64_t n_bytes);

  uint64_t reported_ = 0;
};

}  // namespace jobkit
