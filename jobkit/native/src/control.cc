#include "control.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "bytes.h"

namespace jobkit {
namespace {

constexpr uint16_t kControlMagic = 0x434a;  // "JC"
constexpr size_t kControlHeader = 8;
constexpr size_t kFailureHead = 16;

std::string encode_failure(const Failure& failure) {
  uint8_t head[kFailureHead];
  ByteWriter(head)
      .put<int32_t>(failure.origin)
      .put<int32_t>(failure.culprit)
      .put<int32_t>(failure.teller)
      .put<uint32_t>(failure.age);
  return std::string(reinterpret_cast<char*>(head), sizeof head) + failure.text;
}

bool decode_failure(const std::string& body, Failure& failure) {
  if (body.size() < kFailureHead) return false;
  ByteReader reader(reinterpret_cast<const uint8_t*>(body.data()));
  failure.origin = reader.get<int32_t>();
  failure.culprit = reader.get<int32_t>();
  failure.teller = reader.get<int32_t>();
  failure.age = reader.get<uint32_t>();
  failure.text = body.substr(kFailureHead);
  return true;
}

// A rank, as the bytes of a frame.
std::string number(int rank) {
  std::string bytes(4, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(bytes.data())).put(static_cast<int32_t>(rank));
  return bytes;
}

int number_at(const std::string& body, size_t offset) {
  if (body.size() < offset + 4) return kNobody;
  return ByteReader(reinterpret_cast<const uint8_t*>(body.data()) + offset).get<int32_t>();
}

bool is_bulk(ControlKind kind) { return kind >= ControlKind::kData; }

ControlKind kind_of(Relay::Kind kind) {
  return static_cast<ControlKind>(static_cast<int>(ControlKind::kData) + static_cast<int>(kind));
}

// Signals are for the program's own threads.
std::thread start_without_signals(void (*body)(void*), void* argument) {
  sigset_t all, previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  std::thread thread(body, argument);
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  return thread;
}

}  // namespace

std::string control_frame(ControlKind kind, const std::string& body) {
  uint8_t head[kControlHeader];
  ByteWriter(head)
      .put(kControlMagic)
      .put(static_cast<uint8_t>(kind))
      .put(uint8_t{0})
      .put(static_cast<uint32_t>(body.size()));
  return std::string(reinterpret_cast<char*>(head), sizeof head) + body;
}

int take_control_frame(std::string& bytes, ControlKind& kind, std::string& body) {
  if (bytes.size() < kControlHeader) return 0;
  ByteReader reader(reinterpret_cast<const uint8_t*>(bytes.data()));
  auto magic = reader.get<uint16_t>();
  kind = static_cast<ControlKind>(reader.get<uint8_t>());
  reader.get<uint8_t>();
  size_t n_bytes = reader.get<uint32_t>();
  if (magic != kControlMagic || n_bytes > kMaxControlBytes) return -1;
  if (bytes.size() < kControlHeader + n_bytes) return 0;
  body = bytes.substr(kControlHeader, n_bytes);
  bytes.erase(0, kControlHeader + n_bytes);
  return 1;
}

Control::Control(int rank, std::vector<Fd> sockets, const Routes& routes, std::vector<Fd> relayed,
                 ControlObserver& observer)
    : peers_(sockets.size()),
      rank_(rank),
      routes_(routes),
      forwards_(routes.any_relayed()),
      relay_(std::move(relayed),
             [this](int to, Relay::Kind kind, const std::string& body) { send_to(to, kind_of(kind), body); }),
      observer_(observer) {
  if (forwards_) passing_ = routes.passing();
  for (size_t p = 0; p < sockets.size(); p++) peers_[p].socket = std::move(sockets[p]);
  std::tie(wake_reader_, wake_writer_) = make_pipe();
  thread_ = start_without_signals([](void* self) { static_cast<Control*>(self)->run(); }, this);
}

Control::~Control() {
  stopping_ = true;
  wake();
  thread_.join();
}

void Control::wake() {
  // A full pipe wakes just as well.
  char byte = 0;
  (void)!::write(wake_writer_.get(), &byte, 1);
}

void Control::tell(const Failure& failure) {
  send_all(control_frame(ControlKind::kFailure, encode_failure(failure)), kNobody);
}

void Control::leave(const std::string& text) {
  send_all(control_frame(ControlKind::kLeave, number(rank_) + text), kNobody);
}

void Control::ask(int peer) { send_to(peer, ControlKind::kAsk, ""); }

void Control::propose(int peer, const std::string& proposal) {
  send_to(peer, ControlKind::kProposal, proposal);
}

// To a rank that may be reached through others only.
void Control::send_to(int rank, ControlKind kind, const std::string& text) {
  int index = routes_.next(rank);
  if (index == kNobody) return;
  send_one(index, control_frame(kind, number(rank_) + number(rank) + text), is_bulk(kind));
}

void Control::send_one(int index, const std::string& frame, bool is_bulk) {
  bool all_out = true;
  {
    std::lock_guard lock(mutex_);
    Peer& peer = peers_[index];
    if (!peer.socket) return;
    if (is_bulk) {
      peer.bulk.push_back(frame);
    } else {
      peer.out += frame;
    }
    all_out = write_out(peer);
  }
  if (!all_out) wake();
}

void Control::send_all(const std::string& frame, int except) {
  bool all_out = true;
  {
    std::lock_guard lock(mutex_);
    for (size_t p = 0; p < peers_.size(); p++) {
      if (!peers_[p].socket || static_cast<int>(p) == except) continue;
      peers_[p].out += frame;
      all_out &= write_out(peers_[p]);
    }
  }
  if (!all_out) wake();
}

// True when nothing is left to write. An error is left to the reader, which sees it too.
bool Control::write_out(Peer& peer) {
  for (;;) {
    if (peer.out.empty()) {
      if (peer.bulk.empty()) return true;
      peer.out = std::move(peer.bulk.front());
      peer.bulk.pop_front();
    }
    ssize_t n = ::send(peer.socket.get(), peer.out.data(), peer.out.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) {
      peer.out.clear();
      peer.bulk.clear();
      return true;
    }
    peer.out.erase(0, static_cast<size_t>(n));
  }
}

void Control::flush(Deadline deadline, bool serve) {
  auto is_flushed = [&] {
    if (!is_drained_ || (serve && is_needed_)) return false;
    std::lock_guard lock(mutex_);
    return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) {
      return !peer.socket || (peer.out.empty() && peer.bulk.empty());
    });
  };
  while (!is_flushed() && !deadline.passed()) std::this_thread::sleep_for(milliseconds(1));
}

