#include "bootstrap.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <list>
#include <optional>
#include <set>

#include "bytes.h"
#include "control.h"
#include "handshake.h"
#include "process.h"

namespace jobkit {
namespace {

// A caller that has not made itself known by then is no rank.
constexpr double kAnswerSeconds = 5;
// A listener that answers the connection but not the handshake.
constexpr double kTalkSeconds = 5;
// A connection that nobody answers or refuses.
constexpr double kKnockSeconds = 3;
// The same for a pair that nobody promised.
constexpr double kTrySeconds = 1;
// Callers that are in the middle of the handshake at the same time; the oldest makes room.
constexpr size_t kMaxCallers = 512;
// Between two calls to a rank that is not there yet.
constexpr auto kFirstPause = milliseconds(5);
constexpr auto kLongestPause = milliseconds(200);
constexpr int kCheckMs = 50;

std::string plural(size_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : noun.ends_with('s') ? "es" : "s");
}

// Everything that one rank's part in a meeting needs; its loop is `run`.
class Meeting {
 public:
  explicit Meeting(const ConnectOptions& options);
  Wiring gang();
  Wiring hostfile();

 private:
  // One connection that this rank makes.
  struct Outgoing {
    int peer;
    uint32_t channel;
    std::vector<Address> addresses;
    bool once;  // no second try
    size_t next = 0;
    std::optional<Handshake> handshake;
    Moment not_before{};
    Clock::duration pause = kFirstPause;
    bool done = false, given_up = false;
    std::string problem;
  };

  // A blob per rank that goes round the ring.
  struct Round {
    std::vector<std::optional<std::string>> blobs;
    std::string in, out;
    size_t n_passed_on = 0;
  };

  void check_hosts() const;
  uint32_t n_channels() const;
  std::vector<Address> addresses_of(int rank) const;
  void listen_here(bool contract);
  void call(int peer, uint32_t channel, std::vector<Address> addresses, bool once);
  bool have(int peer) const;
  bool have_all(const std::vector<int>& peers) const;

  void run(const std::function<bool()>& finished, const std::function<std::string()>& complaint);
  void poll_once();
  void advance_outgoing(Outgoing& out);
  void retry(Outgoing& out, const std::string& problem);
  void advance_incoming();
  void accept_callers();
  void settle(Handshake& handshake);

  void go_round(Round& round, const std::string& own, const std::string& what);
  bool advance_round(Round& round);
  std::string own_entry(int port) const;
  void read_entries(const std::vector<std::optional<std::string>>& blobs);
  void try_other_pairs();
  void agree();

  std::string complain_of(const std::vector<int>& peers) const;
  std::string foreigners() const;
  std::string name(int rank) const;
  void say(const std::string& text) const;
  Wiring wiring();

