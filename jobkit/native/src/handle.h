// Operations that are issued now and waited for later.
//
// A group serves one operation at a time, in the order of issue. What nobody waits for at once runs on the
// group's lane, a thread that exists from the first such operation; all that is issued later, also by callers
// that wait, comes after it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "operation.h"

namespace jobkit {

// How long closing a group waits for what was issued and not waited for.
inline constexpr auto kLastWait = milliseconds(5000);

// An operation that was issued. Its buffers have to live until it is done.
class Handle {
 public:
  explicit Handle(const Operation& given) : operation(given) {}
  bool done() const { return done_.load(std::memory_order_acquire); }
  const Operation operation;

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
    catch_up(interrupted);
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
  Lane(std::shared_ptr<Group> group, bool checks) : group_(std::move(group)), checks_(checks) {}
  ~Lane();
  static void destroy(Lane* lane);
  void perform(const Operation& operation, const InterruptCheck& interrupted);
  void catch_up(const InterruptCheck& interrupted) {
    if (n_open_.load(std::memory_order_acquire) != 0) wait_for_the_rest(interrupted);
  }
  void wait_for_the_rest(const InterruptCheck& interrupted);
  bool settle(std::unique_lock<std::mutex>& lock, Deadline deadline);
  bool is_inherited() const;
  void work();

  const std::shared_ptr<Group> group_;
  const bool checks_;
  std::atomic<size_t> n_open_{0};  // operations in the queue, and errors that nobody was told of
  std::atomic<bool> interrupted_{false};

  std::mutex mutex_;  // guards what follows, and what a Handle says of its end
  std::condition_variable work_, changed_;
  std::deque<std::shared_ptr<Handle>> queue_;  // the first one runs
  std::exception_ptr untold_;
  bool ending_ = false;
  std::thread thread_;
  std::weak_ptr<Lane> self_;
};

}  // namespace jobkit
