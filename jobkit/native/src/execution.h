// Carries out a plan: the steps of one collective on this rank, each as far as what it takes in is there.
//
// Made once for each plan that a group keeps, and used again by every call of its kind: nothing is allocated
// between the begin of a call and its end.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "mesh.h"
#include "schedule.h"

namespace jobkit {

// What a call works on.
struct Operands {
  const uint8_t* in = nullptr;
  uint8_t* out = nullptr;
  uint8_t* scratch = nullptr;
  ReduceOp op = ReduceOp::kSum;
  double scale = 1.0;
};

class Execution final : public Work {
 public:
  // `members`: the ranks of the whole job, in the group's order.
  Execution(Plan plan, const std::vector<int>& members);

  Schedule schedule() const { return plan_.schedule; }
  uint64_t n_scratch() const { return plan_.n_scratch; }

  // A new call.
  void begin(const Operands& operands, uint32_t context, uint32_t seq, const Signature& signature);

  // After begin(): this rank's messages, which need nothing but its input, went out another way.
  void messages_are_out();

  // Work:
  void post(Mesh& mesh) override;
  bool advance(Mesh& mesh, std::unique_lock<std::mutex>& lock) override;

 private:
  // Elements [begin, end) of a part are there as step `step` produces them; they begin `offset` elements
  // after that step's own first one.
  struct Source {
    int step;
    uint64_t begin, end, offset;
  };

  // How a step stands.
  struct State {
    uint64_t n_done = 0;  // elements, from the start on
    bool waits = false;   // for its gate
    bool complete = false;
    bool is_read = false;                      // another step takes in what this one produces
    int request = kNobody;                     // its place among receives_ or sends_
    std::vector<std::vector<Source>> sources;  // of each part, in ascending order
  };

  const Step& step(int index) const { return plan_.steps[index]; }
  std::vector<Source> find_sources(const Step& reader, const Span& part) const;
  uint8_t* at(const Span& span) const;
  bool may_begin(int index);
  uint64_t n_available(int index, size_t part) const;
  uint64_t n_writable(int index) const;
  bool advance_receive(Mesh& mesh, int index);
  bool advance_send(int index);
  bool advance_local(Mesh& mesh, int index, std::unique_lock<std::mutex>& lock);
  void use_streams(const Step& step, bool in_use);
  void compute(const Step& step, bool is_read, uint64_t n_done, uint64_t n);

  Plan plan_;
  std::vector<State> states_;
  std::vector<Receive> receives_;
  std::vector<Send> sends_;
  std::vector<int> open_;  // steps that are not complete, in order
  std::vector<const void*> parts_;
  Operands operands_;
  Dtype dtype_ = Dtype::kUint8;
  size_t n_bytes_ = 1;  // of an element
};

// A message out, one in, or both.
class Exchange final : public Work {
 public:
  std::optional<Send> send;
  std::optional<Receive> receive;

  void post(Mesh& mesh) override;
  bool advance(Mesh&, std::unique_lock<std::mutex>&) override { return false; }
};

}  // namespace jobkit
