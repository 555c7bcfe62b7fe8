#include "arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#ifdef __linux__
#include <sys/eventfd.h>
#else
#include <mach/vm_inherit.h>

#include <atomic>
#endif

#include "process.h"

namespace jobkit {
namespace {

// All rings of a node together. A ring is used all the way round, so that this much is really taken.
constexpr size_t kAllRings = 64 << 20;
constexpr size_t kSmallestRing = 4 << 10;

// Rings of more bytes than this would take the last cache from the arrays; a ring of 64 KiB is worth it all
// the same. Two ranks got a sum of 1 MiB done in 99 us with rings of 256 KiB, where one waits for the other
// more often, in 82 us with 1 MiB and in 87 us with 4 MiB (2-core VM, the first tenth of the calls). For more
// ranks the differences were within the noise.
constexpr size_t kCachedRings = 8 << 20;
constexpr size_t kUsefulRing = 64 << 10;
constexpr size_t kLargestRing = 1 << 20;

size_t ring_size(int n) {
  size_t n_rings = static_cast<size_t>(n) * std::max(n - 1, 1);
  size_t cached = std::clamp(std::bit_floor(kCachedRings / n_rings), kUsefulRing, kLargestRing);
  return std::max(std::min(cached, std::bit_floor(kAllRings / n_rings)), kSmallestRing);
}

size_t flags_size(int n) {
  return (static_cast<size_t>(n) * 2 * kCacheLine + kSmallestRing - 1) & ~(kSmallestRing - 1);
}

[[noreturn]] void fail(const char* what) { throw Error(std::string(what) + ": " + system_text(errno)); }

#ifdef __linux__

Fd make_file(size_t n_bytes) {
  Fd file(::memfd_create("jobkit", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) fail("memfd_create");
  if (::ftruncate(file.get(), static_cast<off_t>(n_bytes)) != 0) fail("ftruncate");
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) fail("F_ADD_SEALS");
  return file;
}

// A file that could be made shorter would be a SIGBUS at any time.
void check_file(const Fd& file, size_t n_bytes) {
  struct stat found{};
  int seals = ::fcntl(file.get(), F_GET_SEALS);
  bool sealed = seals >= 0 && (seals & F_SEAL_SHRINK);
  if (!sealed || ::fstat(file.get(), &found) != 0 || static_cast<size_t>(found.st_size) != n_bytes)
    throw Error("the file is not the sealed memory of " + std::to_string(n_bytes) +
                " bytes that it should be");
}

// Both ends of a doorbell.
std::pair<Fd, Fd> make_bell() {
  Fd waits(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!waits) fail("eventfd");
  Fd rings(::fcntl(waits.get(), F_DUPFD_CLOEXEC, 0));
  if (!rings) fail("F_DUPFD_CLOEXEC");
  return {std::move(waits), std::move(rings)};
}

void keep_out_of_children(void* memory, size_t n_bytes) { ::madvise(memory, n_bytes, MADV_DONTFORK); }

#else

// A name of its own for each: threads may make files at the same time.
Fd make_file(size_t n_bytes) {
  static std::atomic<int> n_made{0};
  std::string name = "/jobkit-" + std::to_string(::getpid()) + "-" + std::to_string(n_made++);
  ::shm_unlink(name.c_str());
  Fd file(::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  ::shm_unlink(name.c_str());
  if (!file) fail("shm_open");
  if (::ftruncate(file.get(), static_cast<off_t>(n_bytes)) != 0) fail("ftruncate");
  return file;
}

// The system rounds up to whole pages.
void check_file(const Fd& file, size_t n_bytes) {
  struct stat found{};
  if (::fstat(file.get(), &found) != 0 || static_cast<size_t>(found.st_size) < n_bytes)
    throw Error("the file is not the memory of " + std::to_string(n_bytes) + " bytes that it should be");
}

std::pair<Fd, Fd> make_bell() { return make_pipe(); }

void keep_out_of_children(void* memory, size_t n_bytes) { ::minherit(memory, n_bytes, VM_INHERIT_NONE); }

#endif

}  // namespace

Arena::Arena(int n, int index)
    : n_(n),
      index_(index),
      n_ring_(ring_size(n)),
      n_bytes_(flags_size(n) + n_ring_ * static_cast<size_t>(n) * static_cast<size_t>(n)),
      generation_(process::generation()),
      bells_(n) {}

std::shared_ptr<Arena> Arena::make(int n) {
  std::shared_ptr<Arena> arena(new Arena(n, 0));
  arena->file_ = make_file(arena->n_bytes_);
  arena->waits_.resize(n);
  for (int i = 0; i < n; i++) std::tie(arena->waits_[i], arena->bells_[i]) = make_bell();
  arena->bell_ = std::move(arena->waits_[0]);
  arena->map();
  return arena;
}

std::shared_ptr<Arena> Arena::adopt(int n, int index, std::vector<Fd> descriptors) {
  if (n < 1 || index < 0 || index >= n || descriptors.size() != n_descriptors(n))
    throw Error(std::to_string(descriptors.size()) + " descriptors, expected " +
                std::to_string(n_descriptors(n)));
  std::shared_ptr<Arena> arena(new Arena(n, index));
  arena->file_ = std::move(descriptors[0]);
  arena->bell_ = std::move(descriptors[1]);
  std::move(descriptors.begin() + 2, descriptors.end(), arena->bells_.begin());
  check_file(arena->file_, arena->n_bytes_);
  arena->map();
  return arena;
}

Arena::~Arena() {
  // In a child of fork the memory is not there, and its place may be someone else's.
  if (memory_ && generation_ == process::generation()) ::munmap(memory_, n_bytes_);
}

void Arena::map() {
  void* at = ::mmap(nullptr, n_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (at == MAP_FAILED) fail("mmap");
  memory_ = static_cast<uint8_t*>(at);
  keep_out_of_children(at, n_bytes_);
}

std::vector<int> Arena::descriptors_for(int index) const {
  std::vector<int> all{file_.get(), waits_[index].get()};
  for (const Fd& each : bells_) all.push_back(each.get());
  return all;
}

void Arena::settle() {
  file_.close();
  waits_.clear();
}

uint8_t* Arena::ring(int from, int to) const {
  return memory_ + flags_size(n_) + (static_cast<size_t>(from) * n_ + to) * n_ring_;
}

Arena::Flag& Arena::sleeping(int index) const {
  return *reinterpret_cast<Flag*>(memory_ + static_cast<size_t>(index) * 2 * kCacheLine);
}

void Arena::awake() {
  sleeping(index_).store(0, std::memory_order_relaxed);
  uint8_t bytes[64];
  (void)!::read(bell_.get(), bytes, sizeof bytes);
}

void Arena::ring_doorbell(int index) {
  if (sleeping(index).exchange(0) == 0) return;
  uint64_t one = 1;
  // A bell that is rung already wakes just as well.
  (void)!::write(bells_[index].get(), &one, sizeof one);
}

}  // namespace jobkit
