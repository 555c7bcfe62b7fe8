// The memory that the ranks of one node share: a ring for each ordered pair of them, and a doorbell for each.
//
// It has no name that could outlive its users, and what nobody has written to takes no memory. A child of
// fork does not inherit it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ring.h"
#include "socket.h"

namespace jobkit {

class Arena {
 public:
  // New memory for n ranks, seen by the one with index 0. Throws Error.
  static std::shared_ptr<Arena> make(int n);
  // The memory that another process made, seen by rank `index` of its n: `descriptors` are what that
  // process's descriptors_for(index) named. Throws Error when they are not that.
  static std::shared_ptr<Arena> adopt(int n, int index, std::vector<Fd> descriptors);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // What another rank needs in order to adopt this memory.
  std::vector<int> descriptors_for(int index) const;
  // How many those are.
  static size_t n_descriptors(int n) { return static_cast<size_t>(n) + 2; }

  // All have adopted it: closes what is needed no more.
  void settle();

  int size() const { return n_; }
  int index() const { return index_; }
  // Each pair has one ring in each direction; each end is to be taken once.
  RingWriter writer_to(int index) const { return {ring(index_, index), n_ring_}; }
  RingReader reader_from(int index) const { return {ring(index, index_), n_ring_}; }

  // A rank that is about to sleep says so, looks at its rings once more, and then waits for its doorbell:
  // whoever writes to it after that look sees that it sleeps.
  void fall_asleep() {
    sleeping(index_).store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  void awake();
  int doorbell() const { return bell_.get(); }

  // Makes the ranks that get `wake_if_asleep` after it see what was written before it.
  static void publish() { std::atomic_thread_fence(std::memory_order_seq_cst); }
  // After publish(). The first who finds the rank asleep rings.
  void wake_if_asleep(int index) {
    if (sleeping(index).load(std::memory_order_relaxed) != 0) [[unlikely]]
      ring_doorbell(index);
  }

 private:
  using Flag = std::atomic<uint32_t>;
  static_assert(Flag::is_always_lock_free);

  Arena(int n, int index);
  void map();
  uint8_t* ring(int from, int to) const;
  Flag& sleeping(int index) const;
  void ring_doorbell(int index);

  int n_, index_;
  size_t n_ring_;   // bytes of a ring
  size_t n_bytes_;  // of all
  unsigned generation_;
  uint8_t* memory_ = nullptr;
  Fd file_;
  Fd bell_;                // this rank's: poll it
  std::vector<Fd> bells_;  // [index]: write to it
  std::vector<Fd> waits_;  // [index]: with the maker, what the others poll
};

}  // namespace jobkit
