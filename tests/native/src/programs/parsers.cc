// Everything that reads what others wrote, given what nobody should write: random bytes, and right messages
// with something changed. Nothing may crash, hang, or keep more than it was given.
//
//   parsers [SECONDS] [SEED]: so long for all of them together, from this seed

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "check.h"
#include "choice.h"
#include "clock.h"
#include "control.h"
#include "crc32c.h"
#include "handshake.h"
#include "relay.h"
#include "ring.h"
#include "waits.h"
#include "wire.h"

namespace {

using namespace jobkit;

// One to four changes: a bit, a byte, a piece left out, said twice, or something put in between.
std::string changed(std::string bytes, Random& random) {
  for (uint64_t n = 1 + random.below(4); n > 0; n--) {
    const size_t at = bytes.empty() ? 0 : random.below(bytes.size());
    const size_t length = std::min<size_t>(bytes.size() - at, random.below(40));
    switch (random.below(5)) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random.once_in(2) ? random.bits() : 0xff);
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, length));
        break;
      default:
        bytes.insert(at, random.bytes(random.below(40)));
    }
  }
  return bytes;
}

// --- frames ---

Frame some_frame(Random& random) {
  Frame frame;
  frame.key.kind = random.once_in(2) ? FrameKind::kCollective : FrameKind::kPointToPoint;
  frame.key.context = static_cast<uint32_t>(random.bits());
  frame.key.seq = static_cast<uint32_t>(random.bits());
  frame.key.message = static_cast<uint32_t>(random.bits());
  frame.signature.call = static_cast<Call>(random.below(kCalls));
  frame.signature.dtype = static_cast<Dtype>(random.below(kDtypes));
  frame.signature.schedule = static_cast<uint8_t>(random.bits());
  frame.signature.tag_or_root = static_cast<int32_t>(random.bits());
  frame.signature.count = random.bits();
  frame.n_bytes = static_cast<uint32_t>(random.below(kMaxFrame + 1));
  frame.offset = random.bits();
  if (frame.key.kind == FrameKind::kPointToPoint) frame.key.tag = frame.signature.tag_or_root;
  return frame;
}

bool same(const Frame& a, const Frame& b) {
  return a.key == b.key && a.signature == b.signature && a.n_bytes == b.n_bytes && a.offset == b.offset;
}

// As a peer that means harm would: its checksum is right.
void seal(FrameBytes& bytes) {
  const uint32_t sum = crc32c(bytes.data() + 32, kFrameHeader - 32, crc32c(bytes.data(), 28));
  for (int i = 0; i < 4; i++) bytes[28 + i] = static_cast<uint8_t>(sum >> (8 * i));
}

void try_frames(Random& random) {
  const Frame frame = some_frame(random);
  FrameBytes bytes;
  encode(frame, bytes);
  std::string wrong;
  const auto again = decode(bytes.data(), wrong);
  CHECK(again && wrong.empty() && same(*again, frame));

  FrameBytes flipped = bytes;
  flipped[random.below(kFrameHeader)] ^= static_cast<uint8_t>(1 << random.below(8));
  CHECK(!decode(flipped.data(), wrong) && !wrong.empty(), "a changed bit went unnoticed");

  FrameBytes sealed = random.once_in(2) ? bytes : FrameBytes{};
  const std::string noise = random.bytes(kFrameHeader);
  for (size_t i = 4; i < kFrameHeader; i++)
    if (random.once_in(3)) sealed[i] = static_cast<uint8_t>(noise[i]);
  std::copy_n(bytes.begin(), 3, sealed.begin());
  seal(sealed);
  wrong.clear();
  const auto taken = decode(sealed.data(), wrong);
  CHECK(taken.has_value() == wrong.empty());
  if (!taken) return;
  CHECK(taken->n_bytes <= kMaxFrame && static_cast<int>(taken->signature.call) < kCalls);
  CHECK(is_dtype(static_cast<int>(taken->signature.dtype)));
  CHECK(!to_string(taken->signature).empty());
}

// --- control connections ---

void try_control(Random& random) {
  std::string stream;
  std::vector<std::string> bodies;
  for (uint64_t n = random.below(5); n > 0; n--) {
    bodies.push_back(random.bytes(random.below(300)));
    stream += control_frame(ControlKind::kAsk, bodies.back());
  }
  const bool is_right = random.once_in(2);
  if (!is_right) stream = changed(stream, random);
  std::string in, body;
  size_t n_taken = 0;
  for (size_t at = 0; at < stream.size();) {
    const size_t n = std::min<size_t>(stream.size() - at, 1 + random.below(100));
    in += stream.substr(at, n);
    at += n;
    ControlKind kind;
    int status;
    while ((status = take_control_frame(in, kind, body)) == 1) {
      CHECK(body.size() <= kMaxControlBytes);
      if (is_right) CHECK(n_taken < bodies.size() && body == bodies[n_taken]);
      n_taken++;
    }
    if (status < 0) {
      CHECK(!is_right);
      return;
    }
  }
  if (is_right) CHECK(in.empty() && n_taken == bodies.size());
}

