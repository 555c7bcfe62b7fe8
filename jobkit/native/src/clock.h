// Deadlines on the steady clock.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>

namespace jobkit {

using Clock = std::chrono::steady_clock;
using Moment = Clock::time_point;
using std::chrono::milliseconds;

inline Clock::duration duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Clock::now(), up to some milliseconds ago: a quarter of its price, for what is in every call.
inline Moment roughly_now() {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now;
  if (::clock_gettime(CLOCK_MONOTONIC_COARSE, &now) == 0)
    return Moment(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
#endif
  return Clock::now();
}

// A moment by which something must have happened, or never.
class Deadline {
 public:
  // `seconds` from now; 0 is never.
  static Deadline in(double seconds) {
    if (seconds <= 0 || seconds > 1e9) return Deadline(Moment::max());
    return Deadline(Clock::now() +
                    std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  }
  static Deadline at(Moment moment) { return Deadline(moment); }

  bool passed() const { return moment_ != Moment::max() && Clock::now() >= moment_; }
  Moment moment() const { return moment_; }

  // Milliseconds that a poll may sleep: up to `limit`, rounded up, never negative.
  int poll_ms(int limit) const {
    if (moment_ == Moment::max()) return limit;
    auto left = std::chrono::ceil<milliseconds>(moment_ - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, limit));
  }

 private:
  explicit Deadline(Moment moment) : moment_(moment) {}
  Moment moment_;
};

}  // namespace jobkit