  const ConnectOptions& options_;
  int rank_, size_;
  Credentials credentials_;
  Deadline deadline_;
  Moment started_ = Clock::now();
  std::vector<Fd> listeners_;
  std::list<Outgoing> outgoing_;
  std::list<Handshake> incoming_;
  std::vector<Identity> identities_;
  std::vector<std::vector<Fd>> channels_;    // [peer][channel]
  std::vector<std::vector<Address>> later_;  // [peer]: where its own listener is
  std::vector<std::vector<uint8_t>> direct_;
  Round* round_ = nullptr;
  size_t n_foreign_ = 0;
  std::string last_foreign_;
};

Meeting::Meeting(const ConnectOptions& options)
    : options_(options),
      rank_(options.rank),
      size_(static_cast<int>(options.hosts.size())),
      deadline_(Deadline::in(options.connect_timeout_s)) {
  check_hosts();
  credentials_.rank = rank_;
  credentials_.size = size_;
  credentials_.epoch = options.epoch;
  credentials_.job = sha256(options.job.data(), options.job.size());
  credentials_.token = options.token;
  credentials_.identity = {process::host_name(), static_cast<uint32_t>(::getpid()), process::node_identity(),
                           static_cast<uint32_t>(process::processors())};
  identities_.resize(size_);
  identities_[rank_] = credentials_.identity;
  channels_.resize(size_);
  for (auto& each : channels_) each.resize(n_channels());
  direct_.assign(size_, std::vector<uint8_t>(size_, 0));
}

void Meeting::check_hosts() const {
  if (size_ < 1) throw BadArgument("the address list is empty, expected the addresses of every rank");
  if (rank_ < 0 || rank_ >= size_) {
    throw BadArgument("rank " + std::to_string(rank_) + " is not in the address list, which has " +
                      plural(size_, "rank") + ": expected 0 to " + std::to_string(size_ - 1));
  }
  if (size_ == 1) return;
  for (int p = 0; p < size_; p++) {
    size_t n = options_.hosts[p].size(), expected = options_.hosts[0].size();
    if (n == 0) throw BadArgument("rank " + std::to_string(p) + " has no address");
    if (n != expected && options_.mode == Mode::kHostfile) {
      throw BadArgument("rank " + std::to_string(p) + " has " + plural(n, "address") + " and rank 0 has " +
                        std::to_string(expected) +
                        ": several addresses are parallel connections, so that all ranks " +
                        "need the same number");
    }
    for (const std::string& text : options_.hosts[p]) split_host_port(text);
  }
}

// Control, and a data connection per address; gang addresses are alternatives.
uint32_t Meeting::n_channels() const {
  return options_.mode == Mode::kGang ? 2 : 1 + static_cast<uint32_t>(options_.hosts[rank_].size());
}

std::vector<Address> Meeting::addresses_of(int rank) const {
  std::vector<Address> all;
  for (const std::string& text : options_.hosts[rank]) {
    for (const Address& each : resolve(text)) all.push_back(each);
  }
  return all;
}

std::string Meeting::name(int rank) const {
  std::string text = "rank " + std::to_string(rank);
  if (options_.mode == Mode::kHostfile || identities_[rank].host.empty()) {
    std::string all;
    for (const std::string& each : options_.hosts[rank]) all += (all.empty() ? "" : ", ") + each;
    return text + " (" + all + ")";
  }
  return text + " (" + identities_[rank].host + ", " + options_.hosts[rank][0] + ")";
}

void Meeting::say(const std::string& text) const {
  if (!options_.verbose) return;
  std::fprintf(stderr, "[ring] rank %d of %d: %s\n", rank_, size_, text.c_str());
}

// One listener for each address of this rank: on the contract's ports, or all on one port that the system
// chooses.
void Meeting::listen_here(bool contract) {
  int port = 0;
  std::set<std::string> seen;
  std::string problem;
  for (Address address : addresses_of(rank_)) {
    if (!contract) address.set_port(0);
    if (!seen.insert(to_string(address)).second) continue;
    if (!contract) address.set_port(port);
    try {
      listeners_.push_back(listen_on(address, contract));
      if (!contract && port == 0) port = local_address(listeners_.back()).port();
    } catch (const Error& error) {
      problem = error.what();
      // A name may stand for addresses of which only some are this host's, and a gang's address may be seen
      // from outside only; the parallel connections of a hostfile each need their own.
      if (options_.mode == Mode::kHostfile && options_.hosts[rank_].size() > 1) throw;
    }
  }
  if (listeners_.empty()) throw Error(problem);
}

void Meeting::call(int peer, uint32_t channel, std::vector<Address> addresses, bool once) {
  outgoing_.push_back(
      {peer, channel, std::move(addresses), once, 0, std::nullopt, Moment{}, kFirstPause, false, false, ""});
}

bool Meeting::have(int peer) const {
  return std::all_of(channels_[peer].begin(), channels_[peer].end(),
                     [](const Fd& fd) { return static_cast<bool>(fd); });
}

bool Meeting::have_all(const std::vector<int>& peers) const {
  return std::all_of(peers.begin(), peers.end(), [&](int p) { return have(p); });
}

// --- the loop ---

void Meeting::run(const std::function<bool()>& finished, const std::function<std::string()>& complaint) {
  Moment checked = Clock::now();
  for (;;) {
    accept_callers();
    advance_incoming();
    for (Outgoing& out : outgoing_) advance_outgoing(out);
    if (finished()) return;
    if (deadline_.passed()) throw Error(complaint());
    if (Clock::now() - checked >= milliseconds(kCheckMs)) {
      checked = Clock::now();
      if (options_.interrupted && options_.interrupted()) throw Interrupted("interrupted while connecting");
    }
    poll_once();
  }
}

void Meeting::poll_once() {
  std::vector<pollfd> watched;
  Moment wake = std::min(deadline_.moment(), Clock::now() + milliseconds(kCheckMs));
  for (Fd& each : listeners_) watched.push_back({each.get(), POLLIN, 0});
  for (Handshake& each : incoming_) {
    watched.push_back({each.descriptor(), each.events(), 0});
    wake = std::min(wake, each.next_deadline());
  }
  for (Outgoing& out : outgoing_) {
    if (out.handshake) {
      watched.push_back({out.handshake->descriptor(), out.handshake->events(), 0});
      wake = std::min(wake, out.handshake->next_deadline());
    } else if (!out.done && !out.given_up) {
      wake = std::min(wake, out.not_before);
    }
  }
  if (round_) {
    int left = (rank_ + size_ - 1) % size_, right = (rank_ + 1) % size_;
    watched.push_back({channels_[left][kControlChannel].get(), POLLIN, 0});
    if (!round_->out.empty()) watched.push_back({channels_[right][kControlChannel].get(), POLLOUT, 0});
  }
  (void)::poll(watched.data(), watched.size(), Deadline::at(wake).poll_ms(kCheckMs));
}

void Meeting::accept_callers() {
  for (Fd& listener : listeners_) {
    while (Fd socket = accept_one(listener)) {
      tune(socket);
      if (incoming_.size() >= kMaxCallers) incoming_.pop_front();
      incoming_.push_back(
          Handshake::answer(std::move(socket), credentials_, n_channels(), Deadline::in(kAnswerSeconds)));
    }
  }
}

void Meeting::advance_incoming() {
  for (auto at = incoming_.begin(); at != incoming_.end();) {
    at->advance();
    if (!at->finished()) {
      ++at;
      continue;
    }
    settle(*at);
    at = incoming_.erase(at);
  }
}

void Meeting::advance_outgoing(Outgoing& out) {
  if (out.done || out.given_up || Clock::now() < out.not_before) return;
  if (!out.handshake) {
    Deadline knock = Deadline::in(out.once ? kTrySeconds : kKnockSeconds);
    const Address& address = out.addresses[out.next++ % out.addresses.size()];
    out.handshake = Handshake::call(address, credentials_, out.peer, out.channel, knock,
                                    Deadline::in(kKnockSeconds + kTalkSeconds));
  }
  out.handshake->advance();
  if (!out.handshake->finished()) return;
  Handshake handshake = std::move(*out.handshake);
  out.handshake.reset();
  if (handshake.state() == Handshake::State::kDone) {
    out.done = true;
    settle(handshake);
  } else {
    retry(out, handshake.reason());
  }
}

void Meeting::retry(Outgoing& out, const std::string& problem) {
  if (problem != out.problem) say(name(out.peer) + ": " + problem);
  out.problem = problem;
  bool tried_all = out.next % out.addresses.size() == 0;
  if (out.once && tried_all) {
    out.given_up = true;
  } else if (tried_all) {
    out.not_before = Clock::now() + out.pause;
    out.pause = std::min<Clock::duration>(out.pause * 2, kLongestPause);
  }
}

// A handshake that is over: its connection is one of ours, or its caller is remembered for the error.
void Meeting::settle(Handshake& handshake) {
  if (handshake.state() != Handshake::State::kDone) {
    n_foreign_++;
    last_foreign_ = handshake.reason();
    return say("turned away a " + handshake.reason());
  }
  int peer = handshake.peer();
  // A caller that gave up waiting for our answer calls again: the newer connection is the one that it knows
  // of.
  channels_[peer][handshake.channel()] = handshake.take_socket();
  tune(channels_[peer][handshake.channel()]);
  identities_[peer] = handshake.identity();
}

std::string Meeting::foreigners() const {
  if (n_foreign_ == 0) return "";
  return "; " + plural(n_foreign_, "caller") + " turned away, the last: " + last_foreign_;
}

std::string Meeting::complain_of(const std::vector<int>& peers) const {
  std::string missing, problem;
  size_t n_missing = 0;
  for (int p : peers) {
    if (have(p)) continue;
    if (++n_missing <= 8) missing += (missing.empty() ? "" : ", ") + name(p);
    for (const Outgoing& out : outgoing_) {
      if (out.peer == p && !out.done && !out.problem.empty()) problem = "; " + out.problem;
    }
  }
  if (n_missing > 8) missing += " and " + std::to_string(n_missing - 8) + " more";
  char waited[32];
  std::snprintf(waited, sizeof waited, "%.1f s",
                std::chrono::duration<double>(Clock::now() - started_).count());
  return "waited " + std::string(waited) + " for " + missing + problem + foreigners();
}

// --- gang ---

Wiring Meeting::gang() {
  listen_here(true);
  std::vector<int> others;
  for (int p = 0; p < size_; p++) {
    if (p != rank_) others.push_back(p);
  }
  for (int p = rank_ + 1; p < size_; p++) {
    for (uint32_t channel = 0; channel < n_channels(); channel++) call(p, channel, addresses_of(p), false);
  }
  run([&] { return have_all(others); }, [&] { return complain_of(others); });
  for (int p = 0; p < size_; p++) {
    for (int q = 0; q < size_; q++) direct_[p][q] = p != q;
  }
  return wiring();
}

// --- hostfile ---

Wiring Meeting::hostfile() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  // Of two ranks each is the other's right neighbour: one call is enough.
  bool calls = size_ > 2 || rank_ == 0, is_called = size_ > 2 || rank_ == 1;
  if (is_called) listen_here(true);
  for (uint32_t channel = 0; calls && channel < n_channels(); channel++) {
    size_t index = channel == kControlChannel ? 0 : channel - 1;
    call(right, channel, resolve(options_.hosts[right][index]), false);
  }
  std::vector<int> neighbours = {right};
  if (left != right) neighbours.push_back(left);
  run([&] { return have_all(neighbours); }, [&] { return complain_of(neighbours); });
  // Ports of the contract are for meeting only: a listener left there makes MLX's own ring hang.
  listeners_.clear();
  incoming_.clear();
  outgoing_.clear();

