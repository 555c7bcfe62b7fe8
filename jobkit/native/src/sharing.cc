#include "sharing.h"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>

#include "bytes.h"
#include "hash.h"

namespace jobkit {
namespace {

// The lowest rank does without shared memory when none of them has got any further for so long: one that
// may not use local sockets never comes.
constexpr double kPatienceSeconds = 10;
// A caller at the door that has not said hello by then is no rank.
constexpr double kHelloSeconds = 5;
// Callers that have not said hello, beyond as many as there are ranks; the oldest makes room.
constexpr size_t kMaxStrangers = 64;
// Offers that are under way: the system bounds the descriptors that nobody has received yet.
constexpr size_t kMaxInFlight = 512;
// A message carries at most 253 (Linux's SCM_MAX_FD).
constexpr size_t kMaxDescriptors = 250;

constexpr uint32_t kMagic = 0x4d534b4a;  // "JKSM"
constexpr size_t kName = 16, kSecret = 16;
constexpr size_t kHello = 4 + 4 + kSecret;
constexpr size_t kOffer = 4 + 4 + 4;  // magic, ranks, descriptors with this message
constexpr char kAgreed = 'y', kRefused = 'n';

struct Place {
  sockaddr_un address{};
  socklen_t n_bytes = 0;
};

// Linux: an abstract name, which vanishes with its socket. Elsewhere a file in the user's own folder.
Place place_of(const DoorKey& key) {
  std::string name = "jobkit-";
  for (size_t i = 0; i < kName; i++) {
    name += "0123456789abcdef"[key[i] >> 4];
    name += "0123456789abcdef"[key[i] & 15];
  }
  Place place;
  place.address.sun_family = AF_UNIX;
#ifdef __linux__
  std::memcpy(place.address.sun_path + 1, name.data(), name.size());
  place.n_bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
#else
  char folder[sizeof place.address.sun_path] = "/tmp/";
  ::confstr(_CS_DARWIN_USER_TEMP_DIR, folder, sizeof folder);
  name = folder + name;
  std::memcpy(place.address.sun_path, name.data(), std::min(name.size(), sizeof place.address.sun_path - 1));
  place.n_bytes = sizeof place.address;
#endif
  return place;
}

bool is_same_user(const Fd& socket) {
#ifdef __linux__
  ucred peer{};
  socklen_t n_bytes = sizeof peer;
  return ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &n_bytes) == 0 && peer.uid == ::geteuid();
#else
  uid_t user;
  gid_t group;
  return ::getpeereid(socket.get(), &user, &group) == 0 && user == ::geteuid();
#endif
}

// Sends `text` whole, with descriptors, or nothing of it. False with errno.
bool send_with(const Fd& socket, const std::string& text, const int* descriptors, size_t n) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  std::vector<uint8_t> room(CMSG_SPACE(n * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (n > 0) {
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(n * sizeof(int));
    std::memcpy(CMSG_DATA(head), descriptors, n * sizeof(int));
  }
  return ::sendmsg(socket.get(), &message, kSendFlags) == static_cast<ssize_t>(text.size());
}

// Receives up to n_bytes of text and the descriptors that came with it. As recv.
ssize_t receive_with(const Fd& socket, char* text, size_t n_bytes, std::vector<Fd>& descriptors) {
  iovec part{text, n_bytes};
  alignas(cmsghdr) uint8_t room[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
#ifdef MSG_CMSG_CLOEXEC
  ssize_t n = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
#else
  ssize_t n = ::recvmsg(socket.get(), &message, 0);
#endif
  if (n < 0) return n;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t n_here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n_here; i++) {
      int each;
      std::memcpy(&each, CMSG_DATA(head) + i * sizeof(int), sizeof each);
      descriptors.emplace_back(each);
#ifndef MSG_CMSG_CLOEXEC
      ::fcntl(each, F_SETFD, FD_CLOEXEC);
#endif
    }
  }
  return n;
}

std::string hello(int index, const DoorKey& key) {
  std::string text(kHello, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(text.data()))
      .put(kMagic)
      .put<int32_t>(index)
      .put_bytes(key.data() + kName, kSecret);
  return text;
}

// --- the lowest rank ---

class Lowest final : public Sharing {
 public:
  Lowest(int n, const DoorKey& key, Fd door) : key_(key), door_(std::move(door)), callers_(n) {
    try {
      arena_ = Arena::make(n);
    } catch (const Error& error) {
      problem_ = error.what();
    }
  }

