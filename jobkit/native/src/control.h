// The control thread: one per mesh, asleep in poll, with a connection of its own to every peer that can be
// reached.
//
// It tells the others of failures, of leaving and of a peer's end while the calling threads compute or wait,
// so that what befalls one rank is known to all of them. It never touches a data link.
//
// A frame on a control connection: magic 2, kind 1, zero 1, bytes 4, then that many bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "clock.h"
#include "socket.h"

namespace jobkit {

// A failure: from now on every group that contains rank `origin` is of no use.
struct Failure {
  int origin = kNobody;
  int culprit = kNobody;  // the rank that caused it, if that can be said
  int teller = kNobody;   // the rank whose words these are
  std::string text;       // without the "[ring] rank 3 of 8: " of the teller
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
  // The connection ended without a word.
  virtual void gone(int peer, const std::string& reason) = 0;

 protected:
  ~ControlObserver() = default;
};

enum class ControlKind : uint8_t { kTable = 1, kFailure = 2, kLeave = 3, kAsk = 4, kAnswer = 5 };

inline constexpr size_t kMaxControlBytes = 1 << 20;

// A control frame's bytes.
std::string control_frame(ControlKind kind, const std::string& body);

// Takes the first whole frame off `bytes`. 0: not all there yet; 1: one frame; -1: these are not frames.
int take_control_frame(std::string& bytes, ControlKind& kind, std::string& body);

class Control {
 public:
  // sockets[p] leads to rank p, or is empty. `forward`: not everybody is reached directly, so news are passed
  // on.
  Control(std::vector<Fd> sockets, bool forward, ControlObserver& observer);
  ~Control();

  // Any thread.
  void tell(const Failure& failure);
  void leave(const std::string& text);
  // Asks a peer what it is doing; the answer comes to the observer.
  void ask(int peer);
  // Waits until everything that was said is with the kernel.
  void flush(Deadline deadline);

 private:
  struct Peer {
    Fd socket;
    std::string in, out;
    bool left = false;
  };

  void run();
  void send_one(int index, const std::string& frame);
  void send_all(const std::string& frame, int except);
  bool write_out(Peer& peer);
  void read_in(int index);
  void handle(int index, ControlKind kind, const std::string& body);
  void end(int index, const std::string& reason);
  void wake();

  std::mutex mutex_;  // guards `out` and the sockets' ends
  std::vector<Peer> peers_;
  bool forward_;
  ControlObserver& observer_;
  Fd wake_reader_, wake_writer_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace jobkit
