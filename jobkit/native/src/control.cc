#include "control.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "bytes.h"

namespace jobkit {
namespace {

constexpr uint16_t kControlMagic = 0x434a;  // "JC"
constexpr size_t kControlHeader = 8;

std::string encode_failure(const Failure& failure) {
  uint8_t head[12];
  ByteWriter(head).put<int32_t>(failure.origin).put<int32_t>(failure.culprit).put<int32_t>(failure.teller);
  return std::string(reinterpret_cast<char*>(head), sizeof head) + failure.text;
}

bool decode_failure(const std::string& body, Failure& failure) {
  if (body.size() < 12) return false;
  ByteReader reader(reinterpret_cast<const uint8_t*>(body.data()));
  failure.origin = reader.get<int32_t>();
  failure.culprit = reader.get<int32_t>();
  failure.teller = reader.get<int32_t>();
  failure.text = body.substr(12);
  return true;
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

Control::Control(std::vector<Fd> sockets, bool forward, ControlObserver& observer)
    : peers_(sockets.size()), forward_(forward), observer_(observer) {
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

void Control::leave(const std::string& text) { send_all(control_frame(ControlKind::kLeave, text), kNobody); }

void Control::ask(int peer) { send_one(peer, control_frame(ControlKind::kAsk, "")); }

void Control::send_one(int index, const std::string& frame) {
  bool all_out = true;
  {
    std::lock_guard lock(mutex_);
    Peer& peer = peers_[index];
    if (!peer.socket) return;
    peer.out += frame;
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
  while (!peer.out.empty()) {
    ssize_t n = ::send(peer.socket.get(), peer.out.data(), peer.out.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) {
      peer.out.clear();
      break;
    }
    peer.out.erase(0, static_cast<size_t>(n));
  }
  return true;
}

void Control::flush(Deadline deadline) {
  for (bool empty = false; !empty && !deadline.passed();) {
    {
      std::lock_guard lock(mutex_);
      empty = true;
      for (Peer& peer : peers_) empty &= !peer.socket || peer.out.empty();
    }
    if (!empty) std::this_thread::sleep_for(milliseconds(1));
  }
}

void Control::run() {
  std::vector<pollfd> watched;
  std::vector<int> owners;
  while (!stopping_) {
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
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    char bytes[64];
    if (watched[0].revents) (void)!::read(wake_reader_.get(), bytes, sizeof bytes);
    for (size_t i = 1; i < watched.size(); i++) {
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
  char bytes[4096];
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
  Failure failure;
  if (kind == ControlKind::kFailure && decode_failure(body, failure)) {
    bool news = observer_.failed(failure);
    if (news && forward_) send_all(control_frame(kind, body), index);
  } else if (kind == ControlKind::kLeave) {
    peers_[index].left = true;
    observer_.left(index, body);
  } else if (kind == ControlKind::kAsk) {
    send_one(index, control_frame(ControlKind::kAnswer, observer_.doing()));
  } else if (kind == ControlKind::kAnswer) {
    observer_.answered(index, body);
  }
}

void Control::end(int index, const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    peers_[index].socket.close();
    peers_[index].out.clear();
  }
  if (!peers_[index].left) observer_.gone(index, reason);
}

}  // namespace jobkit
