#include "handle.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <vector>

#include "process.h"

namespace jobkit {
namespace {

// How often a thread that waits for the lane looks whether it is to be interrupted.
constexpr auto kLook = milliseconds(50);

// Lanes that have had a thread, for close(). Never destroyed: groups may outlive static destructors.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<Lane>> lanes;
};

Registry& registry() {
  static Registry* const kept = new Registry;
  return *kept;
}

// Signals are for the program's own threads.
template <typename Body>
std::thread start_without_signals(Body body) {
  sigset_t all, previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  std::thread thread(body);
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  return thread;
}

}  // namespace

std::shared_ptr<Lane> Lane::make(std::shared_ptr<Group> group, bool checks) {
  std::shared_ptr<Lane> lane(new Lane(std::move(group), checks), destroy);
  lane->self_ = lane;
  return lane;
}

void Lane::destroy(Lane* lane) {
  if (!lane->thread_.joinable() || !lane->is_inherited()) delete lane;
}

Lane::~Lane() {
  if (!thread_.joinable()) return;
  finish();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_.notify_all();
  thread_.join();
}

bool Lane::is_inherited() const { return group_->mesh().generation() != process::generation(); }

void Lane::perform(const Operation& operation, const InterruptCheck& interrupted) {
  if (checks_) agree(*group_, operation, interrupted);
  jobkit::run(*group_, operation, interrupted);
}

std::unique_ptr<Group> Lane::split(std::optional<int> color, int key, const CallOptions& options) {
  catch_up(options.interrupted);
  if (checks_) {
    Operation split;
    split.call = Call::kSplit;
    split.timeout_s = options.timeout_s;
    agree(*group_, split, options.interrupted);
  }
  return group_->split(color, key, options);
}

std::shared_ptr<Handle> Lane::start(const Operation& operation, const InterruptCheck& interrupted) {
  if (is_inherited()) perform(operation, interrupted);  // which throws
  std::unique_lock lock(mutex_);
  if (untold_) {
    lock.unlock();
    wait_for_the_rest(interrupted);
    lock.lock();
  }
  if (!thread_.joinable()) {
    thread_ = start_without_signals([this] { work(); });
    std::lock_guard listed(registry().mutex);
    std::erase_if(registry().lanes, [](const auto& each) { return each.expired(); });
    registry().lanes.push_back(self_);
  }
  auto handle = std::make_shared<Handle>(operation);
  queue_.push_back(handle);
  n_open_.fetch_add(1);
  lock.unlock();
  work_.notify_one();
  return handle;
}

void Lane::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::shared_ptr<Handle> handle = queue_.front();
    lock.unlock();
    std::exception_ptr error;
    try {
      perform(handle->operation, [this] { return interrupted_.load(); });
    } catch (const std::exception&) {
      error = std::current_exception();
    }
    lock.lock();
    queue_.pop_front();
    handle->error_ = error;
    const bool untold = error && handle->is_dropped_ && !untold_;
    if (untold) untold_ = error;
    handle->done_.store(true, std::memory_order_release);
    if (!untold) n_open_.fetch_sub(1);
    if (queue_.empty()) interrupted_ = false;
    changed_.notify_all();
  }
}

// Waits until the queue is empty; false when the deadline came first.
bool Lane::settle(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  auto empty = [&] { return queue_.empty(); };
  if (deadline.moment() != Moment::max()) return changed_.wait_until(lock, deadline.moment(), empty);
  changed_.wait(lock, empty);
  return true;
}

void Lane::wait_for_the_rest(const InterruptCheck& interrupted) {
  if (is_inherited()) return;  // the group itself refuses the call that follows
  std::unique_lock lock(mutex_);
  while (!settle(lock, Deadline::at(Clock::now() + kLook))) {
    lock.unlock();
    const bool stop = interrupted && interrupted();
    lock.lock();
    if (!stop) continue;
    interrupted_ = !queue_.empty();
    settle(lock, Deadline::in(0));
    throw Interrupted("interrupted while earlier operations of the group were not complete");
  }
  if (!untold_) return;
  n_open_.fetch_sub(1);
  std::rethrow_exception(std::exchange(untold_, nullptr));
}

bool Lane::wait(const Handle& handle, Deadline deadline, const InterruptCheck& interrupted) {
  if (!handle.done() && is_inherited()) {
    throw Error("a handle belongs to process " + std::to_string(group_->mesh().process_id()) +
                "; a child of fork cannot wait for it");
  }
  std::unique_lock lock(mutex_);
  while (!handle.done()) {
    Moment look = std::min(Clock::now() + kLook, deadline.moment());
    if (changed_.wait_until(lock, look, [&] { return handle.done(); })) break;
    if (deadline.passed()) return false;
    lock.unlock();
    const bool stop = interrupted && interrupted();
    lock.lock();
    if (!stop) continue;
    interrupted_ = !queue_.empty();
    changed_.wait(lock, [&] { return handle.done(); });
    throw Interrupted("interrupted");
  }
  if (handle.error_) std::rethrow_exception(handle.error_);
  return true;
}

void Lane::drop(Handle& handle) {
  if (is_inherited()) return;
  std::lock_guard lock(mutex_);
  handle.is_dropped_ = true;
  if (!handle.done() || !handle.error_ || untold_) return;
  untold_ = handle.error_;
  n_open_.fetch_add(1);
}

void Lane::finish() {
  if (is_inherited()) return;
  std::unique_lock lock(mutex_);
  if (settle(lock, Deadline::at(Clock::now() + kLastWait))) return;
  interrupted_ = true;
  settle(lock, Deadline::in(0));
}

void Lane::close() {
  if (is_inherited()) return;
  const Deadline deadline = Deadline::at(Clock::now() + kLastWait);
  std::vector<std::weak_ptr<Lane>> lanes;
  {
    std::lock_guard listed(registry().mutex);
    lanes = registry().lanes;
  }
  for (const std::weak_ptr<Lane>& each : lanes) {
    std::shared_ptr<Lane> lane = each.lock();
    if (!lane || &lane->group().mesh() != &group_->mesh()) continue;
    std::unique_lock lock(lane->mutex_);
    lane->settle(lock, deadline);
  }
  group_->close();
}

}  // namespace jobkit
