#include "bootstrap.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>

#include "bytes.h"
#include "carrier.h"
#include "control.h"
#include "handshake.h"
#include "process.h"
#include "sharing.h"

namespace jobkit {
namespace {

// A caller that has not made itself known by then is no rank, nor is a listener that answers the connection
// but not the handshake; and for each rank more, since all of them may share a processor: with 256 on two, a
// handshake took 2 to 6 s.
constexpr double kTalkSeconds = 5;
constexpr double kTalkSecondsPerRank = 0.1;
// A connection that nobody answers or refuses.
constexpr double kKnockSeconds = 3;
// The same for a pair that nobody promised.
constexpr double kTrySeconds = 1;
// Callers that are in the middle of the handshake at the same time; the oldest makes room.
constexpr size_t kMaxCallers = 512;
// Calls that a rank makes at the same time: with 256 ranks on two processors, all at once would time out.
constexpr size_t kMaxCalls = 32;
// Between two calls to a rank that is not there yet.
constexpr auto kFirstPause = milliseconds(5);
constexpr auto kLongestPause = milliseconds(200);
constexpr int kCheckMs = 50;
// A rank's entry in the table, without its host's name: port, pid, node, processors, door.
constexpr size_t kEntry = 4 + 4 + 8 + 4 + sizeof(DoorKey);

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
    int peer = kNobody;
    uint32_t channel = kControlChannel;
    std::vector<Address> addresses;
    bool once = false;  // no second try
    size_t next = 0;
    std::optional<Handshake> handshake;
    bool ready = true;  // poll says that the handshake can go on
    Moment not_before{};
    Clock::duration pause = kFirstPause;
    bool done = false, given_up = false;
    std::string problem;
  };

  // One that another rank, or a stranger, makes.
  struct Incoming {
    Handshake handshake;
    bool ready = true;
  };

  // A blob per rank that goes round the ring.
  struct Round {
    std::vector<std::optional<std::string>> blobs;
    std::string in, out;
  };

  void check_hosts() const;
  uint32_t n_channels() const;
  std::vector<Address> addresses_of(int rank) const;
  void listen_here(bool contract);
  void call(int peer, uint32_t channel, std::vector<Address> addresses, bool once);
  void call_for_data(int peer);
  bool may_share(int peer) const;
  bool have_control(int peer) const { return static_cast<bool>(channels_[peer][kControlChannel]); }
  bool have(int peer) const;
  bool calls_are_over() const;

  void run(const std::function<bool()>& finished, const std::function<std::string()>& complaint);
  void poll_once();
  void advance_outgoing();
  void advance_one(Outgoing& out);
  void retry(Outgoing& out, const std::string& problem);
  void advance_incoming();
  void accept_callers();
  void settle(Handshake& handshake);

  bool take_frame(int peer, std::string& in, std::string& body);
  bool give(int peer, std::string& out);
  void go_round(Round& round, const std::string& own, const std::string& what);
  bool advance_round(Round& round);
  std::vector<std::string> through_rank_0(const std::string& own);
  bool advance_star(std::vector<std::string>& in, std::vector<std::string>& out,
                    std::vector<std::string>& all);
  std::string own_entry(int port) const;
  void read_entries(const std::vector<std::optional<std::string>>& blobs);
  void share();
  void call_other_pairs();
  std::string own_row() const;
  void agree(const std::vector<std::string>& rows);

  std::string complain_of(const std::vector<int>& peers) const;
  std::string foreigners() const;
  std::string name(int rank) const;
  void say(const std::string& text) const;
  Wiring wiring();

