// Which process this is: descriptors that a fork's child must not keep, and how many processors it may use.
#pragma once

#include <cstdint>
#include <string>

namespace jobkit::process {

// Changes in a child of fork. Cheaper to read than the process id.
uint32_t generation();

// A descriptor that a child of fork closes at once, so that a forked worker cannot hide its parent's death.
void keep_from_children(int descriptor);
void forget(int descriptor);

// Raises this process's own limit, as far as it may, so that it can hold n_more descriptors beside those
// that it has.
void allow_descriptors(size_t n_more);

// Processors that this process may use at the same time: its affinity, cut by its cgroup's quota; at least 1.
int processors();

// Lets a spinning processor rest for a moment.
inline void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The same on two processes that share one kernel and one network namespace, and on no others; 0 when
// unknown.
uint64_t node_identity();

// The host's name, at most 63 bytes.
std::string host_name();

}  // namespace jobkit::process