  void advance() override {
    if (is_finished_) return;
    let_in();
    for (auto at = strangers_.begin(); at != strangers_.end();) at = hear(*at) ? ++at : strangers_.erase(at);
    size_t n_agreed = 1, n_in_flight = 0;
    for (Caller& each : callers_) {
      offer(each, n_in_flight);
      read_answer(each);
      n_agreed += each.answer == kAgreed;
      if (each.answer == kRefused && problem_.empty())
        problem_ = "another rank of the node could not use the memory";
    }
    if (problem_.empty() && patience_.passed()) problem_ = "not every rank of the node called";
    if (!problem_.empty()) return decide(false);
    if (n_agreed == callers_.size()) decide(true);
  }

  void watch(std::vector<pollfd>& watched) const override {
    if (is_finished_) return;
    watched.push_back({door_.get(), POLLIN, 0});
    for (const Stranger& each : strangers_) watched.push_back({each.socket.get(), POLLIN, 0});
    for (const Caller& each : callers_) {
      if (each.socket && each.answer == 0) watched.push_back({each.socket.get(), POLLIN, 0});
    }
  }

 private:
  struct Stranger {
    Fd socket;
    std::string in;
    Deadline until;
  };
  struct Caller {
    Fd socket;
    size_t n_offered = 0;  // descriptors
    char answer = 0;
  };

  void progress() { patience_ = Deadline::in(kPatienceSeconds); }

  void let_in() {
    while (Fd socket = accept_one(door_)) {
      if (!is_same_user(socket)) continue;
      if (strangers_.size() >= kMaxStrangers + callers_.size()) strangers_.pop_front();
      strangers_.push_back({std::move(socket), "", Deadline::in(kHelloSeconds)});
    }
  }

  // False: nothing more is expected from this one.
  bool hear(Stranger& stranger) {
    char bytes[kHello];
    ssize_t n = ::recv(stranger.socket.get(), bytes, kHello - stranger.in.size(), 0);
    if (n < 0 && would_block(errno)) return !stranger.until.passed();
    if (n <= 0) return false;
    stranger.in.append(bytes, static_cast<size_t>(n));
    if (stranger.in.size() < kHello) return true;
    ByteReader reader(reinterpret_cast<const uint8_t*>(stranger.in.data()));
    auto magic = reader.get<uint32_t>();
    auto index = reader.get<int32_t>();
    bool knows = equal_in_constant_time(stranger.in.data() + 8, key_.data() + kName, kSecret);
    if (magic != kMagic || !knows || index < 1 || index >= static_cast<int>(callers_.size())) return false;
    callers_[index] = {std::move(stranger.socket), 0, 0};
    progress();
    return false;
  }

  void offer(Caller& caller, size_t& n_in_flight) {
    if (!caller.socket || caller.answer != 0 || !arena_) return;
    size_t total = Arena::n_descriptors(static_cast<int>(callers_.size()));
    int index = static_cast<int>(&caller - callers_.data());
    std::vector<int> all;
    while (caller.n_offered < total && n_in_flight < kMaxInFlight) {
      if (all.empty()) all = arena_->descriptors_for(index);
      size_t n = std::min(total - caller.n_offered, kMaxDescriptors);
      std::string text(kOffer, 0);
      ByteWriter(reinterpret_cast<uint8_t*>(text.data()))
          .put(kMagic)
          .put(static_cast<uint32_t>(callers_.size()))
          .put(static_cast<uint32_t>(n));
      if (!send_with(caller.socket, text, all.data() + caller.n_offered, n)) {
        // ETOOMANYREFS: others of this user have many descriptors under way; there is room again soon.
        if (!would_block(errno) && errno != ETOOMANYREFS) caller.answer = kRefused;
        break;
      }
      caller.n_offered += n;
      progress();
    }
    n_in_flight += caller.n_offered;
  }

  void read_answer(Caller& caller) {
    if (!caller.socket || caller.answer != 0) return;
    char answer;
    ssize_t n = ::recv(caller.socket.get(), &answer, 1, 0);
    if (n < 0 && would_block(errno)) return;
    caller.answer = n == 1 && answer == kAgreed ? kAgreed : kRefused;
    progress();
  }

  void decide(bool all) {
    for (Caller& each : callers_) {
      if (each.socket) (void)!::send(each.socket.get(), all ? &kAgreed : &kRefused, 1, kSendFlags);
    }
    callers_.clear();
    strangers_.clear();
    door_.close();
    finish(all);
  }

