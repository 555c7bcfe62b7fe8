#include "rounds.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "bytes.h"
#include "control.h"
#include "error.h"

namespace jobkit {
namespace {

// Of a control message: magic, kind, zero, bytes.
constexpr size_t kHead = 8;
constexpr size_t kSizeAt = 4;

const uint8_t* bytes_of(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

}  // namespace

// --- streams ---

std::optional<std::string> RoundStream::take() {
  for (;;) {
    size_t wanted = kHead;
    if (in_.size() >= kHead) wanted += ByteReader(bytes_of(in_) + kSizeAt).get<uint32_t>();
    if (wanted > kHead + kMaxControlBytes)
      throw Error(name_ + " sent something that is not a control message");
    if (in_.size() == wanted) break;
    char bytes[4096];
    ssize_t n = ::recv(socket_->get(), bytes, std::min(sizeof bytes, wanted - in_.size()), 0);
    if (n < 0 && would_block(errno)) return std::nullopt;
    if (n <= 0) {
      throw Error(name_ + " left while the ranks met: " +
                      (n == 0 ? "its connections were closed" : system_text(errno)),
                  peer_);
    }
    in_.append(bytes, static_cast<size_t>(n));
  }
  ControlKind kind;
  std::string message;
  if (take_control_frame(in_, kind, message) != 1 || kind != ControlKind::kTable)
    throw Error(name_ + " sent something else than the table of ranks");
  return message;
}

void RoundStream::put(const std::string& message) { out_ += control_frame(ControlKind::kTable, message); }

bool RoundStream::flush() {
  while (!out_.empty()) {
    ssize_t n = ::send(socket_->get(), out_.data(), out_.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) throw Error(name_ + " left while the ranks met: " + system_text(errno), peer_);
    out_.erase(0, static_cast<size_t>(n));
  }
  return true;
}

// --- rounds ---

bool Round::is_complete() const {
  return std::all_of(all_.begin(), all_.end(), [](auto& each) { return each.has_value(); });
}

std::vector<int> Round::missing() const {
  std::vector<int> ranks;
  for (size_t p = 0; p < all_.size(); p++) {
    if (!all_[p]) ranks.push_back(static_cast<int>(p));
  }
  return ranks;
}

std::vector<std::string> Round::messages() {
  std::vector<std::string> taken;
  for (auto& each : all_) taken.push_back(std::move(each.value()));
  return taken;
}

// --- round the ring: a message travels behind the number of the rank that it is of ---

RingRound::RingRound(int rank, int size, const std::string& own, RoundStream left, RoundStream right)
    : Round(rank, size, own), left_(std::move(left)), right_(std::move(right)) {
  pass_on(rank);
}

void RingRound::pass_on(int of) {
  std::string message(sizeof(int32_t), 0);
  ByteWriter(reinterpret_cast<uint8_t*>(message.data())).put<int32_t>(of);
  right_.put(message + *all_[of]);
}

bool RingRound::advance() {
  const int size = static_cast<int>(all_.size()), right = (rank_ + 1) % size;
  while (!is_complete()) {
    std::optional<std::string> message = left_.take();
    if (!message) break;
    if (message->size() < sizeof(int32_t))
      throw Error(left_.name() + " sent something else than the table of ranks");
    int of = ByteReader(bytes_of(*message)).get<int32_t>();
    if (of < 0 || of >= size) throw Error(left_.name() + " sent an entry of a rank that does not exist");
    all_[of] = message->substr(sizeof(int32_t));
    if (of != right) pass_on(of);
  }
  bool passed_on = right_.flush();
  watched_ = {left_.watch(POLLIN)};
  if (!passed_on) watched_.push_back(right_.watch(POLLOUT));
  return is_complete() && passed_on;
}

// --- through rank 0 ---

StarRound::StarRound(int rank, int size, const std::string& own, std::vector<RoundStream> streams)
    : Round(rank, size, own), streams_(std::move(streams)) {
  if (rank_ != 0) streams_[0].put(own);
}

bool StarRound::advance() {
  watched_.clear();
  bool is_here = rank_ == 0 ? gather() : receive(), is_out = true;
  for (RoundStream& each : streams_) {
    if (each.flush()) continue;
    is_out = false;
    watched_.push_back(each.watch(POLLOUT));
  }
  return is_here && is_out;
}

// On rank 0.
bool StarRound::gather() {
  const size_t n = all_[0]->size();
  for (size_t p = 1; p < all_.size(); p++) {
    RoundStream& stream = streams_[p - 1];
    if (!all_[p]) all_[p] = stream.take();
    if (!all_[p]) {
      watched_.push_back(stream.watch(POLLIN));
    } else if (all_[p]->size() != n) {
      throw Error(stream.name() + " sent a matrix of another size");
    }
  }
  if (!is_complete()) return false;
  if (!handed_out_) {
    std::string joined;
    for (auto& each : all_) joined += *each;
    for (RoundStream& each : streams_) each.put(joined);
    handed_out_ = true;
  }
  return true;
}

// On all others.
bool StarRound::receive() {
  if (is_complete()) return true;
  const size_t n = all_[rank_]->size();
  std::optional<std::string> joined = streams_[0].take();
  if (!joined) {
    watched_.push_back(streams_[0].watch(POLLIN));
    return false;
  }
  if (joined->size() != n * all_.size()) throw Error(streams_[0].name() + " sent a matrix of another size");
  for (size_t p = 0; p < all_.size(); p++) all_[p] = joined->substr(p * n, n);
  return true;
}

// --- between pairs ---

PairRound::PairRound(int rank, int size, std::vector<std::pair<RoundStream, std::string>> streams)
    : Round(rank, size, "") {
  for (auto& each : all_) each = "";
  for (auto& [stream, message] : streams) {
    all_[stream.peer()].reset();
    streams_.push_back(std::move(stream));
    streams_.back().put(message);
  }
}

bool PairRound::advance() {
  watched_.clear();
  bool is_over = true;
  for (RoundStream& each : streams_) {
    const bool is_out = each.flush();
    std::optional<std::string>& theirs = all_[each.peer()];
    if (!theirs) theirs = each.take();
    const bool is_here = theirs.has_value();
    is_over &= is_out && is_here;
    const short events = static_cast<short>((is_out ? 0 : POLLOUT) | (is_here ? 0 : POLLIN));
    if (events) watched_.push_back(each.watch(events));
  }
  return is_over;
}

}  // namespace jobkit
