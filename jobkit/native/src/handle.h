// Operations that are issued now and waited for later.
//
// The collectives of a group run one at a time, in the order of issue. What nobody waits for at once runs on
// a thread that exists from the first such operation; all collectives that are issued later, also by callers
// that wait, come after it. Messages get their numbers when they are issued and then hold up nobody: each
// that is on its way has a thread, so that one may wait for what another one brings about.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "operation.h"

namespace jobkit {

// Messages on their way at the same time; those beyond wait for one of them to end.
inline constexpr size_t kMostMessages = 256;

// How long closing a group waits for what was issued and not waited for.
inline constexpr auto kLastWait = milliseconds(5000);

// An operation that was issued. Its buffers have to live until it is done.
class Handle {
 public:
  Handle(const Operation& given, std::optional<MessageNumbers> numbers) : operation(given), issued(numbers) {}
  bool done() const { return done_.load(std::memory_order_acquire); }
  // Of one that is done.
  bool failed() const { return error_ != nullptr; }
  const Operation operation;
  const std::optional<MessageNumbers> issued;  // of a message

 private:
  friend class Lane;
  std::atomic<bool> done_{false};
  std::exception_ptr error_;  // once it is done
  bool is_dropped_ = false;   // nobody will ask for the error
};

// The one way to a group's operations for all that share the group.
class Lane {
 public:
  // In a child of fork a lane with a thread is never taken apart: the thread stayed with the parent.
  static std::shared_ptr<Lane> make(std::shared_ptr<Group> group, bool checks);
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  Group& group() const { return *group_; }
  bool checks() const { return checks_; }

  // Runs it in the calling thread.
  void run(const Operation& operation, const InterruptCheck& interrupted) {
    if (n_open_.load(std::memory_order_acquire) != 0) return run_beside(operation, interrupted);
    perform(operation, interrupted);
  }
  std::unique_ptr<Group> split(std::optional<int> color, int key, const CallOptions& options);

  // Runs it on the lane.
  std::shared_ptr<Handle> start(const Operation& operation, const InterruptCheck& interrupted);
  // False when the deadline came first. Throws what the operation threw, every time. An interrupt ends the
  // operation, as it ends one that its caller waits for.
  bool wait(const Handle& handle, Deadline deadline, const InterruptCheck& interrupted);
  // Nobody will wait for it: its error, if it has one, is thrown by the next call.
  void drop(Handle& handle);
  // Gives what was started kLastWait to complete, then ends it.
  void finish();
  // Leaves the group after what was started on any lane of this process over the same connections.
  void close();

 private:
  // What waits for one of a number of threads, and what these do.
  struct Queue {
    explicit Queue(size_t most) : n_most(most) {}
    const size_t n_most;  // threads
    std::deque<std::shared_ptr<Handle>> waiting;
    size_t n_running = 0;
    std::vector<std::thread> threads;
    std::condition_variable work;

    bool is_empty() const { return waiting.empty() && n_running == 0; }
  };

  Lane(std::shared_ptr<Group> group, bool checks) : group_(std::move(group)), checks_(checks) {}
  ~Lane();
  static void destroy(Lane* lane);
  void perform(const Operation& operation, const InterruptCheck& interrupted,
               const std::optional<MessageNumbers>& issued = std::nullopt);
  void run_beside(const Operation& operation, const InterruptCheck& interrupted);
  void catch_up(const InterruptCheck& interrupted);
  void throw_untold(std::unique_lock<std::mutex>& lock);
  void work(Queue& queue);
  bool all_empty() const { return collectives_.is_empty() && messages_.is_empty(); }
  bool has_threads() const { return !collectives_.threads.empty() || !messages_.threads.empty(); }
  bool is_inherited() const;

  const std::shared_ptr<Group> group_;
  const bool checks_;
  std::atomic<size_t> n_open_{0};  // operations in the queues, and errors that nobody was told of
  std::atomic<bool> interrupted_{false};

  std::mutex mutex_;  // guards what follows, and what a Handle says of its end
  std::condition_variable changed_;
  Queue collectives_{1}, messages_{kMostMessages};
  std::exception_ptr untold_;
  bool ending_ = false;
  std::weak_ptr<Lane> self_;
};

}  // namespace jobkit