  DoorKey key_;
  Fd door_;
  std::list<Stranger> strangers_;
  std::vector<Caller> callers_;  // [index]; the first is this rank
  Deadline patience_ = Deadline::in(kPatienceSeconds);
};

// --- the others ---

class Caller final : public Sharing {
 public:
  Caller(int n, int index, const DoorKey& key) : n_(n), index_(index), key_(key) {}

  void advance() override {
    if (is_finished_) return;
    if (!socket_ && !call()) return;
    while (!is_finished_ && read_some()) {
    }
  }

  void watch(std::vector<pollfd>& watched) const override {
    if (!is_finished_ && socket_) watched.push_back({socket_.get(), POLLIN, 0});
  }

 private:
  bool call() {
    Place place = place_of(key_);
    socket_ = open_socket(AF_UNIX);
    if (!socket_) return fail_to("socket");
    if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&place.address), place.n_bytes) != 0) {
      if (!would_block(errno)) return fail_to("connect to the node's lowest rank");
      // Its queue of callers is full.
      socket_.close();
      if (patience_.passed()) give_up("the node's lowest rank lets nobody in");
      return false;
    }
    if (!is_same_user(socket_)) {
      give_up("the node's lowest rank is not of this user");
      return false;
    }
    if (!send_with(socket_, hello(index_, key_), nullptr, 0))
      return fail_to("send to the node's lowest rank");
    return true;
  }

  bool fail_to(const char* verb) {
    give_up(std::string(verb) + ": " + system_text(errno));
    return false;
  }

  // The head of an offer, or the verdict. False: nothing more to read now.
  bool read_some() {
    char bytes[kOffer];
    bool wants_verdict = has_answered_;
    ssize_t n = receive_with(socket_, bytes, wants_verdict ? 1 : kOffer - in_.size(), descriptors_);
    if (n < 0 && would_block(errno)) return false;
    if (n <= 0) {
      give_up(n == 0 ? "the node's lowest rank has gone" : system_text(errno));
      return false;
    }
    if (wants_verdict) {
      finish(bytes[0] == kAgreed);
      return false;
    }
    in_.append(bytes, static_cast<size_t>(n));
    // The verdict may come before the offer: there is no memory.
    if (in_[0] == kRefused) {
      give_up("the node's lowest rank has none");
      return false;
    }
    if (in_.size() == kOffer) read_offer();
    return true;
  }

  void read_offer() {
    ByteReader reader(reinterpret_cast<const uint8_t*>(in_.data()));
    auto magic = reader.get<uint32_t>();
    auto n = reader.get<uint32_t>();
    n_announced_ += reader.get<uint32_t>();
    in_.clear();
    if (magic != kMagic || n != static_cast<uint32_t>(n_))
      return answer("it counts the node's ranks otherwise");
    if (n_announced_ < Arena::n_descriptors(n_)) return;
    try {
      arena_ = Arena::adopt(n_, index_, std::move(descriptors_));
      answer("");
    } catch (const Error& error) {
      answer(error.what());
    }
  }

  void answer(const std::string& problem) {
    has_answered_ = true;
    problem_ = problem;
    descriptors_.clear();
    char word = problem.empty() ? kAgreed : kRefused;
    if (::send(socket_.get(), &word, 1, kSendFlags) != 1) give_up("the node's lowest rank has gone");
  }

  int n_, index_;
  DoorKey key_;
  Fd socket_;
  std::string in_;
  std::vector<Fd> descriptors_;
  size_t n_announced_ = 0;
  bool has_answered_ = false;
  Deadline patience_ = Deadline::in(kPatienceSeconds);
};

}  // namespace

std::optional<Door> open_door(std::string& problem) {
  Door door;
  random_bytes(door.key.data(), door.key.size());
  Place place = place_of(door.key);
  door.listener = open_socket(AF_UNIX);
  bool open = door.listener &&
              ::bind(door.listener.get(), reinterpret_cast<sockaddr*>(&place.address), place.n_bytes) == 0 &&
              ::listen(door.listener.get(), SOMAXCONN) == 0;
  if (open) return door;
  problem = "a local socket: " + system_text(errno);
  return std::nullopt;
}

std::unique_ptr<Sharing> Sharing::make(int n, int index, const DoorKey& lowest, Fd door) {
  if (index == 0) return std::make_unique<Lowest>(n, lowest, std::move(door));
  return std::make_unique<Caller>(n, index, lowest);
}

void Sharing::finish(bool all) {
  is_finished_ = true;
  if (all) return arena_->settle();
  arena_.reset();
  if (problem_.empty()) problem_ = "another rank of the node could not use the memory";
}

void Sharing::give_up(const std::string& problem) {
  problem_ = problem;
  finish(false);
}

}  // namespace jobkit