  listen_here(false);
  Round table;
  go_round(table, own_entry(local_address(listeners_[0]).port()), "the table of ranks");
  read_entries(table.blobs);
  try_other_pairs();
  agree();
  return wiring();
}

std::string Meeting::own_entry(int port) const {
  const Identity& own = credentials_.identity;
  std::string entry(20, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(entry.data()))
      .put(static_cast<uint32_t>(port))
      .put(own.pid)
      .put(own.node)
      .put(own.processors);
  return entry + own.host;
}

void Meeting::read_entries(const std::vector<std::optional<std::string>>& blobs) {
  later_.resize(size_);
  for (int p = 0; p < size_; p++) {
    if (blobs[p]->size() < 20)
      throw Error("the table's entry of rank " + std::to_string(p) + " is too short");
    ByteReader reader(reinterpret_cast<const uint8_t*>(blobs[p]->data()));
    auto port = reader.get<uint32_t>();
    Identity& identity = identities_[p];
    identity.pid = reader.get<uint32_t>();
    identity.node = reader.get<uint64_t>();
    identity.processors = reader.get<uint32_t>();
    identity.host = blobs[p]->substr(20);
    if (p == rank_) continue;
    for (const std::string& text : options_.hosts[p]) {
      later_[p].push_back(resolve(text)[0]);
      later_[p].back().set_port(static_cast<int>(port));
    }
  }
}

