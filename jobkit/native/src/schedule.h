// Which rank sends what to whom, and what is reduced or copied: pure functions of the call, the topology and
// the placement.
//
// A plan is a list of steps that all go on at once, each as far as what it takes in is there. Spans are
// elements of one of three buffers. All ranks make their own plan; that they fit, that no step reads what is
// not there yet and that none overwrites what another has still to read is what
// tests/native/src/test_schedule.py proves.
#pragma once

#include <cstdint>
#include <vector>

#include "call.h"
#include "error.h"

namespace jobkit {

class Choices;  // choice.h

// Who reaches whom directly.
enum class Topology : uint8_t {
  kDirect = 0,      // everybody reaches everybody
  kNeighbours = 1,  // rank r reaches r + 1 and r - 1 only, round the ring
};

// What the links of a group are made of.
enum class LinkClass : uint8_t {
  kTcp = 0,
  kShm = 1,    // all ranks are on one host and share memory
  kMixed = 2,  // shared memory within hosts, something else between them
  kMpi = 3,    // MPI, whatever it uses
  kVerbs = 4,  // RDMA cables
};

// The codes travel on the wire: never renumber.
enum class Schedule : uint8_t {
  kLocal = 0,              // a group of one
  kOneShot = 1,            // everybody sends everything to everybody
  kTwoShot = 2,            // owners reduce a segment each, then send it to everybody
  kDirect = 3,             // straight from the rank that has it to the rank that wants it
  kRing = 4,               // along the neighbours
  kTree = 5,               // binomial, doubling the ranks that have it
  kScatterGather = 6,      // a segment to each rank, then everybody sends its own to everybody
  kRecursiveDoubling = 7,  // partners at distance 1, 2, 4 ... exchange all they have
  kRabenseifner = 8,       // the same partners exchange halves, quarters ...; then back again
  kTwoLevel = 9,           // on the host, between hosts, on the host
  kBruck = 10,             // at distance 1, 2, 4 ..., each message twice the last one
};

inline constexpr int kSchedules = 11;

const char* name_of(Schedule schedule);

enum class Buffer : uint8_t { kInput = 0, kOutput = 1, kScratch = 2 };

// `count` elements from `offset` on.
struct Span {
  Buffer buffer = Buffer::kInput;
  uint64_t offset = 0;
  uint64_t count = 0;

  bool operator==(const Span&) const = default;
};

enum class StepKind : uint8_t { kReceive = 0, kSend = 1, kCopy = 2, kReduce = 3 };

// A piece of work. It goes on as far as what it takes in is there, piece by piece: nobody waits for a whole
// stage. Its progress is a prefix of its span. Other steps are named by their index, always a lower one.
struct Step {
  StepKind kind = StepKind::kCopy;
  int peer = kNobody;        // kReceive, kSend: rank in the group
  uint32_t message = 0;      // kReceive, kSend: unique among those that one rank sends to one other
                             // within the operation
  std::vector<Span> parts;   // kSend, kCopy: one; kReduce: in the order of the fixed tree, lower rank first
  std::vector<int> streams;  // kReduce: streams[i] >= 0: part i is what that kReceive step brings, never
                             // stored; -1: parts[i] is memory
  Span out;                  // kReceive, kCopy, kReduce: where it goes; a streamed kReceive: only the count
  bool streamed = false;     // kReceive: exactly one kReduce step takes it
  bool last = false;         // kReduce: no further reduction follows: the scale belongs here
  std::vector<int> after;    // steps whose `out` this one reads: an element of a part that lies in the `out`
                             // of some of them is there once each of these has produced it; one that lies
                             // in none is there from the beginning
  std::vector<int> behind;   // kCopy, kReduce: kSend steps that read what this one overwrites: an element is
                             // written once each of them that reads it has sent it. Input and output may be
                             // the same memory (in place): compare addresses, not buffers
  std::vector<int> gate;     // steps that must be complete before this one begins; a kReceive is posted then,
                             // all others are posted at once
};

struct Plan {
  Schedule schedule = Schedule::kLocal;
  uint64_t n_scratch = 0;  // elements
  std::vector<Step> steps;
};

// Where the ranks of a group are. The group owns it; two requests are of the same placement if it is the
// same object.
struct Placement {
  std::vector<int> nodes;  // of each rank of the group: ranks with the same number are on one host
};

// What a plan depends on. `count` is as the API counts it: of the array for all_reduce and broadcast, of one
// rank's block for all others. All but `rank` must be the same on all ranks, and what only chooses
// between schedules is marked so.
struct Request {
  Call call = Call::kBarrier;
  int rank = 0;
  int size = 1;
  int root = 0;
  uint64_t count = 0;
  uint64_t n_bytes_per_element = 1;  // chooses
  Topology topology = Topology::kDirect;
  bool rounds = false;                   // chooses: a partial sum in memory would be rounded (16-bit floats)
  bool crowded = false;                  // chooses: some host has more ranks than processors
  LinkClass links = LinkClass::kTcp;     // chooses
  const Placement* placement = nullptr;  // nullptr: not known, or of no use
  const Choices* choices = nullptr;      // chooses: the table of this job; nullptr: the built-in one

  bool operator==(const Request&) const = default;
};

// This rank's part of the schedule that every rank of the group chooses for this call (choice.h).
Plan make_plan(const Request& request);

// This rank's part of a given schedule, which must be possible.
Plan make_plan(const Request& request, Schedule schedule);

// Whether a call can be done by this schedule, in this topology and placement.
bool is_possible(const Request& request, Schedule schedule);

// The part of `count` elements that segment `index` of `size` covers: sizes differ by one at most.
Span segment(Buffer buffer, uint64_t count, int index, int size);

}  // namespace jobkit
