// What each rank tells all others while they meet, over the control connections that are there by then: round
// the ring, where only neighbours are promised to reach each other, or through rank 0.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "socket.h"

namespace jobkit {

// A peer's control connection: whole messages in, whole messages out, and nothing is waited for. The
// connection outlives this. Throws Error when the peer leaves or says what is no message.
class RoundStream {
 public:
  RoundStream(const Fd& socket, int peer, std::string name)
      : socket_(&socket), peer_(peer), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  int peer() const { return peer_; }
  // The next message, once all of it is there. Not a byte more is read: what follows the last one is for the
  // control thread.
  std::optional<std::string> take();
  void put(const std::string& message);
  // True once all that was put is with the kernel.
  bool flush();
  pollfd watch(short events) const { return {socket_->get(), events, 0}; }

 private:
  const Fd* socket_;  // the peer may call again: then another connection takes the place of the first
  int peer_;
  std::string name_, in_, out_;
};

// One exchange, this rank's part in it: every rank gives a message and gets those of all.
class Round {
 public:
  virtual ~Round() = default;

  // Goes on as far as it can. True when all messages are here, and passed on to whom they are to go.
  virtual bool advance() = 0;
  // What to poll for before it can go on.
  const std::vector<pollfd>& watched() const { return watched_; }
  // The ranks whose messages are not here.
  std::vector<int> missing() const;
  // [rank], once advance() was true.
  std::vector<std::string> messages();

 protected:
  Round(int rank, int size, const std::string& own) : rank_(rank), all_(size) { all_[rank] = own; }
  bool is_complete() const;

  const int rank_;
  std::vector<std::optional<std::string>> all_;
  std::vector<pollfd> watched_;
};

// Each rank passes on what comes from its left neighbour, but for what the right one began with.
class RingRound final : public Round {
 public:
  RingRound(int rank, int size, const std::string& own, RoundStream left, RoundStream right);
  bool advance() override;

 private:
  void pass_on(int of);

  RoundStream left_, right_;
};

// Everybody gives its message to rank 0, which gives them all to everybody. All are of the same size.
class StarRound final : public Round {
 public:
  // `streams`: on rank 0 those of all others, in rank order; else the one of rank 0.
  StarRound(int rank, int size, const std::string& own, std::vector<RoundStream> streams);
  bool advance() override;

 private:
  bool gather();
  bool receive();

  std::vector<RoundStream> streams_;
  bool handed_out_ = false;
};

// Each rank gives each of some others a message of its own, and gets one from each: messages() has the peers'
// in their places, and nothing in the others.
class PairRound final : public Round {
 public:
  // streams[i] leads to the peer that messages[i] is for.
  PairRound(int rank, int size, std::vector<std::pair<RoundStream, std::string>> streams);
  bool advance() override;

 private:
  std::vector<RoundStream> streams_;
};

}  // namespace jobkit