// One entry of a round as it travels: the rank it is of, then its bytes.
std::string round_frame(int rank, const std::string& blob) {
  std::string body(4, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(body.data())).put<int32_t>(rank);
  return control_frame(ControlKind::kTable, body + blob);
}

void Meeting::go_round(Round& round, const std::string& own, const std::string& what) {
  round.blobs.resize(size_);
  round.blobs[rank_] = own;
  round.out = round_frame(rank_, own);
  round_ = &round;
  run([&] { return advance_round(round); },
      [&] {
        std::string missing;
        for (int p = 0; p < size_; p++) {
          if (!round.blobs[p]) missing += (missing.empty() ? "" : ", ") + name(p);
        }
        return what + " did not come round: nothing from " + missing + foreigners();
      });
  round_ = nullptr;
}

// Passes on what comes from the left, but for what the right neighbour began with. True when all is here and
// passed on.
bool Meeting::advance_round(Round& round) {
  int left = (rank_ + size_ - 1) % size_, right = (rank_ + 1) % size_;
  bool complete =
      std::all_of(round.blobs.begin(), round.blobs.end(), [](auto& each) { return each.has_value(); });
  while (!complete) {
    // One frame at a time and no byte more: what follows the last one is for the control thread.
    size_t wanted =
        round.in.size() < 8
            ? 8
            : 8 + ByteReader(reinterpret_cast<const uint8_t*>(round.in.data()) + 4).get<uint32_t>();
    if (wanted > 8 + kMaxControlBytes)
      throw Error(name(left) + " sent something that is not a control message");
    if (round.in.size() < wanted) {
      char bytes[4096];
      ssize_t n = ::recv(channels_[left][kControlChannel].get(), bytes,
                         std::min(sizeof bytes, wanted - round.in.size()), 0);
      if (n < 0 && would_block(errno)) break;
      if (n <= 0)
        throw Error(name(left) + " left while the ranks met: " +
                        (n == 0 ? "its connections were closed" : system_text(errno)),
                    left);
      round.in.append(bytes, static_cast<size_t>(n));
      if (round.in.size() == 8) continue;
      if (round.in.size() < wanted) continue;
    }
    ControlKind kind;
    std::string body;
    if (take_control_frame(round.in, kind, body) != 1 || kind != ControlKind::kTable || body.size() < 4) {
      throw Error(name(left) + " sent something else than the table of ranks");
    }
    int of = ByteReader(reinterpret_cast<const uint8_t*>(body.data())).get<int32_t>();
    if (of < 0 || of >= size_) throw Error(name(left) + " sent an entry of a rank that does not exist");
    round.blobs[of] = body.substr(4);
    if (of != right) round.out += round_frame(of, *round.blobs[of]);
    complete =
        std::all_of(round.blobs.begin(), round.blobs.end(), [](auto& each) { return each.has_value(); });
  }
  while (!round.out.empty()) {
    ssize_t n =
        ::send(channels_[right][kControlChannel].get(), round.out.data(), round.out.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) throw Error(name(right) + " left while the ranks met: " + system_text(errno), right);
    round.out.erase(0, static_cast<size_t>(n));
  }
  return complete;
}