void Control::run() {
  std::vector<pollfd> watched;
  std::vector<int> owners;
  while (!stopping_) {
    is_needed_ = !passing_.empty();
    is_drained_ = relay_.is_drained();
    watched.assign(1, {wake_reader_.get(), POLLIN, 0});
    owners.assign(1, kNobody);
    {
      std::lock_guard lock(mutex_);
      for (size_t p = 0; p < peers_.size(); p++) {
        if (!peers_[p].socket) continue;
        short events = POLLIN;
        if (!peers_[p].out.empty()) events |= POLLOUT;
        watched.push_back({peers_[p].socket.get(), events, 0});
        owners.push_back(static_cast<int>(p));
      }
    }
    size_t n_peers = watched.size();
    relay_.watch(watched, owners);
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    char bytes[64];
    if (watched[0].revents) (void)!::read(wake_reader_.get(), bytes, sizeof bytes);
    for (size_t i = 1; i < watched.size(); i++) {
      if (!watched[i].revents) continue;
      if (i >= n_peers) {
        relay_.ready(owners[i], watched[i].revents);
        continue;
      }
      if (watched[i].revents & POLLOUT) {
        std::lock_guard lock(mutex_);
        write_out(peers_[owners[i]]);
      }
      if (watched[i].revents & ~POLLOUT) read_in(owners[i]);
    }
  }
}

