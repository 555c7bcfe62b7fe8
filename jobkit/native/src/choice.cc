#include "choice.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

namespace jobkit {
namespace {

using C = Call;
using S = Schedule;

constexpr C kKinds[] = {C::kAllSum,   C::kSumScatter, C::kAllGather, C::kBroadcast,
                        C::kAllToAll, C::kGather,     C::kScatter,   C::kBarrier};

C kind_of(C call) {
  if (is_all_reduce(call)) return C::kAllSum;
  if (is_reduce_scatter(call)) return C::kSumScatter;
  return call == C::kSplit ? C::kAllGather : call;
}

constexpr int kAny = INT32_MAX;
constexpr uint64_t kAll = UINT64_MAX;

// Measured on a machine of two cores that did other work as well, all schedules in turn, the first quartile
// of 9 to 15 rounds; f32, microseconds, so that only the order counts:
//                             one-shot  two-shot  recursive doubling  Rabenseifner
//   memory, 2 ranks,  64 KiB:      112       180
//                     16 MiB:    21600     23400
//           4 ranks,   8 KiB:       36        77                  34            84
//                      1 MiB:     1390       995                1261          1132
//           8 ranks,  32 KiB:      851       487                 338           554
//                      1 MiB:    24400      6160               12300          9600
//   TCP,    2 ranks, 512 KiB:     1900      2380
//                      2 MiB:     8510      7180
//           4 ranks,   8 B:        559      1081                 445           943
//                     64 KiB:     1589       788                 920           686
//                      1 MiB:    14700      9010               10200          7140
//           8 ranks,   8 B:       1467      2915                 933          1538
//                     64 KiB:     8740      3380                3580          2490
//                      1 MiB:    59300     19100               29700         20500

// All ranks share memory. A message costs little, a switch to another rank costs more.
const std::vector<ChoiceRow> kInMemory{
    {C::kAllSum, 2, 2, kAll, S::kOneShot},       {C::kAllSum, 3, 4, 16 << 10, S::kOneShot},
    {C::kAllSum, 5, kAny, 8 << 10, S::kOneShot}, {C::kAllSum, 8, 8, 64 << 10, S::kRecursiveDoubling},
    {C::kBroadcast, 2, kAny, kAll, S::kDirect},
};

// More ranks than processors on some host: what counts is the number of messages, each 5 us to send and 2 us
// to take in.
const std::vector<ChoiceRow> kCrowded{
    {C::kAllSum, 2, 2, 1 << 20, S::kOneShot},
    {C::kAllSum, 3, 3, 16 << 10, S::kOneShot},
    {C::kAllSum, 4, kAny, 32 << 10, S::kRecursiveDoubling},
    {C::kAllSum, 4, 4, 1 << 20, S::kRabenseifner},
    {C::kAllSum, 8, 8, 128 << 10, S::kRabenseifner},
    {C::kAllGather, 4, kAny, 1 << 10, S::kBruck},
    {C::kBroadcast, 2, kAny, kAll, S::kDirect},
    {C::kBarrier, 4, kAny, kAll, S::kBruck},
};

// Ranks on several hosts, some of them sharing memory: bytes between hosts are dear.
const std::vector<ChoiceRow> kBetweenHosts{
    {C::kAllSum, 4, kAny, 64 << 10, S::kRecursiveDoubling},
    {C::kAllSum, 4, kAny, kAll, S::kTwoLevel},
    {C::kBroadcast, 4, kAny, kAll, S::kTwoLevel},
};

// What the others leave open.
const std::vector<ChoiceRow> kElse{
    {C::kAllSum, 2, 2, 1 << 20, S::kOneShot},
    {C::kAllSum, 3, 4, 16 << 10, S::kOneShot},
    {C::kAllSum, 5, kAny, 8 << 10, S::kOneShot},
    {C::kAllSum, 2, kAny, kAll, S::kTwoShot},
    {C::kSumScatter, 2, kAny, kAll, S::kDirect},
    {C::kAllGather, 2, kAny, kAll, S::kDirect},
    {C::kBroadcast, 2, 2, kAll, S::kDirect},
    {C::kBroadcast, 3, kAny, (256 << 10) - 1, S::kTree},
    {C::kBroadcast, 3, kAny, kAll, S::kScatterGather},
    {C::kAllToAll, 2, kAny, kAll, S::kDirect},
    {C::kGather, 2, kAny, kAll, S::kDirect},
    {C::kScatter, 2, kAny, kAll, S::kDirect},
    {C::kBarrier, 2, 8, kAll, S::kDirect},
    {C::kBarrier, 9, kAny, kAll, S::kBruck},
};

const std::vector<ChoiceRow>& built_in(const Request& r) {
  static const std::vector<ChoiceRow> none;
  if (r.links == LinkClass::kShm) return kInMemory;
  if (r.links == LinkClass::kMixed) return kBetweenHosts;
  return r.crowded ? kCrowded : none;
}

bool fits(const ChoiceRow& row, const Request& r) {
  return row.call == kind_of(r.call) && r.size >= row.min_size && r.size <= row.max_size &&
         r.count <= row.max_bytes / r.n_bytes_per_element && is_possible(r, row.schedule);
}

const ChoiceRow* first_fit(const std::vector<ChoiceRow>& rows, const Request& r) {
  auto found = std::find_if(rows.begin(), rows.end(), [&](const ChoiceRow& row) { return fits(row, r); });
  return found == rows.end() ? nullptr : &*found;
}

// --- text ---

[[noreturn]] void refuse(std::string_view row, const std::string& wrong) {
  throw BadArgument("row '" + std::string(row) + "': " + wrong);
}

template <typename Codes>
std::string names_of(const Codes& codes) {
  std::string all;
  for (auto each : codes) all += (all.empty() ? "" : ", ") + std::string(name_of(each));
  return all;
}

template <typename Number>
Number number(std::string_view row, std::string_view text) {
  Number value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    refuse(row, "not a number, got '" + std::string(text) + "'");
  return value;
}

C call_named(std::string_view row, std::string_view name) {
  for (C call : kKinds) {
    if (name == name_of(call)) return call;
  }
  refuse(row, "unknown call, got '" + std::string(name) + "', expected one of " + names_of(kKinds));
}

// A call can be done by a schedule if it can in some group.
bool is_known_for(C call, S schedule) {
  static const Placement hosts{{0, 0, 1, 1}};
  Request r{.call = call, .size = 4};
  r.placement = &hosts;
  return is_possible(r, schedule);
}

S schedule_named(std::string_view row, C call, std::string_view name) {
  std::vector<S> known;
  for (int code = 0; code < kSchedules; code++) {
    auto schedule = static_cast<S>(code);
    if (!is_known_for(call, schedule)) continue;
    if (name == name_of(schedule)) return schedule;
    known.push_back(schedule);
  }
  refuse(row, "unknown schedule, got '" + std::string(name) + "', expected one of " + names_of(known));
}

// What follows `mark`, taken off the end of `text`.
std::string_view cut(std::string_view& text, char mark) {
  size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  std::string_view rest = text.substr(at + 1);
  text = text.substr(0, at);
  return rest;
}

ChoiceRow parse_row(std::string_view row) {
  ChoiceRow made;
  std::string_view text = row, schedule = cut(text, '='), bytes = cut(text, ':'), sizes = cut(text, '@');
  made.call = call_named(row, text);
  made.schedule = schedule_named(row, made.call, schedule);
  if (!bytes.empty()) made.max_bytes = number<uint64_t>(row, bytes);
  if (sizes.empty()) return made;
  bool is_range = sizes.find('-') != std::string_view::npos;
  const std::string all_sizes(sizes);
  std::string_view upper = cut(sizes, '-');
  made.min_size = made.max_size = number<int>(row, sizes);
  if (is_range) made.max_size = upper.empty() ? kAny : number<int>(row, upper);
  if (made.min_size < 1 || made.max_size < made.min_size)
    refuse(row, "no sizes of a group, got '" + all_sizes + "', expected N, N-M or N- with 1 <= N <= M");
  return made;
}

std::string to_text(const ChoiceRow& row) {
  std::string text = name_of(row.call);
  if (row.min_size > 1 || row.max_size < kAny) {
    text += "@" + std::to_string(row.min_size);
    if (row.max_size != row.min_size) text += "-";
    if (row.max_size != row.min_size && row.max_size < kAny) text += std::to_string(row.max_size);
  }
  if (row.max_bytes < kAll) text += ":" + std::to_string(row.max_bytes);
  return text + "=" + name_of(row.schedule);
}

}  // namespace

Choices Choices::parse(const std::string& text) {
  Choices made;
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view others = cut(rest, ',');
    made.rows_.push_back(parse_row(rest));
    rest = others;
  }
  return made;
}

