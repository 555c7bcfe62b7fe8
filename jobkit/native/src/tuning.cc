#include "tuning.h"

#include <algorithm>
#include <set>
#include <vector>

#include "clock.h"

namespace jobkit {
namespace {

// All that measuring may take, less what it takes to agree on the result.
constexpr double kBudgetSeconds = 0.035;

// All schedules take turns, so that what else happens on the machine meets them alike.
constexpr size_t kRounds = 5;

// A turn repeats its call until it takes about so long, but no more than so often.
constexpr double kTurnSeconds = 100e-6;
constexpr double kMostCalls = 16;

constexpr uint64_t kSmallest = 1 << 10, kLargest = 1 << 20, kFactor = 4;

// --- what is measured ---

Request all_sum(const Group& group, uint64_t n_bytes) {
  return group.request(Call::kAllSum, n_bytes / size_of(Dtype::kFloat32), Dtype::kFloat32);
}

// All add in the same order: no bit of a result hangs on the clock. Where the built-in schedule has another
// order nothing takes its place.
std::vector<Schedule> candidates(const Group& group, uint64_t n_bytes) {
  const Request request = all_sum(group, n_bytes);
  std::vector<Schedule> found;
  if (!keeps_tree_order(choose(request))) return found;
  for (Schedule each : kTreeOrder) {
    // Two ranks have but two ways: all at once, or halves and back.
    bool repeats = group.size() == 2 && each != Schedule::kOneShot && each != Schedule::kTwoShot;
    if (!repeats && is_possible(request, each)) found.push_back(each);
  }
  return found;
}

bool is_measurable(const Group& group) {
  const Request request = all_sum(group, kSmallest);
  return group.topology() == Topology::kDirect && !request.crowded;
}

// What the times depend on as far as rank 0 knows: "4 ranks on 2 hosts, mixed, 8 processors".
std::string conditions(const Group& group) {
  constexpr const char* links[] = {"tcp", "shm", "mixed", "mpi", "verbs"};
  const Request request = all_sum(group, kSmallest);
  const std::vector<int>& nodes = request.placement->nodes;
  const std::set<int> hosts(nodes.begin(), nodes.end());
  const Mesh& mesh = group.mesh();
  return std::to_string(group.size()) + " ranks on " + std::to_string(hosts.size()) + " hosts, " +
         links[static_cast<int>(request.links)] + (mesh.mpi() ? " (" + mesh.mpi()->name + ")" : "") + ", " +
         std::to_string(mesh.identity(mesh.rank()).processors) + " processors";
}

// Whether measuring can have led to this: a file may hold anything.
bool is_measured(const Choices& choices, const Group& group) {
  return std::all_of(choices.rows().begin(), choices.rows().end(), [&](const ChoiceRow& row) {
    return row.call == Call::kAllSum && row.min_size == group.size() && row.max_size == group.size() &&
           row.max_bytes <= kLargest && keeps_tree_order(row.schedule);
  });
}

std::optional<Choices> recall(const Group& group, const Memory& memory) {
  auto text = memory.recall(conditions(group));
  if (!text) return std::nullopt;
  try {
    Choices found = Choices::parse(*text);
    return is_measured(found, group) ? std::optional(found) : std::nullopt;
  } catch (const BadArgument&) {
    return std::nullopt;
  }
}

// --- measuring ---

// What all ranks do next: `n_calls` all_sums of so many bytes, by one schedule. No calls: the end.
struct Turn {
  uint64_t n_bytes = 0;
  uint32_t n_calls = 0;
  Schedule schedule = Schedule::kLocal;
};

// Rank 0's clock ends it, so rank 0 says each turn.
class Measurement {
 public:
  Measurement(Group& group, const CallOptions& options)
      : group_(group),
        options_(options),
        guide_(group.apart("schedules, turns")),
        in_(kLargest),
        out_(kLargest) {
    for (Schedule each : kTreeOrder) {
      groups_.push_back(group.apart(std::string("schedules, ") + name_of(each)));
      groups_.back()->use(Choices({{.call = Call::kAllSum, .schedule = each}}));
    }
    guide_->barrier(options_);
    end_ = Clock::now() + duration(kBudgetSeconds);
  }

