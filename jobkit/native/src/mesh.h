// The mesh: this rank's links to all others, and whoever waits on them.
//
// Data is moved by the calling threads. One lock guards all links; a thread that waits moves everybody's
// data, so that several groups may be used by several threads at once. While one thread sleeps in poll the
// others sleep on it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "clock.h"
#include "control.h"
#include "mpi_link.h"
#include "recorder.h"
#include "sharing.h"
#include "survivors.h"
#include "tcp_link.h"
#include "verbs_cable.h"
#include "waits.h"

namespace jobkit {

// Who a rank is, as errors name it.
struct Identity {
  std::string host;
  uint32_t pid = 0;
  uint64_t node = 0;        // process::node_identity()
  uint32_t processors = 1;  // process::processors()
  DoorKey door{};           // where it can be called to share memory; zero: it shares none
};

// How two ranks get at each other.
enum class Reach : uint8_t { kNone = 0, kDirect = 1, kShared = 2 };

// What bootstrap leaves: connections that have shaken hands, and what all ranks agreed on.
struct Wiring {
  int rank = 0;
  int size = 1;
  std::vector<Identity> identities;                              // in rank order
  std::string label = "ring";                                    // the backend, as errors name it
  std::shared_ptr<const MpiLibrary> mpi;                         // carries all data, if it is there
  std::vector<std::vector<Fd>> data;                             // [peer]: none where there is no direct link
  std::vector<std::vector<std::unique_ptr<VerbsCable>>> cables;  // [peer]: likewise
  std::vector<Fd> control;                                       // [peer]
  std::vector<std::vector<uint8_t>> reach;  // reach[a][b]: a Reach; the same on all ranks
  std::shared_ptr<Arena> arena;             // of this node's ranks that share memory
  std::vector<int> places;                  // [rank]: its index in the arena, or kNobody
  bool checks = false;                      // some rank wants calls compared before they are made: all do so
};

// Called every 50 ms at most while a thread waits, without any lock; true asks to interrupt the wait.
using InterruptCheck = std::function<bool()>;

// Given a line for the program's log, without any lock.
using Warn = std::function<void(const std::string&)>;

// Ticks without an answer after which a rank counts as hung.
inline constexpr int kHeartbeats = 5;

enum class Outcome { kDone, kHealth, kDeadline, kInterrupt };

// How many calls a group remembers, to name what it had called itself when a frame comes that no call wanted.
inline constexpr uint32_t kRecentCalls = 64;

// The collective that a group is in, or was in last. Guarded by the mesh's lock.
struct Active {
  uint32_t context = 0;
  const std::vector<int>* members = nullptr;  // ranks of the whole job
  bool running = false;
  uint32_t seq = 0;
  Signature signature;
  std::array<Signature, kRecentCalls> recent;  // of call seq at seq % kRecentCalls
  int other = kNobody;                         // the rank whose call differs, if one does
  Signature theirs;

  void enter(uint32_t number, const Signature& call) {
    running = true;
    seq = number;
    recent[number % kRecentCalls] = call;
    if (other == kNobody) signature = call;  // else an earlier call turned out to differ
  }
};

class Mesh;
template <class Kind>
class ExpressOver;

// What a thread waits for: messages, and what is to be done as they come.
class Work {
 public:
  virtual ~Work() = default;

  // Under the mesh's lock. Gives the links what can be given at once.
  virtual void post(Mesh& mesh) = 0;
  // Under the mesh's lock, which it may open while it computes. Goes on as far as what has come allows, for a
  // moment at most; true when something went on.
  virtual bool advance(Mesh& mesh, std::unique_lock<std::mutex>& lock) = 0;

  Ticket ticket;
  Active* active = nullptr;  // of a collective

  // A new call: its number and signature, of a collective.
  void begin(uint32_t seq, const Signature& signature) {
    ticket = {};
    n_seen_ = 0;
    posted_ = false;
    seq_ = seq;
    signature_ = signature;
  }