void Control::read_in(int index) {
  Peer& peer = peers_[index];
  char bytes[64 << 10];
  ssize_t n = ::recv(peer.socket.get(), bytes, sizeof bytes, 0);
  if (n < 0 && would_block(errno)) return;
  if (n <= 0) return end(index, n == 0 ? "its connections were closed" : system_text(errno));
  peer.in.append(bytes, static_cast<size_t>(n));
  ControlKind kind;
  std::string body;
  int status;
  while ((status = take_control_frame(peer.in, kind, body)) == 1) handle(index, kind, body);
  if (status < 0) end(index, "it sent something that is not a control message");
}

void Control::handle(int index, ControlKind kind, const std::string& body) {
  if (kind >= ControlKind::kAsk) return route(index, kind, body);
  hear_news(index, kind, body);
}

// News of a rank, from one that heard of it before this one.
void Control::hear_news(int index, ControlKind kind, const std::string& body) {
  Failure failure;
  bool news = false;
  if (kind == ControlKind::kFailure && decode_failure(body, failure)) {
    news = observer_.failed(failure);
  } else if (int rank = number_at(body, 0); rank >= 0 && rank < static_cast<int>(peers_.size())) {
    if (kind == ControlKind::kLeave && !peers_[rank].left) {
      news = peers_[rank].left = true;
      observer_.left(rank, body.substr(4));
    } else if (kind == ControlKind::kGone && !peers_[rank].gone) {
      return lose(rank, body.substr(4));
    }
  }
  if (news && forwards_) send_all(control_frame(kind, body), index);
}

// A frame for one rank: passes it on, if that is another one.
void Control::route(int index, ControlKind kind, const std::string& body) {
  int from = number_at(body, 0), to = number_at(body, 4), n = static_cast<int>(peers_.size());
  if (from < 0 || from >= n || to < 0 || to >= n) return end(index, "it sent a message for nobody");
  if (to == rank_) return receive(from, kind, body.substr(8));
  if (kind == ControlKind::kEnd) passing_.erase({from, to});
  if (int next = routes_.next(to); next != kNobody && next != index)
    send_one(next, control_frame(kind, body), is_bulk(kind));
}

void Control::receive(int from, ControlKind kind, const std::string& text) {
  if (kind == ControlKind::kAsk) {
    send_to(from, ControlKind::kAnswer, observer_.doing());
  } else if (kind == ControlKind::kAnswer) {
    observer_.answered(from, text);
  } else if (kind == ControlKind::kProposal) {
    if (std::string answer = observer_.proposed(from, text); !answer.empty()) propose(from, answer);
  } else if (is_bulk(kind)) {
    auto what = static_cast<Relay::Kind>(static_cast<int>(kind) - static_cast<int>(ControlKind::kData));
    if (!relay_.take(from, what, text)) relay_.cut(from);
  }
}

void Control::end(int index, const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    peers_[index].socket.close();
    peers_[index].out.clear();
    peers_[index].bulk.clear();
  }
  if (!peers_[index].gone) lose(index, reason);
}

// A rank is not there any more: those that know it through this one hear of it, and the messages that passed
// through it come to an end. Of one that left in an orderly way all arrives that it sent.
void Control::lose(int rank, const std::string& reason) {
  peers_[rank].gone = true;
  observer_.gone(rank, reason);
  if (!forwards_) return;
  send_all(control_frame(ControlKind::kGone, number(rank) + reason), kNobody);
  std::erase_if(passing_, [&](const std::pair<int, int>& pair) {
    return pair.first == rank || pair.second == rank || routes_.between(pair.first, pair.second).count(rank);
  });
  for (int p = 0; p < static_cast<int>(peers_.size()); p++) {
    if (!routes_.is_relayed(p)) continue;
    bool is_cut = routes_.between(p).count(rank) > 0;
    if (is_cut && !peers_[p].gone) observer_.cut_off(p, rank);
    if (is_cut || (p == rank && !peers_[p].left)) relay_.cut(p);
  }
}

}  // namespace jobkit