  const ConnectOptions& options_;
  int rank_, size_;
  Credentials credentials_;
  Deadline deadline_;
  const double talk_seconds_ = kTalkSeconds + kTalkSecondsPerRank * size_;
  Moment started_ = Clock::now();
  std::vector<Fd> listeners_;
  bool callers_wait_ = true;
  std::list<Outgoing> outgoing_;
  size_t n_calling_ = 0;
  std::list<Incoming> incoming_;
  std::vector<Identity> identities_;
  std::vector<std::vector<Fd>> channels_;    // [peer][channel]
  std::vector<std::vector<Address>> later_;  // [peer]: where its own listener is
  std::function<std::vector<Address>(int peer, uint32_t channel)> data_address_;
  bool once_for_data_ = false;
  std::optional<Door> door_;
  std::unique_ptr<Sharing> sharing_;
  std::shared_ptr<Arena> arena_;
  std::vector<int> places_;  // [peer]: in the arena
  std::vector<std::vector<uint8_t>> reach_;
  std::vector<pollfd> also_watched_;
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
  places_.assign(size_, kNobody);
  if (size_ == 1) return;
  process::allow_descriptors(size_ * (n_channels() + 2) + kMaxCallers);
  std::string problem = "turned off";
  if (options.shared_memory) door_ = open_door(problem);
  if (door_) {
    credentials_.identity.door = identities_[rank_].door = door_->key;
  } else {
    say("no shared memory: " + problem);
  }
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
  Outgoing& out = outgoing_.emplace_back();
  out.peer = peer;
  out.channel = channel;
  out.addresses = std::move(addresses);
  out.once = once;
}

// Whether this rank and the peer, whose control connection is there, are of one node and would share memory.
bool Meeting::may_share(int peer) const {
  const Identity &own = identities_[rank_], &other = identities_[peer];
  return own.node != 0 && own.node == other.node && own.door != DoorKey{} && other.door != DoorKey{};
}

bool Meeting::have(int peer) const {
  if (arena_ && places_[peer] != kNobody) return have_control(peer);
  return std::all_of(channels_[peer].begin(), channels_[peer].end(),
                     [](const Fd& fd) { return static_cast<bool>(fd); });
}

bool Meeting::calls_are_over() const {
  return std::all_of(outgoing_.begin(), outgoing_.end(), [](auto& o) { return o.done || o.given_up; });
}

void Meeting::call_for_data(int peer) {
  for (uint32_t channel = kControlChannel + 1; channel < n_channels(); channel++)
    call(peer, channel, data_address_(peer, channel), once_for_data_);
}

// --- the loop ---

void Meeting::run(const std::function<bool()>& finished, const std::function<std::string()>& complaint) {
  Moment checked = Clock::now();
  for (;;) {
    accept_callers();
    advance_incoming();
    advance_outgoing();
    if (sharing_) sharing_->advance();
    if (finished()) break;
    if (deadline_.passed()) throw Error(complaint());
    if (Clock::now() - checked >= milliseconds(kCheckMs)) {
      checked = Clock::now();
      if (options_.interrupted && options_.interrupted()) throw Interrupted("interrupted while connecting");
    }
    poll_once();
  }
  also_watched_.clear();
}

// Sleeps until something can go on, and notes what.
void Meeting::poll_once() {
  std::vector<pollfd> watched = std::move(also_watched_);
  std::vector<std::pair<size_t, bool*>> notes;
  Moment wake = std::min(deadline_.moment(), Clock::now() + milliseconds(kCheckMs));
  if (sharing_) sharing_->watch(watched);
  auto watch = [&](int descriptor, short events, bool& ready) {
    ready = false;
    notes.push_back({watched.size(), &ready});
    watched.push_back({descriptor, events, 0});
  };
  callers_wait_ = false;
  for (Fd& each : listeners_) {
    notes.push_back({watched.size(), &callers_wait_});
    watched.push_back({each.get(), POLLIN, 0});
  }
  for (Incoming& each : incoming_) {
    watch(each.handshake.descriptor(), each.handshake.events(), each.ready);
    wake = std::min(wake, each.handshake.next_deadline());
  }
  for (Outgoing& out : outgoing_) {
    if (out.handshake) {
      watch(out.handshake->descriptor(), out.handshake->events(), out.ready);
      wake = std::min(wake, out.handshake->next_deadline());
    } else if (!out.done && !out.given_up && n_calling_ < kMaxCalls) {
      wake = std::min(wake, out.not_before);
    }
  }
  (void)::poll(watched.data(), watched.size(), Deadline::at(wake).poll_ms(kCheckMs));
  for (auto& [index, ready] : notes) *ready |= watched[index].revents != 0;
}

