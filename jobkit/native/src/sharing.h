// How the ranks of one node come by the memory that they share: all of them, or none.
//
// Every rank that would share has a door, a local socket with a random name that no other network namespace
// sees; what leads to it is in the rank's identity, which the authenticated handshakes spread. The node's
// lowest rank makes the memory and the others call at its door:
//
//   caller -> lowest  hello    which rank of the node I am, and the secret of the door
//   lowest -> caller  offer    the descriptors of the memory and of the doorbells
//   caller -> lowest  answer   whether I could use them
//   lowest -> caller  verdict  whether all could
//
// Both sides see to it that the other is a process of the same user. Nothing here blocks.
#pragma once

#include <poll.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arena.h"
#include "clock.h"

namespace jobkit {

// A door's name, then its secret; all zero: no door.
using DoorKey = std::array<uint8_t, 32>;

// Where a rank can be called by others of its node. Closed until it turns out that it is the lowest.
struct Door {
  Fd listener;
  DoorKey key{};
};

// Nothing, with the reason in `problem`, where the system has no such thing.
std::optional<Door> open_door(std::string& problem);

class Sharing {
 public:
  // Rank `index` of the n ranks of this node that would share memory; `lowest` is the key of the lowest one's
  // door. The lowest one brings its own door; 2 <= n.
  static std::unique_ptr<Sharing> make(int n, int index, const DoorKey& lowest, Fd door);
  virtual ~Sharing() = default;

  // Goes on as far as it can without waiting.
  virtual void advance() = 0;
  // Adds what to poll before the next advance().
  virtual void watch(std::vector<pollfd>& watched) const = 0;
  bool is_finished() const { return is_finished_; }
  // Once finished: the memory, or nothing with the reason.
  std::shared_ptr<Arena> arena() const { return arena_; }
  const std::string& problem() const { return problem_; }

 protected:
  void finish(bool all);
  void give_up(const std::string& problem);

  std::shared_ptr<Arena> arena_;
  bool is_finished_ = false;
  std::string problem_;
};

}  // namespace jobkit
