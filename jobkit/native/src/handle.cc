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
  if (!lane->has_threads() || !lane->is_inherited()) delete lane;
}

Lane::~Lane() {
  if (!has_threads()) return;
  finish();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  for (Queue* queue : {&collectives_, &messages_}) {
    queue->work.notify_all();
    for (std::thread& each : queue->threads) each.join();
  }
}

bool Lane::is_inherited() const { return group_->mesh().generation() != process::generation(); }

void Lane::perform(const Operation& operation, const InterruptCheck& interrupted,
                   const std::optional<MessageNumbers>& issued) {
  if (checks_) agree(*group_, operation, interrupted);
  jobkit::run(*group_, operation, interrupted, issued);
}

// While others are on their way.
void Lane::run_beside(const Operation& operation, const InterruptCheck& interrupted) {
  if (!operation.is_message()) {
    catch_up(interrupted);
    return perform(operation, interrupted);
  }
  if (!is_inherited()) {
    std::unique_lock lock(mutex_);
    throw_untold(lock);
  }
  perform(operation, interrupted, issue(*group_, operation));
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
  throw_untold(lock);
  const bool is_message = operation.is_message();
  Queue& queue = is_message ? messages_ : collectives_;
  auto handle = std::make_shared<Handle>(
      operation, is_message ? std::optional(issue(*group_, operation)) : std::nullopt);
  queue.waiting.push_back(handle);
  n_open_.fetch_add(1);
  const size_t n_idle = queue.threads.size() - queue.n_running;
  if (queue.waiting.size() > n_idle && queue.threads.size() < queue.n_most) {
    const bool is_first = !has_threads();
    queue.threads.push_back(start_without_signals([this, &queue] { work(queue); }));
    if (is_first) {
      std::lock_guard listed(registry().mutex);
      std::erase_if(registry().lanes, [](const auto& each) { return each.expired(); });
      registry().lanes.push_back(self_);
    }
  }
  lock.unlock();
  queue.work.notify_one();
  return handle;
}

void Lane::work(Queue& queue) {
  std::unique_lock lock(mutex_);
  for (;;) {
    queue.work.wait(lock, [&] { return ending_ || !queue.waiting.empty(); });
    if (queue.waiting.empty()) return;
    std::shared_ptr<Handle> handle = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    queue.n_running++;
    lock.unlock();
    std::exception_ptr error;
    try {
      perform(handle->operation, [this] { return interrupted_.load(); }, handle->issued);
    } catch (const std::exception&) {
      error = std::current_exception();
    }
    lock.lock();
    queue.n_running--;
    handle->error_ = error;
    const bool untold = error && handle->is_dropped_ && !untold_;
    if (untold) untold_ = error;
    handle->done_.store(true, std::memory_order_release);
    if (!untold) n_open_.fetch_sub(1);
    if (all_empty()) interrupted_ = false;
    changed_.notify_all();
  }
}

void Lane::throw_untold(std::unique_lock<std::mutex>& lock) {
  if (!untold_) return;
  n_open_.fetch_sub(1);
  std::exception_ptr error = std::exchange(untold_, nullptr);
  lock.unlock();
  std::rethrow_exception(error);
}

// Waits for the collectives that were issued before.
void Lane::catch_up(const InterruptCheck& interrupted) {
  if (n_open_.load(std::memory_order_acquire) == 0) return;
  if (is_inherited()) return;  // the group itself refuses the call that follows
  std::unique_lock lock(mutex_);
  auto is_over = [&] { return collectives_.is_empty(); };
  while (!changed_.wait_until(lock, Clock::now() + kLook, is_over)) {
    lock.unlock();
    const bool stop = interrupted && interrupted();
    lock.lock();
    if (!stop) continue;
    interrupted_ = !all_empty();
    changed_.wait(lock, is_over);
    throw Interrupted("interrupted while earlier operations of the group were not complete");
  }
  throw_untold(lock);
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
    interrupted_ = !all_empty();
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
  auto is_over = [&] { return all_empty(); };
  if (changed_.wait_until(lock, Clock::now() + kLastWait, is_over)) return;
  interrupted_ = true;
  changed_.wait(lock, is_over);
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
    lane->changed_.wait_until(lock, deadline.moment(), [&] { return lane->all_empty(); });
  }
  group_->close();
}

}  // namespace jobkit