void Meeting::accept_callers() {
  if (!callers_wait_) return;
  for (Fd& listener : listeners_) {
    while (Fd socket = accept_one(listener)) {
      tune(socket);
      if (incoming_.size() >= kMaxCallers) incoming_.pop_front();
      incoming_.push_back(
          {Handshake::answer(std::move(socket), credentials_, n_channels(), Deadline::in(talk_seconds_))});
    }
  }
}

void Meeting::advance_incoming() {
  Moment now = Clock::now();
  for (auto at = incoming_.begin(); at != incoming_.end();) {
    if (at->ready || now >= at->handshake.next_deadline()) at->handshake.advance();
    if (!at->handshake.finished()) {
      ++at;
      continue;
    }
    settle(at->handshake);
    at = incoming_.erase(at);
  }
}

void Meeting::advance_outgoing() {
  Moment now = Clock::now();
  // A call that is over may add others at the end.
  for (auto at = outgoing_.begin(); at != outgoing_.end(); ++at) {
    if (at->done || at->given_up) continue;
    if (at->handshake ? at->ready || now >= at->handshake->next_deadline()
                      : n_calling_ < kMaxCalls && now >= at->not_before)
      advance_one(*at);
  }
}

void Meeting::advance_one(Outgoing& out) {
  if (!out.handshake) {
    Deadline knock = Deadline::in(out.once ? kTrySeconds : kKnockSeconds);
    const Address& address = out.addresses[out.next++ % out.addresses.size()];
    out.handshake = Handshake::call(address, credentials_, out.peer, out.channel, knock,
                                    Deadline::in(kKnockSeconds + talk_seconds_));
    n_calling_++;
  }
  out.handshake->advance();
  if (!out.handshake->finished()) return;
  Handshake handshake = std::move(*out.handshake);
  out.handshake.reset();
  n_calling_--;
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
  if (handshake.channel() == kControlChannel && handshake.is_call() && !may_share(peer)) call_for_data(peer);
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
  data_address_ = [&](int peer, uint32_t) { return addresses_of(peer); };
  listen_here(true);
  std::vector<int> others;
  for (int p = 0; p < size_; p++) {
    if (p != rank_) others.push_back(p);
    if (p > rank_) call(p, kControlChannel, addresses_of(p), false);
  }
  auto complaint = [&] { return complain_of(others); };
  run([&] { return std::all_of(others.begin(), others.end(), [&](int p) { return have_control(p); }); },
      complaint);
  share();
  run([&] { return std::all_of(others.begin(), others.end(), [&](int p) { return have(p); }); }, complaint);
  agree(through_rank_0(own_row()));
  return wiring();
}

// --- hostfile ---

Wiring Meeting::hostfile() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  // Of two ranks each is the other's right neighbour: one call is enough.
  bool calls = size_ > 2 || rank_ == 0, is_called = size_ > 2 || rank_ == 1;
  data_address_ = [&](int peer, uint32_t channel) { return resolve(options_.hosts[peer][channel - 1]); };
  if (is_called) listen_here(true);
  if (calls) call(right, kControlChannel, resolve(options_.hosts[right][0]), false);
  std::vector<int> neighbours = {right};
  if (left != right) neighbours.push_back(left);
  auto met = [&](int p) { return have(p) || (have_control(p) && may_share(p)); };
  run([&] { return std::all_of(neighbours.begin(), neighbours.end(), met); },
      [&] { return complain_of(neighbours); });
  // Ports of the contract are for meeting only: a listener left there makes MLX's own ring hang.
  listeners_.clear();
  incoming_.clear();
  outgoing_.clear();

  data_address_ = [&](int peer, uint32_t channel) { return std::vector{later_[peer][channel - 1]}; };
  once_for_data_ = true;
  listen_here(false);
  Round table;
  go_round(table, own_entry(local_address(listeners_[0]).port()), "the table of ranks");
  read_entries(table.blobs);
  call_other_pairs();
  share();
  run([&] { return calls_are_over(); },
      [&] { return std::string("other ranks than the neighbours did not answer"); });
  Round matrix;
  go_round(matrix, own_row(), "the matrix of links");
  std::vector<std::string> rows;
  for (auto& each : matrix.blobs) rows.push_back(std::move(*each));
  agree(rows);
  return wiring();
}