void Meeting::try_other_pairs() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  for (int p = rank_ + 1; p < size_; p++) {
    if (p == right || p == left) continue;
    for (uint32_t channel = 0; channel < n_channels(); channel++) {
      size_t index = channel == kControlChannel ? 0 : channel - 1;
      call(p, channel, {later_[p][index]}, true);
    }
  }
  run(
      [&] {
        return std::all_of(outgoing_.begin(), outgoing_.end(), [](auto& o) { return o.done || o.given_up; });
      },
      [&] { return std::string("other ranks than the neighbours did not answer"); });
}

// The caller of a pair knows whether all its connections are there; what it says holds for both.
void Meeting::agree() {
  std::string own(size_, 0);
  for (int p = 0; p < size_; p++) {
    bool neighbours = p == (rank_ + 1) % size_ || rank_ == (p + 1) % size_;
    own[p] = neighbours || (p > rank_ && have(p));
  }
  Round matrix;
  go_round(matrix, own, "the matrix of links");
  for (int a = 0; a < size_; a++) {
    if (static_cast<int>(matrix.blobs[a]->size()) != size_)
      throw Error(name(a) + " sent a matrix of another size");
    for (int b = a + 1; b < size_; b++) direct_[a][b] = direct_[b][a] = (*matrix.blobs[a])[b] != 0;
  }
}

// --- the result ---

Wiring Meeting::wiring() {
  Wiring wiring;
  wiring.rank = rank_;
  wiring.size = size_;
  wiring.identities = identities_;
  wiring.direct = direct_;
  wiring.data.resize(size_);
  wiring.control.resize(size_);
  for (int p = 0; p < size_; p++) {
    if (p == rank_ || !direct_[rank_][p]) continue;
    if (!have(p)) throw Error(name(p) + " says that it is connected, and is not");
    die_of_silence(channels_[p][kControlChannel]);
    wiring.control[p] = std::move(channels_[p][kControlChannel]);
    for (size_t i = 1; i < channels_[p].size(); i++) wiring.data[p].push_back(std::move(channels_[p][i]));
  }
  size_t n_direct = std::count(direct_[rank_].begin(), direct_[rank_].end(), 1);
  say("connected with " + plural(n_direct, "rank") + " of " + std::to_string(size_ - 1) + foreigners());
  return wiring;
}

Wiring alone() {
  Wiring wiring;
  wiring.identities = {{process::host_name(), static_cast<uint32_t>(::getpid()), process::node_identity(),
                        static_cast<uint32_t>(process::processors())}};
  wiring.data.resize(1);
  wiring.control.resize(1);
  wiring.direct = {{1}};
  return wiring;
}

}  // namespace

Wiring connect(const ConnectOptions& options) {
  std::string where =
      "[ring] rank " + std::to_string(options.rank) + " of " + std::to_string(options.hosts.size()) + ": ";
  try {
    Meeting meeting(options);
    if (options.hosts.size() == 1) return alone();
    return options.mode == Mode::kGang ? meeting.gang() : meeting.hostfile();
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    throw Error(where + error.what(), error.culprit());
  } catch (const BadArgument& error) {
    throw BadArgument(where + error.what());
  }
}

}  // namespace jobkit
