// Which rank sends what to whom, in which order, and what is reduced: pure functions of the call and the
// topology.
//
// A plan is a list of stages. In each, a rank does the local steps of `before`, then starts all its receives
// and sends, waits for all of them, and does the local steps of `after`. Spans are elements of one of three
// buffers. All ranks make their own plan; that they fit is what tests/native/test_schedule.py proves.
#pragma once

#include <cstdint>
#include <vector>

#include "call.h"

namespace jobkit {

// Who reaches whom directly.
enum class Topology : uint8_t {
  kDirect = 0,      // everybody reaches everybody
  kNeighbours = 1,  // rank r reaches r + 1 and r - 1 only, round the ring
  kBroken = 2,      // neither: this group cannot communicate
};

// The codes travel on the wire: never renumber.
enum class Schedule : uint8_t {
  kLocal = 0,          // a group of one
  kOneShot = 1,        // everybody sends everything to everybody
  kTwoShot = 2,        // owners reduce a segment each, then send it to everybody
  kDirect = 3,         // straight from the rank that has it to the rank that wants it
  kRing = 4,           // along the neighbours
  kTree = 5,           // binomial, doubling the ranks that have it
  kScatterGather = 6,  // a segment to each rank, then everybody sends its own to everybody
};

const char* name_of(Schedule schedule);

enum class Buffer : uint8_t { kInput = 0, kOutput = 1, kScratch = 2 };

// `count` elements from `offset` on.
struct Span {
  Buffer buffer = Buffer::kInput;
  uint64_t offset = 0;
  uint64_t count = 0;

  bool operator==(const Span&) const = default;
};

// One message. `message` is unique among those that one rank sends to one other within the operation.
struct Transfer {
  int peer = 0;
  uint32_t message = 0;
  Span span;
};

enum class LocalKind : uint8_t {
  kCopy = 0,       // parts[0] to `out`
  kReduce = 1,     // parts[0] op parts[1] to `out`
  kReduceAll = 2,  // all parts, one per rank in rank order, by the fixed tree
};

struct LocalStep {
  LocalKind kind = LocalKind::kCopy;
  bool last = false;  // no further reduction follows: the scale belongs here
  std::vector<Span> parts;
  Span out;
};

struct Stage {
  std::vector<LocalStep> before;
  std::vector<Transfer> receives;
  std::vector<Transfer> sends;
  std::vector<LocalStep> after;
};

struct Plan {
  Schedule schedule = Schedule::kLocal;
  uint64_t n_scratch = 0;  // elements
  std::vector<Stage> stages;
};

// What a plan depends on. `count` is as the API counts it: of the array for all_reduce and broadcast, of one
// rank's block for all others. `n_bytes_per_element` chooses between schedules, and nothing else.
struct Request {
  Call call = Call::kBarrier;
  int rank = 0;
  int size = 1;
  int root = 0;
  uint64_t count = 0;
  uint64_t n_bytes_per_element = 1;
  Topology topology = Topology::kDirect;

  bool operator==(const Request&) const = default;
};

// The schedule that every rank of the group chooses for this call.
Schedule choose(const Request& request);

// This rank's part. The topology must not be kBroken.
Plan make_plan(const Request& request);

// The part of `count` elements that segment `index` of `size` covers: sizes differ by one at most.
Span segment(Buffer buffer, uint64_t count, int index, int size);

}  // namespace jobkit