std::string Meeting::own_entry(int port) const {
  const Identity& own = credentials_.identity;
  std::string entry(kEntry, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(entry.data()))
      .put(static_cast<uint32_t>(port))
      .put(own.pid)
      .put(own.node)
      .put(own.processors)
      .put_bytes(own.door.data(), own.door.size());
  return entry + own.host;
}

void Meeting::read_entries(const std::vector<std::optional<std::string>>& blobs) {
  later_.resize(size_);
  for (int p = 0; p < size_; p++) {
    if (blobs[p]->size() < kEntry)
      throw Error("the table's entry of rank " + std::to_string(p) + " is too short");
    ByteReader reader(reinterpret_cast<const uint8_t*>(blobs[p]->data()));
    auto port = reader.get<uint32_t>();
    Identity& identity = identities_[p];
    identity.pid = reader.get<uint32_t>();
    identity.node = reader.get<uint64_t>();
    identity.processors = reader.get<uint32_t>();
    reader.get_bytes(identity.door.data(), identity.door.size());
    identity.host = blobs[p]->substr(kEntry);
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

// One frame at a time and no byte more: what follows the last one is for the control thread. False: it is not
// all there yet.
bool Meeting::take_frame(int peer, std::string& in, std::string& body) {
  for (;;) {
    size_t wanted = 8;
    if (in.size() >= 8) wanted += ByteReader(reinterpret_cast<const uint8_t*>(in.data()) + 4).get<uint32_t>();
    if (wanted > 8 + kMaxControlBytes)
      throw Error(name(peer) + " sent something that is not a control message");
    if (in.size() == wanted) break;
    char bytes[4096];
    ssize_t n =
        ::recv(channels_[peer][kControlChannel].get(), bytes, std::min(sizeof bytes, wanted - in.size()), 0);
    if (n < 0 && would_block(errno)) return false;
    if (n <= 0) {
      throw Error(name(peer) + " left while the ranks met: " +
                      (n == 0 ? "its connections were closed" : system_text(errno)),
                  peer);
    }
    in.append(bytes, static_cast<size_t>(n));
  }
  ControlKind kind;
  if (take_control_frame(in, kind, body) != 1 || kind != ControlKind::kTable)
    throw Error(name(peer) + " sent something else than the table of ranks");
  return true;
}

// True once all of `out` is with the kernel.
bool Meeting::give(int peer, std::string& out) {
  while (!out.empty()) {
    ssize_t n = ::send(channels_[peer][kControlChannel].get(), out.data(), out.size(), kSendFlags);
    if (n < 0 && would_block(errno)) return false;
    if (n < 0) throw Error(name(peer) + " left while the ranks met: " + system_text(errno), peer);
    out.erase(0, static_cast<size_t>(n));
  }
  return true;
}

void Meeting::go_round(Round& round, const std::string& own, const std::string& what) {
  round.blobs.resize(size_);
  round.blobs[rank_] = own;
  round.out = round_frame(rank_, own);
  run([&] { return advance_round(round); },
      [&] {
        std::string missing;
        for (int p = 0; p < size_; p++) {
          if (!round.blobs[p]) missing += (missing.empty() ? "" : ", ") + name(p);
        }
        return what + " did not come round: nothing from " + missing + foreigners();
      });
}

// Passes on what comes from the left, but for what the right neighbour began with. True when all is here and
// passed on.
bool Meeting::advance_round(Round& round) {
  int left = (rank_ + size_ - 1) % size_, right = (rank_ + 1) % size_;
  auto complete = [&] {
    return std::all_of(round.blobs.begin(), round.blobs.end(), [](auto& each) { return each.has_value(); });
  };
  std::string body;
  while (!complete() && take_frame(left, round.in, body)) {
    if (body.size() < 4) throw Error(name(left) + " sent something else than the table of ranks");
    int of = ByteReader(reinterpret_cast<const uint8_t*>(body.data())).get<int32_t>();
    if (of < 0 || of >= size_) throw Error(name(left) + " sent an entry of a rank that does not exist");
    round.blobs[of] = body.substr(4);
    if (of != right) round.out += round_frame(of, *round.blobs[of]);
  }
  bool passed_on = give(right, round.out);
  also_watched_ = {{channels_[left][kControlChannel].get(), POLLIN, 0}};
  if (!passed_on) also_watched_.push_back({channels_[right][kControlChannel].get(), POLLOUT, 0});
  return complete() && passed_on;
}

// Everybody's blob, in rank order: given to rank 0, which gives them all to everybody.
std::vector<std::string> Meeting::through_rank_0(const std::string& own) {
  std::vector<std::string> in(size_), out(size_), all(size_);
  all[rank_] = own;
  if (rank_ != 0) out[0] = control_frame(ControlKind::kTable, own);
  run([&] { return advance_star(in, out, all); },
      [&] { return std::string("the matrix of links did not come") + foreigners(); });
  return all;
}

// All blobs are of the same size.
bool Meeting::advance_star(std::vector<std::string>& in, std::vector<std::string>& out,
                           std::vector<std::string>& all) {
  auto complete = [&] {
    return std::none_of(all.begin(), all.end(), [](auto& each) { return each.empty(); });
  };
  size_t n = all[rank_].size();
  bool was_complete = complete(), given = true;
  int n_peers = rank_ == 0 ? size_ : 1;
  for (int p = 0; p < n_peers && !was_complete; p++) {
    std::string body;
    if (p == rank_ || !all[p].empty() || !take_frame(p, in[p], body)) continue;
    if (body.size() != (rank_ == 0 ? n : n * all.size()))
      throw Error(name(p) + " sent a matrix of another size");
    if (rank_ == 0) all[p] = body;
    for (int q = 0; rank_ != 0 && q < size_; q++) all[q] = body.substr(q * n, n);
  }
  if (rank_ == 0 && !was_complete && complete()) {
    std::string joined;
    for (const std::string& each : all) joined += each;
    std::fill(out.begin() + 1, out.end(), control_frame(ControlKind::kTable, joined));
  }
  also_watched_.clear();
  for (int p = 0; p < n_peers; p++) {
    if (p == rank_) continue;
    bool wants_out = !give(p, out[p]);
    given &= !wants_out;
    int events = (all[p].empty() ? POLLIN : 0) | (wants_out ? POLLOUT : 0);
    if (events) also_watched_.push_back({channels_[p][kControlChannel].get(), static_cast<short>(events), 0});
  }
  return complete() && given;
}

void Meeting::call_other_pairs() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  for (int p = rank_ + 1; p < size_; p++) {
    if (p != right && p != left) call(p, kControlChannel, {later_[p][0]}, true);
  }
}

// Shared memory for the ranks of this node that want it. Where it cannot be had they call each other.
void Meeting::share() {
  std::vector<int> here;
  for (int p = 0; p < size_; p++) {
    if (may_share(p)) here.push_back(p);
  }
  if (here.size() < 2) return;
  int index = static_cast<int>(std::find(here.begin(), here.end(), rank_) - here.begin());
  sharing_ = Sharing::make(static_cast<int>(here.size()), index, identities_[here[0]].door,
                           std::move(door_->listener));
  run([&] { return sharing_->is_finished(); },
      [&] { return "waited for the ranks of this node to share memory" + foreigners(); });
  arena_ = sharing_->arena();
  std::string problem = sharing_->problem();
  sharing_.reset();
  for (size_t i = 0; i < here.size() && arena_; i++) places_[here[i]] = static_cast<int>(i);
  if (arena_) return say("shares memory with " + plural(here.size() - 1, "rank"));
  say("no shared memory: " + problem);
  identities_[rank_].door = {};  // whoever is met from now on is called at once
  for (int p : here) {
    if (p > rank_ && have_control(p)) call_for_data(p);
  }
}

std::string Meeting::own_row() const {
  std::string row(size_, 0);
  for (int p = 0; p < size_; p++) {
    bool shares = arena_ && places_[p] != kNobody;
    if (p != rank_ && have(p)) row[p] = static_cast<char>(shares ? Reach::kShared : Reach::kDirect);
  }
  return row;
}

// What both of a pair say holds; whether it is connected the lower one knows best.
void Meeting::agree(const std::vector<std::string>& rows) {
  reach_.assign(size_, std::vector<uint8_t>(size_, 0));
  for (int a = 0; a < size_; a++) {
    if (static_cast<int>(rows[a].size()) != size_) throw Error(name(a) + " sent a matrix of another size");
    for (int b = a + 1; b < size_; b++) {
      auto reach = static_cast<Reach>(rows[a][b]);
      bool shared = static_cast<Reach>(rows[b][a]) == Reach::kShared;
      if (reach > Reach::kShared || (reach == Reach::kShared) != shared) reach = Reach::kNone;
      reach_[a][b] = reach_[b][a] = static_cast<uint8_t>(reach);
    }
  }
}

// --- the result ---

namespace {

// "2 TCP connections over loopback with reno"
std::string describe(const std::vector<Fd>& connections) {
  std::string text = plural(connections.size(), "TCP connection");
  if (connections.empty()) return text;
  std::string control = congestion_control(connections[0]);
  text += std::string(" over ") + name_of(carrier_of(connections[0]));
  return control.empty() ? text : text + " with " + control;
}

}  // namespace

Wiring Meeting::wiring() {
  Wiring wiring;
  wiring.rank = rank_;
  wiring.size = size_;
  wiring.identities = identities_;
  wiring.reach = reach_;
  wiring.arena = arena_;
  wiring.places = places_;
  wiring.data.resize(size_);
  wiring.control.resize(size_);
  size_t n_reached = 0, n_shared = 0;
  std::string far;
  std::map<std::string, std::string> peers;  // by what leads to them
  for (int p = 0; p < size_; p++) {
    auto reach = static_cast<Reach>(reach_[rank_][p]);
    if (reach == Reach::kNone && p != rank_) far += (far.empty() ? "" : ", ") + std::to_string(p);
    if (reach == Reach::kNone) continue;
    if (!have(p)) throw Error(name(p) + " says that it is connected, and is not");
    n_reached++;
    n_shared += reach == Reach::kShared;
    die_of_silence(channels_[p][kControlChannel]);
    wiring.control[p] = std::move(channels_[p][kControlChannel]);
    if (reach == Reach::kShared) continue;
    for (size_t i = 1; i < channels_[p].size(); i++) {
      choose_congestion_control(channels_[p][i], options_.congestion);
      wiring.data[p].push_back(std::move(channels_[p][i]));
    }
    if (!options_.verbose) continue;
    std::string& ranks = peers[describe(wiring.data[p])];
    ranks += (ranks.empty() ? "" : ", ") + std::to_string(p);
  }
  say("connected with " + plural(n_reached, "rank") + " of " + std::to_string(size_ - 1) + ", with " +
      std::to_string(n_shared) + " of them through shared memory" + foreigners());
  for (auto& [how, ranks] : peers) say("rank " + ranks + ": " + how);
  if (!far.empty()) say("messages with rank " + far + " go through the ranks between");
  return wiring;
}

Wiring alone() {
  Wiring wiring;
  wiring.identities = {{process::host_name(), static_cast<uint32_t>(::getpid()), process::node_identity(),
                        static_cast<uint32_t>(process::processors())}};
  wiring.data.resize(1);
  wiring.control.resize(1);
  wiring.reach = {{0}};
  wiring.places = {kNobody};
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
