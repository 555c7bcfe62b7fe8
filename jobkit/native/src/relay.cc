#include "relay.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "bytes.h"

namespace jobkit {
namespace {

// Bytes under way in one direction of a pair, and in one frame.
constexpr size_t kWindow = 256 << 10;
constexpr size_t kPiece = 32 << 10;

}  // namespace

Routes::Routes(int rank, const std::vector<std::vector<uint8_t>>& direct) : rank_(rank) {
  int n = static_cast<int>(direct.size());
  next_.assign(n, std::vector<int>(n, kNobody));
  for (int to = 0; to < n; to++) {
    std::vector<int>& next = next_[to];
    std::deque<int> found{to};
    next[to] = to;
    for (; !found.empty(); found.pop_front()) {
      for (int from = 0; from < n; from++) {
        if (next[from] != kNobody || !direct[from][found.front()]) continue;
        next[from] = found.front();
        found.push_back(from);
      }
    }
  }
}

// The ranks between two, on the way from the one to the other.
std::vector<int> Routes::way(int from, int to) const {
  std::vector<int> ranks;
  if (next_from(from, to) == kNobody) return ranks;
  for (int at = next_from(from, to); at != to; at = next_from(at, to)) ranks.push_back(at);
  return ranks;
}

std::set<int> Routes::between(int a, int b) const {
  std::vector<int> there = way(a, b), back = way(b, a);
  std::set<int> ranks(there.begin(), there.end());
  ranks.insert(back.begin(), back.end());
  return ranks;
}

bool Routes::any_relayed() const {
  for (size_t to = 0; to < next_.size(); to++) {
    for (size_t from = 0; from < next_.size(); from++) {
      if (from != to && next_[to][from] != static_cast<int>(to)) return true;
    }
  }
  return false;
}

std::set<std::pair<int, int>> Routes::passing() const {
  std::set<std::pair<int, int>> pairs;
  int n = static_cast<int>(next_.size());
  for (int from = 0; from < n; from++) {
    for (int to = 0; to < n; to++) {
      std::vector<int> ranks = way(from, to);
      if (std::find(ranks.begin(), ranks.end(), rank_) != ranks.end()) pairs.insert({from, to});
    }
  }
  return pairs;
}

std::pair<Fd, Fd> make_stream() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw Error("socketpair: " + system_text(errno));
  for (int each : ends) {
    ::fcntl(each, F_SETFD, FD_CLOEXEC);
    ::fcntl(each, F_SETFL, O_NONBLOCK);
  }
  return {Fd(ends[0]), Fd(ends[1])};
}

Relay::Relay(std::vector<Fd> ends, Give give) : ends_(ends.size()), give_(std::move(give)) {
  for (size_t p = 0; p < ends.size(); p++) {
    ends_[p].socket = std::move(ends[p]);
    ends_[p].credit = kWindow;
  }
}

void Relay::watch(std::vector<pollfd>& watched, std::vector<int>& owners) const {
  for (size_t p = 0; p < ends_.size(); p++) {
    const End& end = ends_[p];
    short events = (end.reads && end.credit > 0 ? POLLIN : 0) | (end.pending.empty() ? 0 : POLLOUT);
    if (!end.socket || events == 0) continue;
    watched.push_back({end.socket.get(), events, 0});
    owners.push_back(static_cast<int>(p));
  }
}

void Relay::ready(int peer, short events) {
  if (events & ~POLLIN) write_out(peer);
  if (events & ~POLLOUT) read_some(peer);
}

void Relay::read_some(int peer) {
  End& end = ends_[peer];
  if (!end.reads || end.credit == 0 || !end.socket) return;
  std::string bytes(std::min(kPiece, end.credit), 0);
  ssize_t n = ::recv(end.socket.get(), bytes.data(), bytes.size(), 0);
  if (n < 0 && would_block(errno)) return;
  if (n <= 0) {
    end.reads = false;
    return give_(peer, Kind::kEnd, "");
  }
  bytes.resize(static_cast<size_t>(n));
  end.credit -= bytes.size();
  give_(peer, Kind::kData, bytes);
}

void Relay::write_out(int peer) {
  End& end = ends_[peer];
  if (!end.socket) return;
  size_t n_written = 0;
  while (n_written < end.pending.size()) {
    ssize_t n =
        ::send(end.socket.get(), end.pending.data() + n_written, end.pending.size() - n_written, kSendFlags);
    if (n < 0 && would_block(errno)) break;
    if (n < 0) n = static_cast<ssize_t>(end.pending.size() - n_written);  // the mesh reads no more
    n_written += static_cast<size_t>(n);
  }
  end.pending.erase(0, n_written);
  if (n_written > 0) {
    std::string body(4, 0);
    ByteWriter(reinterpret_cast<uint8_t*>(body.data())).put(static_cast<uint32_t>(n_written));
    give_(peer, Kind::kCredit, body);
  }
  if (end.ended && end.pending.empty()) ::shutdown(end.socket.get(), SHUT_WR);
}

bool Relay::take(int from, Kind kind, const std::string& body) {
  if (from < 0 || from >= static_cast<int>(ends_.size())) return false;
  End& end = ends_[from];
  if (!end.socket) return true;  // closed in the meantime
  if (kind == Kind::kCredit) {
    if (body.size() != 4) return false;
    end.credit += ByteReader(reinterpret_cast<const uint8_t*>(body.data())).get<uint32_t>();
    return end.credit <= kWindow;
  }
  if (kind == Kind::kEnd) end.ended = true;
  if (kind == Kind::kData && end.pending.size() + body.size() > kWindow) return false;
  if (kind == Kind::kData) end.pending += body;
  write_out(from);
  return true;
}

void Relay::cut(int peer) {
  End& end = ends_[peer];
  if (!end.socket) return;
  end.reads = false;
  end.ended = true;
  write_out(peer);
}

bool Relay::is_drained() const {
  return std::none_of(ends_.begin(), ends_.end(), [](const End& end) { return end.socket && end.reads; });
}

}  // namespace jobkit