  // Rank 0: says all turns, and returns what they took.
  std::vector<Timing> lead() {
    std::vector<Timing> timings;
    double expected = 0;  // seconds of a call
    for (uint64_t n_bytes = kSmallest; n_bytes <= kLargest; n_bytes *= kFactor) {
      std::vector<Timing> found = lead_size(n_bytes, expected);
      if (found.empty()) break;
      expected = kFactor * std::min_element(found.begin(), found.end(), is_faster)->seconds;
      timings.insert(timings.end(), found.begin(), found.end());
    }
    tell({});
    return timings;
  }

  void follow() {
    for (Turn turn = tell({}); turn.n_calls > 0; turn = tell({})) take(turn);
  }

 private:
  static bool is_faster(const Timing& a, const Timing& b) { return a.seconds < b.seconds; }

  // Nothing where there is not the time for all rounds, or nothing to choose.
  std::vector<Timing> lead_size(uint64_t n_bytes, double expected) {
    const std::vector<Schedule> schedules = candidates(group_, n_bytes);
    std::vector<Timing> found;
    for (size_t n_left = kRounds * schedules.size(); n_left > 0; n_left--) {
      const auto n_calls =
          expected > 0 ? static_cast<uint32_t>(std::clamp(kTurnSeconds / expected, 1.0, kMostCalls)) : 1;
      if (Clock::now() + duration(static_cast<double>(n_left) * (n_calls + 1) * expected) > end_) return {};
      const Turn turn = tell({n_bytes, n_calls, schedules[found.size() % schedules.size()]});
      found.push_back({n_bytes, turn.schedule, take(turn)});
      expected = std::min_element(found.begin(), found.end(), is_faster)->seconds;
    }
    return found;
  }

  Turn tell(Turn turn) {
    guide_->broadcast(&turn, &turn, sizeof turn, Dtype::kUint8, 0, options_);
    return turn;
  }

  // Seconds of one call. The first is not counted: it plans, and waits for ranks that are late.
  double take(const Turn& turn) {
    size_t which = std::find(std::begin(kTreeOrder), std::end(kTreeOrder), turn.schedule) - kTreeOrder;
    Moment start;
    for (uint32_t i = 0; i <= turn.n_calls; i++) {
      if (i == 1) start = Clock::now();
      groups_.at(which)->all_reduce(ReduceOp::kSum, in_.data(), out_.data(),
                                    turn.n_bytes / size_of(Dtype::kFloat32), Dtype::kFloat32, options_);
    }
    return std::chrono::duration<double>(Clock::now() - start).count() / turn.n_calls;
  }

  Group& group_;
  const CallOptions& options_;
  std::unique_ptr<Group> guide_;
  std::vector<std::unique_ptr<Group>> groups_;  // as kTreeOrder
  std::vector<uint8_t> in_, out_;
  Moment end_;
};

// On rank 0 the table, which stops at the last size that there was time for; nothing elsewhere.
Choices measure(Group& group, const CallOptions& options) {
  Measurement measurement(group, options);
  if (group.rank() == 0) return Choices::of(all_sum(group, 0), measurement.lead());
  measurement.follow();
  return {};
}

// --- agreeing ---

// Rank 0's, everywhere; and whether it wants to measure.
bool share(Group& between, Choices& choices, bool measures, const CallOptions& options) {
  std::string text = choices.text();
  uint64_t head[] = {text.size(), measures};
  between.broadcast(head, head, std::size(head), Dtype::kUint64, 0, options);
  text.resize(head[0]);
  if (!text.empty()) between.broadcast(text.data(), text.data(), text.size(), Dtype::kUint8, 0, options);
  choices = Choices::parse(text);
  return head[1] != 0;
}

}  // namespace

void agree_on_choices(Group& group, const Choices& wanted, const Memory& memory, const CallOptions& options) {
  if (group.size() == 1) return;
  auto between = group.apart("schedules");
  Choices choices = wanted;
  bool measures = false;
  if (group.rank() == 0 && memory.recall && wanted.rows().empty() && is_measurable(group)) {
    auto known = recall(group, memory);
    if (known) choices = *known;
    measures = !known;
  }
  if (share(*between, choices, measures, options)) {
    choices = measure(group, options);
    share(*between, choices, false, options);
    if (group.rank() == 0) memory.keep(conditions(group), choices.text());
  }
  group.use(choices);
}

}  // namespace jobkit