 private:
  friend class Mesh;
  uint32_t seq_ = 0;
  Signature signature_;
  bool posted_ = false;
  uint64_t n_seen_ = 0;  // the ticket's n_news when it last went on
};

// What became of a peer whose link closed.
struct Verdict {
  bool left = false;  // in an orderly way
  int by = kNobody;   // it is there, but cannot be reached without this rank
  std::string text;
  bool is_there = false;  // only its cable is broken
};

class Mesh final : public LinkObserver, public ControlObserver {
 public:
  // In a child of fork the mesh is never taken apart: its locks and its thread stayed with the parent.
  static std::shared_ptr<Mesh> make(Wiring wiring, Warn warn, double heartbeat_s, std::string victim_file);
  Mesh(Wiring wiring, Warn warn, double heartbeat_s, std::string victim_file);
  ~Mesh();

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& label() const { return label_; }
  // The MPI library that carries all data, nullptr where none does. Of an operation that failed it may go on
  // reading and writing the memory.
  const MpiLibrary* mpi() const { return mpi_.get(); }
  const Identity& identity(int rank) const { return identities_[rank]; }
  bool is_direct(int a, int b) const { return a == b || reach_[a][b]; }
  Reach reach(int a, int b) const { return static_cast<Reach>(reach_[a][b]); }
  bool spins() const { return spins_; }
  // Another thread has the links, or wants them.
  bool is_contended() const { return n_contenders_.load(std::memory_order_relaxed) > 1; }
  size_t n_connections(int peer) const { return links_[peer] ? links_[peer]->n_connections() : 0; }
  // What leads to the peer, "" where nothing does; and over which devices.
  std::string link_kind(int peer) const { return links_[peer] ? links_[peer]->kind() : ""; }
  std::string link_carrier(int peer) const { return links_[peer] ? links_[peer]->carrier() : ""; }
  // Whether links that do not share memory are RDMA cables: on all ranks or on none.
  bool has_cables() const { return has_cables_; }
  // Under the lock: for Work.
  Link& link(int peer) { return *links_[peer]; }
  // Where calls go on record, if anywhere.
  Recorder* recorder() const { return recorder_.get(); }
  void record_in(std::unique_ptr<Recorder> recorder) { recorder_ = std::move(recorder); }
  uint32_t generation() const { return generation_; }
  int process_id() const { return process_id_; }

  // Collectives: the frames of `context` are for the holder of `active` until it says goodbye.
  // Throws Error when the number is taken, which the hash of Group::split makes as good as impossible.
  void join(uint32_t context, Active* active);
  void part(uint32_t context);
  Active look(const Active& active);

  // Posts the work if that has not been done, and moves data until it is done, or something else is worth a
  // look: kHealth whenever health() is not `seen`, or another rank's call turned out to differ.
  Outcome wait(Work& work, Deadline deadline, const InterruptCheck& interrupted, uint64_t seen);
  // Reads everything that has arrived; true when the work is done.
  bool drain(Work& work);
  void withdraw(const Work& work);
  // The ranks that messages of this ticket are still missing from or going to.
  std::vector<int> missing(const Ticket& ticket);
  // A rank whose link is closed although messages of this ticket need it, or kNobody.
  int lost(const Ticket& ticket);
  size_t n_kept(int peer);

  // Failures. health() changes whenever something happened that a waiting operation should look at.
  uint64_t health() const { return health_.load(std::memory_order_acquire); }
  // The first failure of one of these ranks that is as young as the group. births[i]: the age of member i
  // when the group was formed.
  std::optional<Failure> failure_of(const std::vector<int>& members, const std::vector<uint32_t>& births);
  // How often this rank has joined with survivors.
  uint32_t age() const { return age_.load(); }
  // Agrees with those of the members that are still there, each of which calls this with the same key, on who
  // they are: their ages, by rank. Those that do not come are left out once they are gone, do not answer, or
  // after the deadline.
  std::map<int, uint32_t> agree_on_survivors(uint64_t key, const std::vector<int>& members, Deadline deadline,
                                             const InterruptCheck& interrupted);
  // Records it and tells everybody.
  void fail(const Failure& failure);
  // Notes for this rank's agent that it fails because of another one; the first note stays.
  void blame(int culprit);
  // Why a peer's link closed: waits a moment for its control connection to say so.
  Verdict verdict(int peer);

  // Long waits: a rank that waits says so when it is asked, and asks those that it waits for.
  void note(const Ticket& ticket, const LongWait& wait);
  void forget(const Ticket& ticket);
  // A tick of a rank that waits for these peers: those that have left kHeartbeats ticks in a row unanswered.
  // Counted in the observer's own ticks, so that a job that was suspended as a whole goes on.
  std::vector<int> tick(const std::vector<int>& peers);
  void forgive(const std::vector<int>& peers);
  double heartbeat_s() const { return heartbeat_s_; }  // between two ticks; 0: none
  // What this rank itself would answer.
  Answer own_answer();
  // Asks these ranks what they are doing, then those that they wait for, and so on; each has so long to
  // answer.
  std::map<int, Answer> inquire(const std::vector<int>& peers, double seconds);
  void warn(const std::string& text) const {
    if (warn_) warn_(text);
  }

