#include "py_plan.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "choice.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace jobkit {
namespace {

nb::tuple to_tuple(const Span& span) {
  constexpr const char* names[] = {"input", "output", "scratch"};
  return nb::make_tuple(names[static_cast<int>(span.buffer)], span.offset, span.count);
}

nb::dict to_dict(const Step& step) {
  constexpr const char* kinds[] = {"receive", "send", "copy", "reduce"};
  nb::list parts;
  for (const Span& each : step.parts) parts.append(to_tuple(each));
  nb::dict made;
  made["kind"] = kinds[static_cast<int>(step.kind)];
  made["peer"] = step.peer;
  made["message"] = step.message;
  made["parts"] = parts;
  made["streams"] = step.streams;
  made["out"] = to_tuple(step.out);
  made["streamed"] = step.streamed;
  made["last"] = step.last;
  made["after"] = step.after;
  made["behind"] = step.behind;
  made["gate"] = step.gate;
  return made;
}

Call checked_call(int code) {
  if (code < 0 || code >= static_cast<int>(Call::kSend)) throw BadArgument("not a collective's code");
  return static_cast<Call>(code);
}

// The position of a name in a list of names.
template <typename Code>
Code code_of(const char* what, const std::string& name, std::initializer_list<const char*> names) {
  auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw BadArgument(std::string(what) + ": unknown name, got '" + name + "'");
  return static_cast<Code>(found - names.begin());
}

Schedule schedule_named(const std::string& name) {
  for (int code = 0; code < kSchedules; code++) {
    if (name == name_of(static_cast<Schedule>(code))) return static_cast<Schedule>(code);
  }
  throw BadArgument("schedule: unknown name, got '" + name + "'");
}

nb::tuple py_plan(int call, int rank, int size, uint64_t count, const std::string& topology, int root,
                  uint64_t n_bytes_per_element, const std::string& schedule, std::vector<int> nodes,
                  const std::string& links, bool rounds, bool crowded, const std::string& table) {
  Placement placement{std::move(nodes)};
  Choices choices = Choices::parse(table);
  Request request{checked_call(call),
                  rank,
                  size,
                  root,
                  count,
                  n_bytes_per_element,
                  code_of<Topology>("topology", topology, {"direct", "neighbours"}),
                  rounds,
                  crowded,
                  code_of<LinkClass>("links", links, {"tcp", "shm", "mixed", "mpi", "verbs"}),
                  placement.nodes.empty() ? nullptr : &placement,
                  &choices};
  Schedule chosen = schedule.empty() ? choose(request) : schedule_named(schedule);
  if (!is_possible(request, chosen)) throw BadArgument("schedule: '" + schedule + "' is not possible here");
  Plan plan = make_plan(request, chosen);
  nb::list steps;
  for (const Step& step : plan.steps) steps.append(to_dict(step));
  return nb::make_tuple(name_of(plan.schedule), plan.n_scratch, steps);
}

std::string py_measured_table(int call, int size,
                              const std::vector<std::tuple<uint64_t, std::string, double>>& timings) {
  std::vector<Timing> made;
  for (auto& [n_bytes, schedule, seconds] : timings)
    made.push_back({n_bytes, schedule_named(schedule), seconds});
  return Choices::of({.call = checked_call(call), .size = size}, made).text();
}

}  // namespace

void define_plan(nb::module_& m) {
  m.def("plan", &py_plan, "call"_a, "rank"_a, "size"_a, "count"_a, "topology"_a = "direct", "root"_a = 0,
        "n_bytes_per_element"_a = 4, nb::kw_only(), "schedule"_a = "", "nodes"_a = std::vector<int>(),
        "links"_a = "tcp", "rounds"_a = false, "crowded"_a = false, "table"_a = "");
  m.def("schedule_table", [](const std::string& text) { return Choices::parse(text).text(); }, "text"_a);
  m.def("measured_table", &py_measured_table, "call"_a, "size"_a, "timings"_a);
}

}  // namespace jobkit