std::string Choices::text() const {
  std::string all;
  for (const ChoiceRow& row : rows_) all += (all.empty() ? "" : ",") + to_text(row);
  return all;
}

Choices Choices::before(const Choices& others) const {
  Choices joined(rows_);
  joined.rows_.insert(joined.rows_.end(), others.rows_.begin(), others.rows_.end());
  return joined;
}

Choices Choices::of(int size, const std::vector<Timing>& timings) {
  std::map<std::pair<C, uint64_t>, Timing> best;
  for (const Timing& each : timings) {
    auto [at, is_new] = best.insert({{kind_of(each.call), each.n_bytes}, each});
    if (!is_new && each.seconds < at->second.seconds) at->second = each;
  }
  Choices made;
  for (auto& [key, timing] : best) {
    ChoiceRow row{key.first, size, size, key.second, timing.schedule};
    bool continues = !made.rows_.empty() && made.rows_.back().call == row.call &&
                     made.rows_.back().schedule == row.schedule;
    if (continues) {
      made.rows_.back().max_bytes = row.max_bytes;
    } else {
      made.rows_.push_back(row);
    }
  }
  return made;
}

Schedule choose(const Request& r) {
  if (r.size == 1) return S::kLocal;
  if (r.topology == Topology::kNeighbours) return S::kRing;
  if (r.choices) {
    if (const ChoiceRow* row = first_fit(r.choices->rows(), r)) return row->schedule;
  }
  const ChoiceRow* row = first_fit(built_in(r), r);
  return (row ? row : first_fit(kElse, r))->schedule;
}

}  // namespace jobkit
