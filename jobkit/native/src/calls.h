// The connections that a rank makes while the ranks meet: its calls to others, tried again until they are
// answered, and the callers that it accepts, of whom strangers are turned away. None of them waits for
// another.
#pragma once

#include <poll.h>

#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "handshake.h"

namespace jobkit {

// What whoever meets is told.
class CallsObserver {
 public:
  // The handshake is done: its socket is a connection with its peer. May make other calls.
  virtual void connected(Handshake& handshake) = 0;
  // "rank 3 (node7)"
  virtual std::string name(int rank) const = 0;
  // For the user who wants to know everything.
  virtual void say(const std::string& text) const = 0;

 protected:
  ~CallsObserver() = default;
};

class Calls {
 public:
  // `own` outlives this. A peer has channels 0 to n_channels - 1.
  Calls(const Credentials& own, uint32_t n_channels, CallsObserver& observer);

  void listen(Fd listener) { listeners_.push_back(std::move(listener)); }
  // Calls the peer at the first of its addresses that answers. Once: each address is tried a single time,
  // for a pair that nobody promised. Else until it is connected.
  void call(int peer, uint32_t channel, std::vector<Address> addresses, bool once);
  // Nobody is listened to any more, and calls that are under way end.
  void hang_up();

  // Goes on with all of them as far as that is possible without waiting.
  void advance();
  // Adds what to poll for, and moves `wake` to when advance() is due at the latest.
  void watch(std::vector<pollfd>& watched, Moment& wake);
  // The same, polled.
  void heed(const std::vector<pollfd>& watched);

  // No call is under way or will be made.
  bool are_over() const;
  // Why a peer that was called is not connected yet, "" when that is not known.
  std::string problem_of(int peer) const;
  // "; 2 callers turned away, the last: ...", "" when there were none.
  std::string foreigners() const;

 private:
  struct Outgoing {
    int peer = kNobody;
    uint32_t channel = kControlChannel;
    std::vector<Address> addresses;
    bool once = false;
    size_t next = 0;
    std::optional<Handshake> handshake;
    bool ready = true;  // poll says that the handshake can go on
    Moment not_before{};
    Clock::duration pause{};
    bool done = false, given_up = false;
    std::string problem;

    bool is_over() const { return done || given_up; }
  };

  struct Incoming {
    Handshake handshake;
    bool ready = true;
  };

  void accept();
  void advance_incoming();
  void advance_outgoing();
  void advance_one(Outgoing& out);
  void retry(Outgoing& out, const std::string& problem);

  const Credentials& own_;
  const uint32_t n_channels_;
  CallsObserver& observer_;
  const double talk_seconds_;
  std::vector<Fd> listeners_;
  bool callers_wait_ = true;
  std::list<Outgoing> outgoing_;  // a list: a call that is over may add others
  size_t n_calling_ = 0;
  std::list<Incoming> incoming_;
  std::vector<std::pair<size_t, bool*>> notes_;  // which entry of what is polled says what is ready
  size_t n_foreign_ = 0;
  std::string last_foreign_;
};

}  // namespace jobkit