void try_answers(Random& random) {
  Answer answer;
  answer.silent = false;
  for (uint64_t n = random.below(4); n > 0; n--) {
    LongWait wait{"all_sum #" + std::to_string(n), {collective_key(3, static_cast<uint32_t>(n))}, {1, 2}};
    if (random.once_in(2)) wait.keys.push_back(message_key(1, 2, 3, -4, 5));
    answer.waits.push_back(wait);
    answer.progress.push_back({static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits())});
  }
  const std::string text = encode_answer(answer);
  const Answer again = decode_answer(text);
  CHECK(again.waits.size() == answer.waits.size() && again.progress.size() == answer.progress.size());
  const std::string odd = random.once_in(4) ? random.bytes(random.below(200)) : changed(text, random);
  std::map<int, Answer> answers{{1, decode_answer(odd)}, {2, decode_answer(odd)}, {3, again}};
  CHECK(answers[1].waits.size() <= odd.size() + 1);
  for (auto& [rank, each] : answers) each.silent = false;
  (void)diagnose(0, {"barrier #1", {collective_key(3, 1)}, {1, 2, 3}}, answers);
}

// --- tables ---

void try_choices(Random& random) {
  const std::string right = "all_sum@3-4:65536=one-shot,broadcast@2-=tree,all_gather:100=direct";
  const std::string text = random.once_in(5) ? random.bytes(random.below(60)) : changed(right, random);
  try {
    const Choices choices = Choices::parse(text);
    CHECK(Choices::parse(choices.text()).rows() == choices.rows(), text);
  } catch (const BadArgument& error) {
    CHECK(*error.what() != 0);
  }
}

void try_addresses(Random& random) {
  const std::string text = changed(random.once_in(2) ? "[::1]:5000" : "10.0.0.4:5000", random);
  try {
    const auto [host, port] = split_host_port(text);
    CHECK(host.size() + port.size() < text.size());
  } catch (const BadArgument&) {
    return;
  }
}

// --- shared memory: what another process wrote into a ring ---

void try_rings(Random& random) {
  constexpr size_t n_block = 4096;
  auto* block = static_cast<uint8_t*>(std::aligned_alloc(kCacheLine, n_block));
  std::memset(block, 0, n_block);
  RingWriter writer(block, n_block);
  RingReader reader(block, n_block);
  for (int i = 0; i < 20; i++) {
    const size_t n = 1 + random.below(writer.max_record());
    if (uint8_t* record = writer.reserve(n)) {
      std::memset(record, i, n);
      writer.commit(n);
    }
    if (random.once_in(3)) {  // the other side is out of its mind
      const uint64_t odd = random.once_in(2) ? random.below(n_block) : random.bits();
      std::memcpy(block + 8 * random.below(n_block / 8), &odd, 8);
    }
    if (random.once_in(3)) continue;
    const Record got = reader.peek();
    if (reader.state() != RingState::kOpen || writer.state() != RingState::kOpen) break;
    if (got.data == nullptr) continue;
    CHECK(got.data >= block && got.n_bytes <= static_cast<size_t>(block + n_block - got.data));
    reader.consume(got.n_bytes);
  }
  std::free(block);
}

// --- messages that are passed on ---

void try_relays(Random& random) {
  auto [near, far] = make_stream();
  std::vector<Fd> ends(3);
  ends[1] = std::move(near);
  size_t n_given = 0;
  Relay relay(std::move(ends), [&](int, Relay::Kind, const std::string&) { n_given++; });
  for (int i = 0; i < 30; i++) {
    const auto kind = static_cast<Relay::Kind>(random.below(4));
    if (!relay.take(static_cast<int>(random.below(4)) - 1, kind, random.bytes(random.below(100)))) break;
  }
  std::vector<pollfd> watched;
  std::vector<int> owners;
  relay.watch(watched, owners);
  CHECK(watched.size() == owners.size() && n_given < 100);
}

// --- handshakes ---

Credentials credentials(int rank, const std::string& token) {
  Credentials own;
  own.rank = rank;
  own.size = 3;
  own.token = token;
  own.identity.host = "node" + std::to_string(rank);
  return own;
}

