// The flight recorder: the last calls of this rank, in memory that others may read at any time.
//
// It is a file in the job's folder, mapped, so that it can be read while the rank runs, hangs, or after it
// was killed; where there is no folder it is memory of the process, in /proc/PID/fd as long as that lives.
// jobkit/native/recorder.py reads it: a change of the layout is a change there, and of kRecorderVersion.
//
//   0     head: see Recorder::Head
//   2048  128 groups of 16 bytes: context 4, rank in it 4, size 4, zero 4
//   4096  1024 records of 64 bytes, record i at i % 1024
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "socket.h"
#include "wire.h"

namespace jobkit {

inline constexpr uint32_t kRecorderVersion = 1;

// One call, as it was made.
struct Recorded {
  uint32_t context = 0;
  uint32_t seq = 0;
  Signature signature;
  Call call = Call::kBarrier;  // the signature's is that of the message
  int32_t peer = kNobody;      // of the whole job: the other rank of a message, or the root
};

class Recorder {
 public:
  enum class State : uint8_t { kRunning = 1, kWaiting = 2, kDone = 3, kFailed = 4 };

  // `path`: where the file goes, replacing an older one; "" or one that cannot be made: memory of the
  // process.
  Recorder(const std::string& path, const std::string& job, const std::string& host, int rank, int size,
           uint32_t epoch);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder();

  // A group of which this rank is a member.
  void group(uint32_t context, int rank, int size);
  // The number of the new record. Any thread, as what follows.
  uint64_t begin(const Recorded& call);
  // A call that has waited for a while: for this rank, among `n` of them.
  void waits(uint64_t number, int rank, size_t n);
  void end(uint64_t number, bool done);
  // The first failure's text stays.
  void failed(const std::string& text);
  void left();

 private:
  struct Head;
  struct Record;

  Record* of(uint64_t number) const;

  Fd memory_;  // empty where there is a file
  uint8_t* base_ = nullptr;
  std::atomic<uint64_t> n_begun_{0};
  std::atomic<uint32_t> n_groups_{0};
  std::atomic_flag has_failed_;
};

}  // namespace jobkit
