#include "handshake.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "bytes.h"
#include "wire.h"

namespace jobkit {
namespace {

constexpr char kMagic[] = "JKHS";
constexpr uint16_t kHandshakeVersion = 1;
constexpr size_t kPrefix = 8;
constexpr size_t kNonce = 16;
constexpr size_t kHost = 64;
constexpr size_t kIdentity = 4 + 4 + 8 + sizeof(DoorKey) + kHost;  // pid, processors, node, door, host

enum Kind : uint8_t { kHello = 1, kChallenge = 2, kProof = 3, kWelcome = 4, kRefusal = 5 };

// rank, size, epoch, target, channel, job, nonce, identity
constexpr size_t kHelloBody = 5 * 4 + sizeof(Digest) + kNonce + kIdentity;
// rank, nonce, identity; the HMAC follows
constexpr size_t kChallengeBody = 4 + kNonce + kIdentity;

enum Why : uint8_t { kJob = 1, kEpoch, kSize, kTarget, kRank, kChannel, kToken };

const char* words(uint8_t why) {
  switch (why) {
    case kJob:
      return "it belongs to another job";
    case kEpoch:
      return "it is in another epoch of the job (one side has started anew)";
    case kSize:
      return "its group has another number of ranks";
    case kTarget:
      return "it is another rank than the address list says";
    case kRank:
      return "the caller's rank cannot be in its group";
    case kChannel:
      return "its address list has another number of addresses per rank";
    case kToken:
      return "the token differs";
    default:
      return "it refused for a reason that this version does not know";
  }
}

size_t body_size(uint8_t kind) {
  switch (kind) {
    case kHello:
      return kHelloBody;
    case kChallenge:
      return kChallengeBody + sizeof(Digest);
    case kProof:
      return sizeof(Digest);
    default:
      return 0;
  }
}

std::string message(uint8_t kind, uint8_t detail, const std::string& body) {
  uint8_t prefix[kPrefix];
  ByteWriter(prefix).put_bytes(kMagic, 4).put(kHandshakeVersion).put(kind).put(detail);
  return std::string(reinterpret_cast<char*>(prefix), kPrefix) + body;
}

void put_identity(ByteWriter& writer, const Identity& identity) {
  char host[kHost] = {};
  std::memcpy(host, identity.host.data(), std::min(identity.host.size(), kHost - 1));
  writer.put(identity.pid).put(identity.processors).put(identity.node);
  writer.put_bytes(identity.door.data(), identity.door.size()).put_bytes(host, kHost);
}

Identity get_identity(ByteReader& reader) {
  Identity identity;
  identity.pid = reader.get<uint32_t>();
  identity.processors = reader.get<uint32_t>();
  identity.node = reader.get<uint64_t>();
  reader.get_bytes(identity.door.data(), identity.door.size());
  char host[kHost];
  reader.get_bytes(host, kHost);
  host[kHost - 1] = 0;
  identity.host = host;
  return identity;
}

std::string to_text(const Digest& digest) { return std::string(digest.begin(), digest.end()); }

const uint8_t* raw(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

}  // namespace

Handshake::Handshake(Fd socket, const Credentials& own, bool is_call, Deadline done_by)
    : socket_(std::move(socket)), own_(&own), is_call_(is_call), connect_by_(done_by), done_by_(done_by) {}

Handshake Handshake::call(const Address& address, const Credentials& own, int target, uint32_t channel,
                          Deadline connect_by, Deadline done_by) {
  Handshake made(start_connect(address), own, true, done_by);
  made.address_ = to_string(address);
  made.connect_by_ = connect_by;
  made.peer_ = target;
  made.channel_ = channel;
  made.state_ = State::kConnecting;
  if (!made.socket_) made.fail(Verdict::kUnreachable, system_text(errno));
  return made;
}

Handshake Handshake::answer(Fd socket, const Credentials& own, uint32_t n_channels, Deadline done_by) {
  Handshake made(std::move(socket), own, false, done_by);
  made.address_ = to_string(peer_address(made.socket_));
  made.n_channels_ = n_channels;
  return made;
}

std::string Handshake::where() const {
  return is_call_ ? "connect to " + address_ : "caller from " + address_;
}

void Handshake::fail(Verdict verdict, const std::string& reason) {
  state_ = State::kFailed;
  verdict_ = verdict;
  reason_ = where() + ": " + reason;
  socket_.close();
}

short Handshake::events() const { return state_ == State::kConnecting || !out_.empty() ? POLLOUT : POLLIN; }

Moment Handshake::next_deadline() const {
  return state_ == State::kConnecting ? std::min(connect_by_.moment(), done_by_.moment()) : done_by_.moment();
}

void Handshake::advance() {
  if (finished()) return;
  go_on();
  // Looked at last: what has come by now counts, however late this process got to look.
  if (finished() || Clock::now() < next_deadline()) return;
  if (state_ == State::kConnecting) return fail(Verdict::kUnreachable, "no answer in time");
  fail(Verdict::kSilent, "nothing that makes sense came in time (MLX's own ring?)");
}

void Handshake::go_on() {
  if (state_ == State::kConnecting) {
    pollfd one{socket_.get(), POLLOUT, 0};
    if (::poll(&one, 1, 0) <= 0) return;
    int cause = connect_result(socket_);
    if (cause != 0) return fail(Verdict::kUnreachable, system_text(cause));
    state_ = State::kTalking;
    say_hello();
  }
  while (!finished()) {
    if (!write_out()) return;
    if (done_when_out_ || close_when_out_) break;
    if (!read_message()) return;
    understand();
  }
  if (state_ == State::kTalking && out_.empty()) {
    if (done_when_out_) state_ = State::kDone;
    if (close_when_out_) fail(Verdict::kRefused, reason_);
  }
}

bool Handshake::write_out() {
  while (!out_.empty()) {
    ssize_t n = ::send(socket_.get(), out_.data(), out_.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) {
      fail(Verdict::kForeign, system_text(errno));
      return false;
    }
    out_.erase(0, static_cast<size_t>(n));
  }
  return true;
}

// Reads exactly one message: what follows the last one belongs to the link. True when it is whole.
bool Handshake::read_message() {
  for (;;) {
    size_t wanted = in_.size() < kPrefix ? kPrefix : kPrefix + body_size(static_cast<uint8_t>(in_[6]));
    if (in_.size() >= kPrefix && in_.size() == wanted) return true;
    char bytes[512];
    ssize_t n = ::recv(socket_.get(), bytes, wanted - in_.size(), 0);
    if (n < 0 && would_block(errno)) return false;
    if (n <= 0) {
      fail(Verdict::kForeign,
           n == 0 ? "it closed the connection in the middle of the handshake" : system_text(errno));
      return false;
    }
    in_.append(bytes, static_cast<size_t>(n));
    if (std::memcmp(in_.data(), kMagic, std::min<size_t>(in_.size(), 4)) != 0) {
      fail(Verdict::kForeign, "it does not speak the handshake (MLX's own ring?)");
      return false;
    }
    if (in_.size() >= kPrefix && ByteReader(raw(in_) + 4).get<uint16_t>() != kHandshakeVersion) {
      fail(Verdict::kForeign, "it speaks another version of the handshake (another jobkit?)");
      return false;
    }
  }
}

void Handshake::understand() {
  auto kind = static_cast<uint8_t>(in_[6]), detail = static_cast<uint8_t>(in_[7]);
  if (is_call_ && kind == kRefusal) return fail(Verdict::kRefused, words(detail));
  if (!is_call_ && kind == kHello && hello_.empty()) {
    on_hello();
  } else if (is_call_ && kind == kChallenge && challenge_.empty()) {
    on_challenge();
  } else if (!is_call_ && kind == kProof && !challenge_.empty()) {
    on_proof();
  } else if (is_call_ && kind == kWelcome && !challenge_.empty()) {
    state_ = State::kDone;
  } else {
    fail(Verdict::kForeign, "it sent a message of the handshake out of turn");
  }
  in_.clear();
}

void Handshake::say_hello() {
  std::string body(kHelloBody, 0);
  ByteWriter writer(reinterpret_cast<uint8_t*>(body.data()));
  uint8_t nonce[kNonce];
  random_bytes(nonce, sizeof nonce);
  writer.put<int32_t>(own_->rank).put<int32_t>(own_->size).put(own_->epoch).put<int32_t>(peer_).put(channel_);
  writer.put_bytes(own_->job.data(), own_->job.size()).put_bytes(nonce, sizeof nonce);
  put_identity(writer, own_->identity);
  hello_ = body;
  out_ = message(kHello, 0, body);
}

void Handshake::refuse(uint8_t why) {
  reason_ = words(why);
  out_ = message(kRefusal, why, "");
  close_when_out_ = true;
}

void Handshake::on_hello() {
  hello_ = in_.substr(kPrefix);
  ByteReader reader(raw(hello_));
  peer_ = reader.get<int32_t>();
  int size = reader.get<int32_t>();
  auto epoch = reader.get<uint32_t>();
  int target = reader.get<int32_t>();
  channel_ = reader.get<uint32_t>();
  Digest job;
  reader.get_bytes(job.data(), job.size());
  uint8_t nonce[kNonce];
  reader.get_bytes(nonce, sizeof nonce);
  identity_ = get_identity(reader);
  if (job != own_->job) return refuse(kJob);
  if (epoch != own_->epoch) return refuse(kEpoch);
  if (size != own_->size) return refuse(kSize);
  if (target != own_->rank) return refuse(kTarget);
  if (peer_ < 0 || peer_ >= size || peer_ == own_->rank) return refuse(kRank);
  if (channel_ >= n_channels_) return refuse(kChannel);
  std::string body(kChallengeBody, 0);
  ByteWriter writer(reinterpret_cast<uint8_t*>(body.data()));
  random_bytes(nonce, sizeof nonce);
  writer.put<int32_t>(own_->rank).put_bytes(nonce, sizeof nonce);
  put_identity(writer, own_->identity);
  challenge_ = body;
  out_ = message(kChallenge, 0, body + to_text(proof("listener")));
}

void Handshake::on_challenge() {
  challenge_ = in_.substr(kPrefix, kChallengeBody);
  std::string theirs = in_.substr(kPrefix + kChallengeBody);
  Digest expected = proof("listener");
  if (!equal_in_constant_time(theirs.data(), expected.data(), expected.size())) {
    return fail(Verdict::kRefused, words(kToken));
  }
  ByteReader reader(raw(challenge_));
  int rank = reader.get<int32_t>();
  uint8_t nonce[kNonce];
  reader.get_bytes(nonce, sizeof nonce);
  identity_ = get_identity(reader);
  if (rank != peer_) return fail(Verdict::kRefused, words(kTarget));
  out_ = message(kProof, 0, to_text(proof("caller")));
}

void Handshake::on_proof() {
  Digest expected = proof("caller");
  if (!equal_in_constant_time(in_.data() + kPrefix, expected.data(), expected.size())) return refuse(kToken);
  out_ = message(kWelcome, 0, "");
  done_when_out_ = true;
}

Digest Handshake::proof(const char* label) const {
  std::string text = std::string(label) + hello_ + challenge_;
  return hmac_sha256(own_->token.data(), own_->token.size(), text.data(), text.size());
}

}  // namespace jobkit
