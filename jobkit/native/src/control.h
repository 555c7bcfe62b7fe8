// The control thread: one per mesh, asleep in poll, with a connection of its own to every peer that can be
// reached.
//
// It tells the others of failures, of leaving and of a peer's end while the calling threads compute or wait,
// so that what befalls one rank is known to all of them. It never touches a data link, but where a pair of
// ranks has none it passes on their messages.
//
// A frame on a control connection: magic 2, kind 1, zero 1, bytes 4, then that many bytes. Those for one rank
// begin with 8 bytes, from whom and for whom; the others are news for all, and are passed on by whoever they
// are news for, where not everybody is reached directly.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "clock.h"
#include "relay.h"
#include "socket.h"

namespace jobkit {

// The age of a failure that concerns every group, also those to come.
inline constexpr uint32_t kForGood = UINT32_MAX;

// A failure: from now on every group that contains rank `origin` is of no use, but those that are formed
// after it.
struct Failure {
  int origin = kNobody;
  int culprit = kNobody;    // the rank that caused it, if that can be said
  int teller = kNobody;     // the rank whose words these are
  std::string text;         // without the "[ring] rank 3 of 8: " of the teller
  uint32_t age = kForGood;  // how often the origin had joined with survivors of failures before
};

// What the control thread tells its mesh. Called on the control thread.
class ControlObserver {
 public:
  // True when this is news.
  virtual bool failed(const Failure& failure) = 0;
  // The peer leaves in an orderly way; `text` says when: "after all_sum #12".
  virtual void left(int peer, const std::string& text) = 0;
  // What this rank is waiting in, for a peer that asks: see Mesh::doing.
  virtual std::string doing() = 0;
  virtual void answered(int peer, const std::string& doing) = 0;
  // A rank says with whom it goes on after a failure; the answer, unless it is empty, is for that rank.
  virtual std::string proposed(int peer, const std::string& proposal) = 0;
  // The connection ended, without a word or after the peer had left.
  virtual void gone(int peer, const std::string& reason) = 0;
  // The peer cannot be reached any more: its messages went through rank `by`, which is gone or has left.
  virtual void cut_off(int peer, int by) = 0;

 protected:
  ~ControlObserver() = default;
};

enum class ControlKind : uint8_t {
  kTable = 1,
  // News.
  kFailure = 2,
  kLeave = 3,
  kGone = 4,
  // For one rank.
  kAsk = 16,
  kAnswer = 17,
  kProposal = 18,
  kData = 19,  // these three: of a relayed pair, see Relay
  kCredit = 20,
  kEnd = 21,
};

inline constexpr size_t kMaxControlBytes = 1 << 20;

// A control frame's bytes.
std::string control_frame(ControlKind kind, const std::string& body);

// Takes the first whole frame off `bytes`. 0: not all there yet; 1: one frame; -1: these are not frames.
int take_control_frame(std::string& bytes, ControlKind& kind, std::string& body);

class Control {
 public:
  // sockets[p] leads to rank p, or is empty; `relayed`: this thread's ends, as in Relay.
  Control(int rank, std::vector<Fd> sockets, const Routes& routes, std::vector<Fd> relayed,
          ControlObserver& observer);
  ~Control();

  // Any thread.
  void tell(const Failure& failure);
  void leave(const std::string& text);
  // Asks a peer what it is doing; the answer comes to the observer.
  void ask(int peer);
  void propose(int peer, const std::string& proposal);
  // Waits until everything that was said, or written to relayed pairs, is with the kernel; with `serve` until
  // the pairs whose messages pass through this rank need it no more.
  void flush(Deadline deadline, bool serve);

 private:
  struct Peer {
    Fd socket;
    std::string in, out;
    std::deque<std::string> bulk;  // frames that wait until `out` is empty
    bool left = false;             // in an orderly way
    bool gone = false;
  };

  void run();
  void send_to(int rank, ControlKind kind, const std::string& text);
  void send_one(int index, const std::string& frame, bool is_bulk);
  void send_all(const std::string& frame, int except);
  bool write_out(Peer& peer);
  void read_in(int index);
  void handle(int index, ControlKind kind, const std::string& body);
  void hear_news(int index, ControlKind kind, const std::string& body);
  void route(int index, ControlKind kind, const std::string& body);
  void receive(int from, ControlKind kind, const std::string& text);
  void end(int index, const std::string& reason);
  void lose(int rank, const std::string& reason);
  void wake();

  std::mutex mutex_;  // guards `out` and the sockets' ends
  std::vector<Peer> peers_;
  const int rank_;
  const Routes routes_;
  const bool forwards_;  // not everybody is reached directly
  Relay relay_;
  std::set<std::pair<int, int>> passing_;  // the pairs whose messages pass through this rank, until they end
  std::atomic<bool> is_drained_{false}, is_needed_{true};  // of relay_; of passing_
  ControlObserver& observer_;
  Fd wake_reader_, wake_writer_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace jobkit