  // Says goodbye, gives what was sent time to arrive, and ends all connections. Later calls do nothing.
  void leave(const std::string& last_words);
  bool has_left() const { return left_.load(); }

  // LinkObserver: under the lock.
  bool unexpected(int peer, const Frame& frame) override;
  void mismatch(int peer, const Frame& frame, const Signature& ours) override;
  void progressed(Ticket* ticket) override;
  void closed(int peer) override;
  // ControlObserver: on the control thread.
  bool failed(const Failure& failure) override;
  void left(int peer, const std::string& text) override;
  std::string doing() override;
  void answered(int peer, const std::string& doing) override;
  void gone(int peer, const std::string& reason) override;
  void cut_off(int peer, int by) override;
  std::string proposed(int peer, const std::string& proposal) override;

 private:
  enum class Standing { kPresent, kLeft, kGone };
  struct Peer {
    Standing standing = Standing::kPresent;
    std::string text;
    int by = kNobody;  // the rank without which it cannot be reached
  };

  template <class Kind>
  friend class ExpressOver;
  class Lock;

  void propose(const Proposal& proposal, const std::vector<int>& peers);
  std::vector<int> in_turn(const std::vector<int>& peers);
  std::vector<int> with_those_between(const std::vector<int>& peers) const;
  bool record(const Failure& failure);
  void tell_again();
  void start(Work& work);
  Outcome settle(Work& work);
  bool pump(bool all, const Ticket* own);
  bool go_on(Work& work, std::unique_lock<std::mutex>& lock);
  bool move(bool all);
  void relieve();
  void changed();
  void wake();
  bool nap(std::unique_lock<std::mutex>& lock, Deadline deadline);
  void poll_links(std::unique_lock<std::mutex>& lock, Deadline deadline, bool& interrupted);
  void awake();
  void read_to_the_end();

  int rank_, size_;
  const std::string label_;
  const bool has_cables_;
  const std::shared_ptr<const MpiLibrary> mpi_;
  std::vector<Identity> identities_;
  std::vector<std::vector<uint8_t>> reach_;
  Routes routes_;
  Warn warn_;
  double heartbeat_s_;
  const std::string victim_file_;  // "": nobody reads it
  std::once_flag blamed_;
  std::unique_ptr<Recorder> recorder_;
  bool spins_ = false;
  uint32_t generation_;
  int process_id_;

  std::mutex mutex_;                  // guards the links, `actives_` and whoever sleeps
  std::atomic<int> n_contenders_{0};  // threads that hold the lock or want it
  std::condition_variable woken_;
  std::vector<std::unique_ptr<Link>> links_;
  std::shared_ptr<Arena> arena_;  // nullptr: no link shares memory
  std::map<uint32_t, Active*> actives_;
  std::map<uint32_t, bool> parted_;
  bool somebody_polls_ = false;
  uint64_t n_news_ = 0;     // of all tickets, ever
  uint64_t n_changes_ = 0;  // of what the links want, ever
  uint64_t n_watched_ = 0;  // n_changes_ when whoever polls chose what to poll
  std::vector<pollfd> watched_;
  Fd wake_reader_, wake_writer_;

  std::mutex news_mutex_;  // guards what follows
  std::condition_variable news_;
  std::vector<Peer> peers_;
  std::vector<Failure> failures_;  // in the order in which they became known, one for each origin
  std::map<const Ticket*, LongWait> long_waits_;
  std::vector<std::optional<std::string>> answers_;  // [peer]
  std::vector<int> n_unanswered_;                    // [peer]: ticks
  std::vector<Moment> ticked_;                       // [peer]: when it was asked last
  int next_asked_;                                   // whose turn it is to be asked
  std::map<uint64_t, std::map<int, Proposal>>
      proposals_;  // by key and rank; this rank's own when it is decided
  std::atomic<uint32_t> age_{0};
  std::atomic<uint64_t> health_{0};
  std::atomic<bool> left_{false};

  std::unique_ptr<Control> control_;
};

// Holds the mesh's lock, and lets whoever spins with it know that it is wanted.
class Mesh::Lock {
 public:
  explicit Lock(Mesh& mesh) : mesh_(mesh) {
    mesh_.n_contenders_.fetch_add(1);
    held = std::unique_lock(mesh_.mutex_);
  }
  ~Lock() {
    if (held.owns_lock()) held.unlock();
    mesh_.n_contenders_.fetch_sub(1);
  }
  std::unique_lock<std::mutex> held;

 private:
  Mesh& mesh_;
};

}  // namespace jobkit
