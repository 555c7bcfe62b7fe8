// Messages between ranks that do not reach each other, through those in between.
//
// Such a pair has, on each side, a pair of local sockets in the place of a connection. The mesh uses one end
// as it uses TCP. The control thread holds the other: what it reads there goes in frames to the next rank on
// the way, whose control thread passes it on, and so on. No more than a window of bytes is under way in one
// direction of a pair, so that nobody in between keeps more; the receiver gives it back as its mesh reads.
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "socket.h"

namespace jobkit {

// Which way messages go: the shortest, and of several that by the lowest ranks. The same on all ranks.
class Routes {
 public:
  Routes() = default;
  // direct[a][b]: the two reach each other.
  Routes(int rank, const std::vector<std::vector<uint8_t>>& direct);

  // The next rank on the way to another, which may be that one itself; kNobody where there is no way.
  int next(int to) const { return next_from(rank_, to); }
  bool is_relayed(int to) const { return to != rank_ && next(to) != to; }
  bool any_relayed() const;
  // The ranks between two, on the way there or on the way back.
  std::set<int> between(int a, int b) const;
  std::set<int> between(int other) const { return between(rank_, other); }
  // The ordered pairs whose messages this rank passes on.
  std::set<std::pair<int, int>> passing() const;

 private:
  int next_from(int from, int to) const { return next_[to][from]; }
  std::vector<int> way(int from, int to) const;

  int rank_ = 0;
  std::vector<std::vector<int>> next_;  // [to][from]
};

// Two ends of a local stream, non-blocking.
std::pair<Fd, Fd> make_stream();

// The control thread's ends. Used by that thread only.
class Relay {
 public:
  enum class Kind : uint8_t { kData, kCredit, kEnd };
  // Sends a frame of this rank's to another.
  using Give = std::function<void(int to, Kind kind, const std::string& body)>;

  // ends[p] is empty for a rank that is reached directly.
  Relay(std::vector<Fd> ends, Give give);

  void watch(std::vector<pollfd>& watched, std::vector<int>& owners) const;
  void ready(int peer, short events);
  // A frame that came for this rank. False: nobody who keeps to the rules sends this.
  bool take(int from, Kind kind, const std::string& body);
  // Nothing more will come from this rank or go there.
  void cut(int peer);
  // Whether all that the mesh has written is on its way, up to its end.
  bool is_drained() const;

 private:
  struct End {
    Fd socket;
    size_t credit = 0;    // bytes that may be sent now
    std::string pending;  // what the mesh has not read yet
    bool reads = true;    // the mesh may write more
    bool ended = false;   // nothing follows `pending`
  };

  void read_some(int peer);
  void write_out(int peer);

  std::vector<End> ends_;
  Give give_;
};

}  // namespace jobkit
