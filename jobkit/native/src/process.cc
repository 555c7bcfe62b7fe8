#include "process.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "hash.h"

namespace jobkit::process {
namespace {

std::atomic<uint32_t> fork_generation{1};

// Never destroyed: groups may outlive static destructors.
struct Registry {
  std::mutex mutex;
  std::vector<int> descriptors;
};

Registry& registry() {
  static Registry* const kept = new Registry;
  return *kept;
}

void before_fork() { registry().mutex.lock(); }
void after_fork_in_parent() { registry().mutex.unlock(); }

void after_fork_in_child() {
  for (int descriptor : registry().descriptors) ::close(descriptor);
  registry().descriptors.clear();
  fork_generation.fetch_add(1);
  registry().mutex.unlock();
}

void watch_forks() {
  static const int watched = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)watched;
}

int affinity() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// "150000 100000" in cpu.max is one and a half processors; "max 100000" is no limit.
int cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || period <= 0) return INT32_MAX;
  return std::max(1, static_cast<int>(quota / period));
}

}  // namespace

uint32_t generation() { return fork_generation.load(std::memory_order_relaxed); }

void keep_from_children(int descriptor) {
  watch_forks();
  std::lock_guard lock(registry().mutex);
  registry().descriptors.push_back(descriptor);
}

void forget(int descriptor) {
  std::lock_guard lock(registry().mutex);
  auto& kept = registry().descriptors;
  auto at = std::find(kept.begin(), kept.end(), descriptor);
  if (at == kept.end()) return;
  *at = kept.back();
  kept.pop_back();
}

void allow_descriptors(size_t n_more) {
  // The lowest free number says about how many are in use.
  int lowest = ::dup(STDERR_FILENO);
  if (lowest >= 0) ::close(lowest);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlim_t wanted = static_cast<rlim_t>(std::max(lowest, 64)) + n_more;
  if (limit.rlim_cur >= wanted) return;  // RLIM_INFINITY is the largest number there is
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

int processors() { return std::max(1, std::min(affinity(), cgroup_quota())); }

uint64_t node_identity() {
  std::string text;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), text);
  char space[64];
  ssize_t n = ::readlink("/proc/self/ns/net", space, sizeof space);
  if (n > 0) text.append(space, static_cast<size_t>(n));
  if (text.empty()) text = host_name();
  Digest digest = sha256(text.data(), text.size());
  uint64_t identity;
  std::memcpy(&identity, digest.data(), sizeof identity);
  return identity;
}

std::string host_name() {
  char name[64] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "?";
  return name;
}

}  // namespace jobkit::process