std::string read_all(const Fd& socket) {
  char bytes[4096];
  const ssize_t n = ::recv(socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  return n > 0 ? std::string(bytes, static_cast<size_t>(n)) : "";
}

void write_all(const Fd& socket, const std::string& bytes) {
  (void)!::send(socket.get(), bytes.data(), bytes.size(), kSendFlags | MSG_DONTWAIT);
}

// A caller and a listener with somebody between them, who may change one thing that is said, or fall silent.
void try_handshakes(Random& random) {
  const bool is_changed = !random.once_in(8), is_silent = is_changed && random.once_in(4);
  const bool same_token = !random.once_in(8);
  const Credentials caller_own = credentials(1, "secret"),
                    listener_own = credentials(2, same_token ? "secret" : "");
  const Fd listener = listen_on(resolve("127.0.0.1:0")[0], false);
  const Deadline soon = Deadline::in(is_silent ? 0.02 : 5);
  Handshake caller = Handshake::call(local_address(listener), caller_own, 2, 0, soon, soon);
  caller.advance();
  Fd to_caller;
  while (!to_caller) to_caller = accept_one(listener);
  auto [to_listener, end] = make_stream();
  Handshake answering = Handshake::answer(std::move(end), listener_own, 2, soon);
  uint64_t n_until_change = random.below(4);
  bool was_changed = false;
  const auto pass = [&](const Fd& from, const Fd& to) {
    std::string bytes = read_all(from);
    if (bytes.empty()) return;
    if (is_changed && n_until_change-- == 0) {
      bytes = is_silent ? "" : changed(bytes, random);
      was_changed = true;
    }
    write_all(to, bytes);
  };
  const Deadline limit = Deadline::in(30);
  while (!caller.finished() || !answering.finished()) {
    CHECK(!limit.passed(), "a handshake hangs");
    caller.advance();
    pass(to_caller, to_listener);
    answering.advance();
    pass(to_listener, to_caller);
    if (caller.finished() && caller.state() == Handshake::State::kFailed) to_listener.close();
    if (answering.finished() && answering.state() == Handshake::State::kFailed) to_caller.close();
    if (was_changed && !is_silent && random.once_in(50)) to_listener.close(), to_caller.close();
  }
  for (const Handshake* each : {&caller, &answering}) {
    if (each->state() == Handshake::State::kFailed) {
      CHECK(!each->reason().empty() && each->verdict() != Handshake::Verdict::kNone);
    } else {
      CHECK(same_token && each->peer() == (each->is_call() ? 2 : 1) && each->channel() == 0);
      CHECK(each->identity().host == (each->is_call() ? "node2" : "node1"), each->identity().host);
    }
  }
  const bool both = caller.state() == Handshake::State::kDone && answering.state() == Handshake::State::kDone;
  if (!is_changed) CHECK(both == same_token);
}

// A stranger, who says anything at all.
void try_strangers(Random& random) {
  const Credentials own = credentials(2, "secret");
  auto [stranger, end] = make_stream();
  const Deadline soon = Deadline::in(5);
  Handshake answering = Handshake::answer(std::move(end), own, 2, soon);
  std::string speech = random.bytes(random.below(600));
  if (random.once_in(2)) speech = std::string("JKHS\x02\0", 6) + speech;
  write_all(stranger, speech);
  answering.advance();
  stranger.close();
  for (int i = 0; i < 10 && !answering.finished(); i++) answering.advance();
  CHECK(answering.state() == Handshake::State::kFailed, "a stranger was let in");
}

}  // namespace

int main(int n_words, char** words) {
  const double seconds = n_words > 1 ? std::atof(words[1]) : 5;
  const uint64_t seed = n_words > 2 ? std::strtoull(words[2], nullptr, 10) : 1;
  struct Target {
    const char* name;
    void (*run)(Random&);
    int at_most = INT32_MAX;
  };
  const Target targets[] = {
      {"frames", try_frames},       {"control", try_control},
      {"answers", try_answers},     {"choices", try_choices},
      {"addresses", try_addresses}, {"rings", try_rings},
      {"relays", try_relays},       {"handshakes", try_handshakes, 5000},  // each leaves a port in TIME_WAIT
      {"strangers", try_strangers},
  };
  for (const Target& target : targets) {
    Random random(seed);
    const Deadline end = Deadline::in(seconds / static_cast<double>(std::size(targets)));
    int n = 0;
    while ((n < 50 || !end.passed()) && n < target.at_most) {
      target.run(random);
      n++;
    }
    std::printf("%s: %d\n", target.name, n);
  }
  std::puts("parsers: ok");
}
