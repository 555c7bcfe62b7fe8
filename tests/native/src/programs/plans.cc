// Every plan of small groups: spans lie in their buffers, steps name earlier ones only, and what one rank
// sends another one receives.

#include <map>
#include <tuple>

#include "check.h"
#include "choice.h"
#include "schedule.h"

namespace {

using namespace jobkit;

struct Sizes {
  uint64_t input, output, scratch;
  uint64_t of(Buffer buffer) const {
    return buffer == Buffer::kInput ? input : buffer == Buffer::kOutput ? output : scratch;
  }
};

// Elements of the caller's buffers, as group.h has them.
Sizes sizes_of(const Request& r, uint64_t n_scratch) {
  const auto n = static_cast<uint64_t>(r.size);
  const bool is_root = r.rank == r.root;
  if (is_all_reduce(r.call)) return {r.count, r.count, n_scratch};
  if (is_reduce_scatter(r.call)) return {n * r.count, r.count, n_scratch};
  if (r.call == Call::kAllGather) return {r.count, n * r.count, n_scratch};
  if (r.call == Call::kAllToAll) return {n * r.count, n * r.count, n_scratch};
  if (r.call == Call::kBroadcast) return {r.count, r.count, n_scratch};
  if (r.call == Call::kGather) return {r.count, is_root ? n * r.count : 0, n_scratch};
  if (r.call == Call::kScatter) return {is_root ? n * r.count : 0, r.count, n_scratch};
  return {0, 0, n_scratch};
}

using Messages = std::map<std::tuple<int, int, uint32_t>, uint64_t>;  // (from, to, message): elements

void check_span(const Span& span, const Sizes& sizes, const std::string& what) {
  CHECK(span.offset + span.count >= span.offset, what);
  CHECK(span.offset + span.count <= sizes.of(span.buffer), what);
}

void check_plan(const Request& request, const Plan& plan, Messages& sent, Messages& received,
                const std::string& what) {
  const Sizes sizes = sizes_of(request, plan.n_scratch);
  for (size_t i = 0; i < plan.steps.size(); i++) {
    const Step& step = plan.steps[i];
    for (const auto* named : {&step.after, &step.behind, &step.gate})
      for (int each : *named) CHECK(each >= 0 && static_cast<size_t>(each) < i, what);
    const bool is_message = step.kind == StepKind::kReceive || step.kind == StepKind::kSend;
    if (is_message) CHECK(step.peer >= 0 && step.peer < request.size && step.peer != request.rank, what);
    if (step.kind == StepKind::kSend) {
      CHECK(step.parts.size() == 1, what);
      bool is_new = sent.insert({{request.rank, step.peer, step.message}, step.parts[0].count}).second;
      CHECK(is_new, what);
    }
    if (step.kind == StepKind::kReceive) {
      bool is_new = received.insert({{step.peer, request.rank, step.message}, step.out.count}).second;
      CHECK(is_new, what);
    }
    if (step.kind != StepKind::kSend && !step.streamed) check_span(step.out, sizes, what);
    for (size_t k = 0; k < step.parts.size(); k++) {
      const bool is_stream = step.kind == StepKind::kReduce && step.streams[k] >= 0;
      if (is_stream) CHECK(plan.steps[static_cast<size_t>(step.streams[k])].streamed, what);
      if (!is_stream) check_span(step.parts[k], sizes, what);
      if (step.kind == StepKind::kReduce) CHECK(step.parts[k].count == step.out.count, what);
    }
  }
}

void check_group(Request request, Schedule schedule) {
  Messages sent, received;
  const std::string what = std::string(name_of(request.call)) + " of " + std::to_string(request.count) +
                           " on " + std::to_string(request.size) + " ranks, " + name_of(schedule);
  for (request.rank = 0; request.rank < request.size; request.rank++)
    check_plan(request, make_plan(request, schedule), sent, received, what);
  CHECK(sent == received, what);
}

}  // namespace

int main() {
  int n_plans = 0;
  for (int size : {1, 2, 3, 4, 5, 6, 8, 9}) {
    Placement placement;
    for (int r = 0; r < size; r++) placement.nodes.push_back(r * 2 / size);
    for (int call = 0; call < static_cast<int>(Call::kSplit); call++) {
      for (uint64_t count : {0, 1, 2, 7, 8, 9, 100, 1003}) {
        for (Topology topology : {Topology::kDirect, Topology::kNeighbours}) {
          Request request;
          request.call = static_cast<Call>(call);
          request.size = size;
          request.root = has_root(request.call) ? size / 2 : 0;
          request.count = count;
          request.n_bytes_per_element = 4;
          request.topology = topology;
          if (topology == Topology::kDirect) request.placement = &placement;
          for (int schedule = 0; schedule < kSchedules; schedule++) {
            if (!is_possible(request, static_cast<Schedule>(schedule))) continue;
            check_group(request, static_cast<Schedule>(schedule));
            n_plans++;
          }
          CHECK(is_possible(request, choose(request)));
        }
      }
    }
  }
  CHECK(n_plans > 1000);
  std::printf("plans: ok, %d of them\n", n_plans);
}
