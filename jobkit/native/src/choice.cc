#include "choice.h"

#include <algorithm>
#include <charconv>
#include <cmath>
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
// to take in. all_to_all over TCP, blocks of 4 and of 256 bytes, microseconds: with 8 ranks 1900 and 1690
// direct, 1460 and 1570 by Bruck; with 16 ranks 10600 and 8100, 4600 and 6800. From 1 KiB on direct is as
// fast.
const std::vector<ChoiceRow> kCrowded{
    {C::kAllSum, 2, 2, 1 << 20, S::kOneShot},
    {C::kAllSum, 3, 3, 16 << 10, S::kOneShot},
    {C::kAllSum, 4, kAny, 32 << 10, S::kRecursiveDoubling},
    {C::kAllSum, 4, 4, 1 << 20, S::kRabenseifner},
    {C::kAllSum, 8, 8, 128 << 10, S::kRabenseifner},
    {C::kAllGather, 4, kAny, 1 << 10, S::kBruck},
    {C::kBroadcast, 2, kAny, kAll, S::kDirect},
    {C::kAllToAll, 8, kAny, 256, S::kBruck},
    {C::kBarrier, 4, kAny, kAll, S::kBruck},
};

// Ranks on several hosts, some of them sharing memory: bytes between hosts are dear.
const std::vector<ChoiceRow> kBetweenHosts{
    {C::kAllSum, 4, kAny, 64 << 10, S::kRecursiveDoubling},
    {C::kAllSum, 4, kAny, kAll, S::kTwoLevel},
    {C::kBroadcast, 4, kAny, kAll, S::kTwoLevel},
};

// RDMA cables: what a message costs is the device's, so that even where ranks outnumber processors one round
// of several messages is better than several rounds.
const std::vector<ChoiceRow> kOverCables{
    {C::kAllSum, 2, 8, 16 << 10, S::kOneShot},
    {C::kBroadcast, 2, 8, 16 << 10, S::kDirect},
    {C::kBarrier, 2, 8, kAll, S::kDirect},
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
  if (r.links == LinkClass::kVerbs) return kOverCables;
  return r.crowded ? kCrowded : none;
}

bool fits(const ChoiceRow& row, const Request& r) {
  if (row.call != kind_of(r.call) || r.size < row.min_size || r.size > row.max_size) return false;
  const uint64_t n = r.n_bytes_per_element;
  return r.count <= row.max_bytes / n && r.count >= row.min_bytes / n + (row.min_bytes % n > 0) &&
         is_possible(r, row.schedule);
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

// "N", "N-M" or "N-"; false for the first.
template <typename Number>
bool parse_range(std::string_view row, std::string_view text, Number& first, Number& last) {
  bool is_range = text.find('-') != std::string_view::npos;
  std::string_view upper = cut(text, '-');
  first = number<Number>(row, text);
  if (is_range && !upper.empty()) last = number<Number>(row, upper);
  return is_range;
}

ChoiceRow parse_row(std::string_view row) {
  ChoiceRow made;
  std::string_view text = row, schedule = cut(text, '='), bytes = cut(text, ':'), sizes = cut(text, '@');
  made.call = call_named(row, text);
  made.schedule = schedule_named(row, made.call, schedule);
  if (!bytes.empty() && !parse_range(row, bytes, made.min_bytes, made.max_bytes)) {
    made.max_bytes = made.min_bytes;
    made.min_bytes = 0;
  }
  if (made.max_bytes < made.min_bytes)
    refuse(row, "no numbers of bytes, got '" + std::string(bytes) + "', expected N, N-M or N- with N <= M");
  if (sizes.empty()) return made;
  if (!parse_range(row, sizes, made.min_size, made.max_size)) made.max_size = made.min_size;
  if (made.min_size < 1 || made.max_size < made.min_size)
    refuse(row,
           "no sizes of a group, got '" + std::string(sizes) + "', expected N, N-M or N- with 1 <= N <= M");
  return made;
}

std::string to_text(const ChoiceRow& row) {
  std::string text = name_of(row.call);
  if (row.min_size > 1 || row.max_size < kAny) {
    text += "@" + std::to_string(row.min_size);
    if (row.max_size != row.min_size) text += "-";
    if (row.max_size != row.min_size && row.max_size < kAny) text += std::to_string(row.max_size);
  }
  if (row.min_bytes > 0 || row.max_bytes < kAll) {
    text += ":";
    if (row.min_bytes > 0) text += std::to_string(row.min_bytes) + "-";
    if (row.max_bytes < kAll) text += std::to_string(row.max_bytes);
  }
  return text + "=" + name_of(row.schedule);
}

// --- what was measured ---

// How much faster another schedule has to be than the built-in one, in its best time and in its median: what
// else ran on the machine was seen to lengthen either by half.
constexpr double kClearly = 1.15;

double median(std::vector<double> seconds) {
  auto middle = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

bool is_clearly_faster(const std::vector<double>& a, const std::vector<double>& b) {
  return median(a) * kClearly <= median(b) &&
         *std::min_element(a.begin(), a.end()) * kClearly <= *std::min_element(b.begin(), b.end());
}

// kLocal where none is.
S clearly_fastest(const std::map<S, std::vector<double>>& timings, S built_in) {
  S best = S::kLocal;
  auto standing = timings.find(built_in);
  if (standing == timings.end()) return best;
  for (auto& [schedule, seconds] : timings) {
    if (!is_clearly_faster(seconds, standing->second)) continue;
    if (best == S::kLocal || median(seconds) < median(timings.at(best))) best = schedule;
  }
  return best;
}

Request of_bytes(Request like, uint64_t n_bytes) {
  like.count = n_bytes / like.n_bytes_per_element;
  like.choices = nullptr;
  return like;
}

// Half-way between two sizes, as a factor.
uint64_t middle(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(std::sqrt(static_cast<double>(a) * static_cast<double>(b)));
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

Choices Choices::of(const Request& like, const std::vector<Timing>& timings) {
  std::map<uint64_t, std::map<S, std::vector<double>>> sizes;
  for (const Timing& each : timings) sizes[each.n_bytes][each.schedule].push_back(each.seconds);
  Choices made;
  uint64_t first = 0;
  for (auto at = sizes.begin(); at != sizes.end(); at++) {
    auto next = std::next(at);
    const uint64_t last = next == sizes.end() ? at->first : middle(at->first, next->first);
    const S best = clearly_fastest(at->second, choose(of_bytes(like, at->first)));
    if (best != S::kLocal)
      made.rows_.push_back({kind_of(like.call), like.size, like.size, last, best, first});
    first = last + 1;
  }
  return made;
}

bool keeps_tree_order(Schedule schedule) {
  return std::find(std::begin(kTreeOrder), std::end(kTreeOrder), schedule) != std::end(kTreeOrder);
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
