#include "recorder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace jobkit {
namespace {

constexpr char kMagic[8] = {'J', 'K', 'F', 'L', 'I', 'G', 'H', 'T'};
constexpr size_t kGroupsAt = 2048, kGroups = 128, kRecordsAt = 4096, kRecords = 1024;

// A clock that costs a few nanoseconds and is right within a tick of the kernel, some milliseconds.
int64_t now_ns(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

#ifdef CLOCK_MONOTONIC_COARSE
constexpr clockid_t kCheapClock = CLOCK_MONOTONIC_COARSE;
#else
constexpr clockid_t kCheapClock = CLOCK_MONOTONIC;
#endif

void copy_text(char* to, size_t room, const std::string& text) {
  size_t n = std::min(room - 1, text.size());
  std::memcpy(to, text.data(), n);
  to[n] = 0;
}

// A store that a reader in another process may see at any time.
template <typename T>
void publish(T& place, T value) {
  std::atomic_ref(place).store(value, std::memory_order_release);
}

// All of the file's space is taken at once: a mapped page without any is a signal on a full disk.
bool reserve(int descriptor, size_t n_bytes) {
#ifdef __linux__
  return ::posix_fallocate(descriptor, 0, static_cast<off_t>(n_bytes)) == 0;
#else
  return ::ftruncate(descriptor, static_cast<off_t>(n_bytes)) == 0;
#endif
}

Fd make_file(const std::string& path, size_t n_bytes) {
  ::unlink(path.c_str());
  Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file || reserve(file.get(), n_bytes)) return file;
  ::unlink(path.c_str());
  return Fd();
}

Fd make_memory(int rank, size_t n_bytes) {
#ifdef __linux__
  Fd memory(::memfd_create(("jobkit-flight-" + std::to_string(rank)).c_str(), MFD_CLOEXEC));
  if (memory && ::ftruncate(memory.get(), static_cast<off_t>(n_bytes)) == 0) return memory;
#else
  (void)rank, (void)n_bytes;
#endif
  return Fd();
}

}  // namespace

struct Recorder::Head {
  char magic[8];
  uint32_t version, n_records;
  int32_t rank, size;
  uint32_t pid, epoch;
  int64_t wall_ns;  // what to add to the times of the records: nanoseconds since 1970
  uint64_t unused;
  uint32_t n_groups, has_left;
  char host[64], job[64];
  int64_t failed_ns;  // 0: it has not
  char failure[1024];
};

struct Recorder::Record {
  uint64_t number;  // from 1; 0 while it is being written
  int64_t began_ns, ended_ns;
  uint32_t context, seq;
  uint64_t count;
  uint8_t call, dtype, schedule, state;
  int32_t peer, tag;
  int32_t waits_for, n_waits_for;
};

Recorder::Recorder(const std::string& path, const std::string& job, const std::string& host, int rank,
                   int size, uint32_t epoch) {
  static_assert(sizeof(Record) == 64 && sizeof(Head) <= kGroupsAt);
  constexpr size_t kBytes = kRecordsAt + kRecords * sizeof(Record);
  Fd file = path.empty() ? Fd() : make_file(path, kBytes);
  if (!file) memory_ = make_memory(rank, kBytes);
  int descriptor = file ? file.get() : memory_.get();
  int flags = descriptor >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (mapped == MAP_FAILED) throw Error("mmap of the flight recorder: " + system_text(errno));
  base_ = static_cast<uint8_t*>(mapped);
#ifdef MADV_DONTFORK
  ::madvise(mapped, kBytes, MADV_DONTFORK);
#endif
  auto* head = reinterpret_cast<Head*>(base_);
  head->version = kRecorderVersion;
  head->n_records = kRecords;
  head->rank = rank;
  head->size = size;
  head->pid = static_cast<uint32_t>(::getpid());
  head->epoch = epoch;
  head->wall_ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC);
  copy_text(head->host, sizeof head->host, host);
  copy_text(head->job, sizeof head->job, job);
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(head->magic, kMagic, sizeof kMagic);
}

Recorder::~Recorder() { ::munmap(base_, kRecordsAt + kRecords * sizeof(Record)); }

Recorder::Record* Recorder::of(uint64_t number) const {
  return reinterpret_cast<Record*>(base_ + kRecordsAt) + number % kRecords;
}

void Recorder::group(uint32_t context, int rank, int size) {
  uint32_t index = n_groups_.fetch_add(1);
  if (index >= kGroups) return;
  int32_t entry[4] = {static_cast<int32_t>(context), rank, size, 0};
  std::memcpy(base_ + kGroupsAt + index * sizeof entry, entry, sizeof entry);
  publish(reinterpret_cast<Head*>(base_)->n_groups, index + 1);
}

uint64_t Recorder::begin(const Recorded& call) {
  uint64_t number = n_begun_.fetch_add(1, std::memory_order_relaxed) + 1;
  Record* record = of(number);
  publish(record->number, uint64_t{0});
  std::atomic_thread_fence(std::memory_order_release);
  record->began_ns = now_ns(kCheapClock);
  record->ended_ns = 0;
  record->context = call.context;
  record->seq = call.seq;
  record->count = call.signature.count;
  record->call = static_cast<uint8_t>(call.call);
  record->dtype = static_cast<uint8_t>(call.signature.dtype);
  record->schedule = call.signature.schedule;
  record->state = static_cast<uint8_t>(State::kRunning);
  record->peer = call.peer;
  record->tag = call.call < Call::kSend ? 0 : call.signature.tag_or_root;
  record->waits_for = kNobody;
  record->n_waits_for = 0;
  publish(record->number, number);
  return number;
}

// In the meantime 1024 other calls may have begun in other groups: then the record is theirs.
void Recorder::waits(uint64_t number, int rank, size_t n) {
  Record* record = of(number);
  if (record->number != number) return;
  record->waits_for = rank;
  record->n_waits_for = static_cast<int32_t>(n);
  publish(record->state, static_cast<uint8_t>(State::kWaiting));
}

void Recorder::end(uint64_t number, bool done) {
  Record* record = of(number);
  if (record->number != number) return;
  record->ended_ns = now_ns(kCheapClock);
  publish(record->state, static_cast<uint8_t>(done ? State::kDone : State::kFailed));
}

void Recorder::failed(const std::string& text) {
  if (has_failed_.test_and_set()) return;
  auto* head = reinterpret_cast<Head*>(base_);
  copy_text(head->failure, sizeof head->failure, text);
  publish(head->failed_ns, now_ns(CLOCK_MONOTONIC));
}

void Recorder::left() { publish(reinterpret_cast<Head*>(base_)->has_left, uint32_t{1}); }

}  // namespace jobkit
