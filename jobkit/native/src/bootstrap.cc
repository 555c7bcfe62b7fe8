#include "bootstrap.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "bytes.h"
#include "calls.h"
#include "carrier.h"
#include "process.h"
#include "rounds.h"
#include "sharing.h"

namespace jobkit {
namespace {

// Between two looks whether to stop.
constexpr int kCheckMs = 50;
// A control connection is dead when what was sent over it has not arrived for so long; and a second more for
// so many ranks of a host: 256 on two processors lost connections within 5 s.
constexpr int kSilenceSeconds = 5;
constexpr int kRanksPerSecond = 10;
// Between two words about who is missing.
constexpr auto kPatience = std::chrono::seconds(30);
// Descriptors for strangers, beside those of the ranks.
constexpr size_t kCallers = 512;
// A rank's entry in the table, without its host's name: port, pid, node, processors, door.
constexpr size_t kEntry = 4 + 4 + 8 + 4 + sizeof(DoorKey);
// What a host's name, and an address, take in a table whose entries are of one size.
constexpr size_t kHostBytes = 64, kPlaceBytes = 80;

// "[ring] rank 3 of 8: "
std::string where(const ConnectOptions& options) {
  return "[" + options.label + "] rank " + std::to_string(options.rank) + " of " +
         std::to_string(options.hosts.size()) + ": ";
}

std::string plural(size_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : noun.ends_with('s') ? "es" : "s");
}

// Everything that one rank's part in a meeting needs; its loop is `run`.
class Meeting final : public CallsObserver {
 public:
  explicit Meeting(const ConnectOptions& options);
  Wiring gang();
  Wiring hostfile();
  Wiring coordinator();

 private:
  void check_hosts() const;
  uint32_t n_channels() const;
  std::vector<Address> addresses_of(int rank) const;
  int listen_here(bool contract);
  void call_for_data(int peer);
  bool may_share(int peer) const;
  bool have_control(int peer) const { return static_cast<bool>(channels_[peer][kControlChannel]); }
  bool have(int peer) const;
  bool have_all(const std::vector<int>& peers) const;

  void run(const std::function<bool()>& finished, const std::function<std::string()>& complaint);
  void look_for_the_ended() const;
  void poll_once();
  void connected(Handshake& handshake) override;
  std::string name(int rank) const override;
  void say(const std::string& text) const override;

  RoundStream stream(int peer) const;
  std::vector<std::string> finish(Round& round, const std::string& what);
  std::vector<std::string> round_the_ring(const std::string& own, const std::string& what);
  std::vector<std::string> through_rank_0(const std::string& own);
  std::string own_entry(int port) const;
  int read_entry(int rank, const std::string& entry);
  void read_entries(const std::vector<std::string>& entries);
  void share();
  void call_other_pairs();
  bool has_cables() const { return !options_.cables.devices.empty(); }
  bool may_have_cable(int peer) const {
    return has_cables() && !options_.cables.devices[rank_][peer].empty();
  }
  std::string own_place(int port) const;
  void read_places(const std::vector<std::string>& places);
  void lay_cables();
  std::map<int, std::string> exchange(const std::function<std::string(int peer)>& message,
                                      const std::vector<int>& peers, const std::string& what);
  std::string own_row() const;
  void agree(const std::vector<std::string>& rows);

  std::string complain_of(const std::vector<int>& peers) const;
  Wiring wiring();

  const ConnectOptions& options_;
  int rank_, size_;
  Credentials credentials_;
  Deadline deadline_;
  Moment started_ = Clock::now();
  std::optional<Calls> calls_;
  bool checks_ = false;
  std::vector<int> awaited_;  // ranks that have to come
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
  std::unique_ptr<Cabling> cabling_;
  std::set<int> cabled_;  // peers that cables lead to
  const std::vector<pollfd>* also_watched_ = nullptr;
};

Meeting::Meeting(const ConnectOptions& options)
    : options_(options),
      rank_(options.rank),
      size_(static_cast<int>(options.hosts.size())),
      deadline_(Deadline::in(options.connect_timeout_s)) {
  check_hosts();
  require_congestion_control(options.congestion);
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
  process::allow_descriptors(size_ * (n_channels() + 2) + kCallers);
  std::string problem = "turned off";
  if (options.shared_memory) door_ = open_door(problem);
  if (door_) {
    credentials_.identity.door = identities_[rank_].door = door_->key;
  } else {
    say("no shared memory: " + problem);
  }
  calls_.emplace(credentials_, n_channels(), *this);
}

void Meeting::check_hosts() const {
  if (size_ < 1) throw BadArgument("the address list is empty, expected the addresses of every rank");
  if (rank_ < 0 || rank_ >= size_) {
    throw BadArgument("rank " + std::to_string(rank_) + " is not in the address list, which has " +
                      plural(size_, "rank") + ": expected 0 to " + std::to_string(size_ - 1));
  }
  if (size_ == 1) return;
  const size_t n_rows = options_.cables.devices.size();
  if (n_rows != 0 && n_rows != options_.hosts.size()) {
    throw BadArgument("the matrix of devices has " + plural(n_rows, "row") + ", expected " +
                      std::to_string(size_));
  }
  for (int p = 0; p < size_; p++) {
    size_t n = options_.hosts[p].size(), expected = options_.hosts[0].size();
    if (n == 0 && options_.mode == Mode::kCoordinator && p > 0) continue;
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

// Control alone where MPI carries the data; else control, and a data connection per address; gang addresses
// are alternatives.
uint32_t Meeting::n_channels() const {
  if (has_cables() || options_.mpi) return 1;
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
  if (options_.hosts[rank].empty())
    return identities_[rank].host.empty() ? text : text + " (" + identities_[rank].host + ")";
  if (options_.mode == Mode::kHostfile || identities_[rank].host.empty()) {
    std::string all;
    for (const std::string& each : options_.hosts[rank]) all += (all.empty() ? "" : ", ") + each;
    return text + " (" + all + ")";
  }
  return text + " (" + identities_[rank].host + ", " + options_.hosts[rank][0] + ")";
}

void Meeting::say(const std::string& text) const {
  if (!options_.verbose) return;
  std::fprintf(stderr, "%s%s\n", where(options_).c_str(), text.c_str());
}

// One listener for each address of this rank: on the contract's ports, or all on one port that the system
// chooses, which is returned.
int Meeting::listen_here(bool contract) {
  int port = 0;
  bool is_open = false;
  std::set<std::string> seen;
  std::string problem;
  for (Address address : addresses_of(rank_)) {
    if (!contract) address.set_port(0);
    if (!seen.insert(to_string(address)).second) continue;
    if (!contract) address.set_port(port);
    try {
      Fd listener = listen_on(address, contract);
      if (!contract && port == 0) port = local_address(listener).port();
      calls_->listen(std::move(listener));
      is_open = true;
    } catch (const Error& error) {
      problem = error.what();
      // A name may stand for addresses of which only some are this host's, and a gang's address may be seen
      // from outside only; the parallel connections of a hostfile each need their own.
      if (options_.mode == Mode::kHostfile && options_.hosts[rank_].size() > 1) throw;
    }
  }
  if (!is_open) throw Error(problem);
  return port;
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

bool Meeting::have_all(const std::vector<int>& peers) const {
  return std::all_of(peers.begin(), peers.end(), [&](int p) { return have(p); });
}

void Meeting::call_for_data(int peer) {
  for (uint32_t channel = kControlChannel + 1; channel < n_channels(); channel++)
    calls_->call(peer, channel, data_address_(peer, channel), once_for_data_);
}

// --- the loop ---

void Meeting::run(const std::function<bool()>& finished, const std::function<std::string()>& complaint) {
  Moment checked = Clock::now(), warn_at = checked + kPatience;
  for (;;) {
    calls_->advance();
    if (sharing_) sharing_->advance();
    if (finished()) break;
    if (deadline_.passed()) throw Error(complaint());
    if (Clock::now() - checked >= milliseconds(kCheckMs)) {
      checked = Clock::now();
      if (options_.interrupted && options_.interrupted()) throw Interrupted("interrupted while connecting");
      look_for_the_ended();
    }
    if (checked >= warn_at) {
      warn_at = checked + kPatience;
      if (options_.warn) options_.warn(where(options_) + complaint());
    }
    poll_once();
  }
}

// A rank that ended before it came will not come: whoever started it notes that.
void Meeting::look_for_the_ended() const {
  if (options_.exit_folder.empty()) return;
  for (int p : awaited_) {
    if (have_control(p)) continue;
    const std::string note = options_.exit_folder + "/rank-" + std::to_string(p) + ".exit.json";
    if (::access(note.c_str(), F_OK) == 0) throw Error(name(p) + " ended before it met the others", p);
  }
}

// Sleeps until something can go on, and notes what.
void Meeting::poll_once() {
  std::vector<pollfd> watched;
  if (also_watched_) watched = *also_watched_;
  Moment wake = std::min(deadline_.moment(), Clock::now() + milliseconds(kCheckMs));
  if (sharing_) sharing_->watch(watched);
  calls_->watch(watched, wake);
  (void)::poll(watched.data(), watched.size(), Deadline::at(wake).poll_ms(kCheckMs));
  calls_->heed(watched);
}

void Meeting::connected(Handshake& handshake) {
  int peer = handshake.peer();
  // A caller that gave up waiting for our answer calls again: the newer connection is the one that it knows
  // of.
  channels_[peer][handshake.channel()] = handshake.take_socket();
  tune(channels_[peer][handshake.channel()]);
  identities_[peer] = handshake.identity();
  if (handshake.channel() == kControlChannel && handshake.is_call() && !may_share(peer)) call_for_data(peer);
}

std::string Meeting::complain_of(const std::vector<int>& peers) const {
  std::string missing, problem;
  size_t n_missing = 0;
  for (int p : peers) {
    if (have(p)) continue;
    if (++n_missing <= 8) missing += (missing.empty() ? "" : ", ") + name(p);
    if (std::string found = calls_->problem_of(p); !found.empty()) problem = "; " + found;
  }
  if (n_missing > 8) missing += " and " + std::to_string(n_missing - 8) + " more";
  char waited[32];
  std::snprintf(waited, sizeof waited, "%.1f s",
                std::chrono::duration<double>(Clock::now() - started_).count());
  return "waited " + std::string(waited) + " for " + missing + problem + calls_->foreigners();
}

// --- gang ---

Wiring Meeting::gang() {
  data_address_ = [&](int peer, uint32_t) { return addresses_of(peer); };
  listen_here(true);
  std::vector<int> others;
  for (int p = 0; p < size_; p++) {
    if (p != rank_) others.push_back(p);
    if (p > rank_) calls_->call(p, kControlChannel, addresses_of(p), false);
  }
  auto complaint = [&] { return complain_of(others); };
  awaited_ = others;
  run([&] { return std::all_of(others.begin(), others.end(), [&](int p) { return have_control(p); }); },
      complaint);
  share();
  run([&] { return have_all(others); }, complaint);
  if (has_cables()) lay_cables();
  agree(through_rank_0(own_row()));
  return wiring();
}

// --- coordinator ---

Wiring Meeting::coordinator() {
  std::vector<int> others;
  for (int p = 0; p < size_; p++) {
    if (p != rank_ && (rank_ == 0 || p == 0)) others.push_back(p);
  }
  if (rank_ == 0) listen_here(true);
  if (rank_ != 0) calls_->call(0, kControlChannel, addresses_of(0), false);
  awaited_ = others;
  auto met = [&](int p) { return have_control(p); };
  run([&] { return std::all_of(others.begin(), others.end(), met); }, [&] { return complain_of(others); });
  // The contract's port is for meeting only.
  calls_->hang_up();

  // Each rank listens where it has called rank 0 from: there the others reach it too.
  int port = 0;
  if (rank_ != 0) {
    Address address = local_address(channels_[0][kControlChannel]);
    address.set_port(0);
    Fd listener = listen_on(address, false);
    port = local_address(listener).port();
    calls_->listen(std::move(listener));
  }
  read_places(through_rank_0(own_place(port)));
  others.clear();
  for (int p = 0; p < size_; p++) {
    if (p == rank_ || !(may_have_cable(p) || may_share(p))) continue;
    others.push_back(p);
    if (p > rank_ && rank_ != 0) calls_->call(p, kControlChannel, later_[p], false);
  }
  run([&] { return std::all_of(others.begin(), others.end(), met); }, [&] { return complain_of(others); });
  share();
  lay_cables();
  agree(through_rank_0(own_row()));
  return wiring();
}

// A table entry, all of one size: the entry of the ring's table, and where this rank listens.
std::string Meeting::own_place(int port) const {
  std::string entry = own_entry(port);
  entry.resize(kEntry + kHostBytes);
  const Address address = rank_ == 0 ? Address{} : local_address(channels_[0][kControlChannel]);
  std::string place = rank_ == 0 ? "" : to_string(address);
  place = place.substr(0, place.rfind(':'));
  place.resize(kPlaceBytes);
  return entry + place;
}

void Meeting::read_places(const std::vector<std::string>& places) {
  later_.resize(size_);
  for (int p = 0; p < size_; p++) {
    const std::string entry = places[p].substr(0, kEntry + kHostBytes);
    const int port = read_entry(p, entry.substr(0, entry.find('\0', kEntry)));
    if (p == rank_ || p == 0) continue;
    const std::string place = places[p].substr(kEntry + kHostBytes);
    later_[p] = resolve(place.substr(0, place.find('\0')) + ":" + std::to_string(port));
  }
}

// --- cables ---

std::map<int, std::string> Meeting::exchange(const std::function<std::string(int peer)>& message,
                                             const std::vector<int>& peers, const std::string& what) {
  std::vector<std::pair<RoundStream, std::string>> streams;
  for (int p : peers) streams.emplace_back(stream(p), message(p));
  PairRound round(rank_, size_, std::move(streams));
  const std::vector<std::string> all = finish(round, what);
  std::map<int, std::string> found;
  for (int p : peers) found[p] = all[p];
  return found;
}

// Receives are posted before a rank says where its queue pairs are, and nothing is sent before all ranks
// have said how they reach the others, which comes after this.
void Meeting::lay_cables() {
  std::map<int, Address> near;
  std::vector<int> peers;
  for (int p = 0; p < size_; p++) {
    const bool shares = arena_ && places_[p] != kNobody;
    if (p == rank_ || shares || !may_have_cable(p)) continue;
    near[p] = local_address(channels_[p][kControlChannel]);
    peers.push_back(p);
  }
  cabling_ = std::make_unique<Cabling>(options_.cables, rank_);
  cabling_->open(peers, near);
  const auto offers = exchange([&](int p) { return cabling_->offer(p); }, peers, "the offers of cables");
  cabling_->make(offers);
  const auto ends = exchange([&](int p) { return cabling_->address(p); }, peers, "the ends of cables");
  cabling_->connect(ends);
  cabled_ = std::set<int>(peers.begin(), peers.end());
}

// --- hostfile ---

Wiring Meeting::hostfile() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  // Of two ranks each is the other's right neighbour: one call is enough.
  bool calls = size_ > 2 || rank_ == 0, is_called = size_ > 2 || rank_ == 1;
  data_address_ = [&](int peer, uint32_t channel) { return resolve(options_.hosts[peer][channel - 1]); };
  if (is_called) listen_here(true);
  if (calls) calls_->call(right, kControlChannel, resolve(options_.hosts[right][0]), false);
  std::vector<int> neighbours = {right};
  if (left != right) neighbours.push_back(left);
  auto met = [&](int p) { return have(p) || (have_control(p) && may_share(p)); };
  awaited_ = neighbours;
  run([&] { return std::all_of(neighbours.begin(), neighbours.end(), met); },
      [&] { return complain_of(neighbours); });
  // Ports of the contract are for meeting only: a listener left there makes MLX's own ring hang.
  calls_->hang_up();

  data_address_ = [&](int peer, uint32_t channel) { return std::vector{later_[peer][channel - 1]}; };
  once_for_data_ = true;
  int port = listen_here(false);
  read_entries(round_the_ring(own_entry(port), "the table of ranks"));
  call_other_pairs();
  share();
  run([&] { return calls_->are_over(); },
      [&] { return std::string("other ranks than the neighbours did not answer"); });
  agree(round_the_ring(own_row(), "the matrix of links"));
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

// Who a rank is. Returns the port of its own listener.
int Meeting::read_entry(int rank, const std::string& entry) {
  if (entry.size() < kEntry)
    throw Error("the table's entry of rank " + std::to_string(rank) + " is too short");
  ByteReader reader(reinterpret_cast<const uint8_t*>(entry.data()));
  auto port = reader.get<uint32_t>();
  Identity& identity = identities_[rank];
  identity.pid = reader.get<uint32_t>();
  identity.node = reader.get<uint64_t>();
  identity.processors = reader.get<uint32_t>();
  reader.get_bytes(identity.door.data(), identity.door.size());
  identity.host = entry.substr(kEntry);
  return static_cast<int>(port);
}

void Meeting::read_entries(const std::vector<std::string>& entries) {
  later_.resize(size_);
  for (int p = 0; p < size_; p++) {
    const int port = read_entry(p, entries[p]);
    if (p == rank_) continue;
    for (const std::string& text : options_.hosts[p]) {
      later_[p].push_back(resolve(text)[0]);
      later_[p].back().set_port(port);
    }
  }
}

// --- what all are told ---

RoundStream Meeting::stream(int peer) const { return {channels_[peer][kControlChannel], peer, name(peer)}; }

std::vector<std::string> Meeting::finish(Round& round, const std::string& what) {
  also_watched_ = &round.watched();
  run([&] { return round.advance(); },
      [&] {
        std::string missing;
        for (int p : round.missing()) missing += (missing.empty() ? "" : ", ") + name(p);
        return what + " did not come: nothing from " + missing + calls_->foreigners();
      });
  also_watched_ = nullptr;
  return round.messages();
}

std::vector<std::string> Meeting::round_the_ring(const std::string& own, const std::string& what) {
  int left = (rank_ + size_ - 1) % size_, right = (rank_ + 1) % size_;
  RingRound round(rank_, size_, own, stream(left), stream(right));
  return finish(round, what);
}

std::vector<std::string> Meeting::through_rank_0(const std::string& own) {
  std::vector<RoundStream> streams;
  for (int p = 1; p < size_ && rank_ == 0; p++) streams.push_back(stream(p));
  if (rank_ != 0) streams.push_back(stream(0));
  StarRound round(rank_, size_, own, std::move(streams));
  return finish(round, "the matrix of links");
}

void Meeting::call_other_pairs() {
  int right = (rank_ + 1) % size_, left = (rank_ + size_ - 1) % size_;
  for (int p = rank_ + 1; p < size_; p++) {
    if (p != right && p != left) calls_->call(p, kControlChannel, {later_[p][0]}, true);
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
      [&] { return "waited for the ranks of this node to share memory" + calls_->foreigners(); });
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

// How this rank reaches each other one; in its own place, what it wants of all.
std::string Meeting::own_row() const {
  std::string row(size_, 0);
  for (int p = 0; p < size_; p++) {
    bool shares = arena_ && places_[p] != kNobody;
    if (p != rank_ && has_cables() && !shares && !cabled_.count(p)) continue;
    if (p != rank_ && have(p)) row[p] = static_cast<char>(shares ? Reach::kShared : Reach::kDirect);
  }
  row[rank_] = options_.checks;
  return row;
}

// What both of a pair say holds; whether it is connected the lower one knows best.
void Meeting::agree(const std::vector<std::string>& rows) {
  reach_.assign(size_, std::vector<uint8_t>(size_, 0));
  for (int a = 0; a < size_; a++) {
    if (static_cast<int>(rows[a].size()) != size_) throw Error(name(a) + " sent a matrix of another size");
    checks_ |= rows[a][a] != 0;
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
  wiring.mpi = options_.mpi;
  wiring.identities = identities_;
  wiring.reach = reach_;
  wiring.arena = arena_;
  wiring.places = places_;
  wiring.checks = checks_;
  wiring.label = options_.label;
  if (has_cables()) wiring.cables.resize(size_);
  wiring.data.resize(size_);
  wiring.control.resize(size_);
  size_t n_reached = 0, n_shared = 0;
  const int n_here = static_cast<int>(std::count_if(identities_.begin(), identities_.end(), [&](auto& each) {
    return each.node == credentials_.identity.node;
  }));
  // Where ranks outnumber processors, each waits for its turn, and what the kernel does for it may wait too.
  const int seconds_more = n_here / kRanksPerSecond;
  std::string far;
  std::map<std::string, std::string> peers;  // by what leads to them
  for (int p = 0; p < size_; p++) {
    auto reach = static_cast<Reach>(reach_[rank_][p]);
    if (reach == Reach::kNone && p != rank_) far += (far.empty() ? "" : ", ") + std::to_string(p);
    if (reach == Reach::kNone) continue;
    if (!have(p)) throw Error(name(p) + " says that it is connected, and is not");
    n_reached++;
    n_shared += reach == Reach::kShared;
    die_of_silence(channels_[p][kControlChannel], kSilenceSeconds + seconds_more);
    wiring.control[p] = std::move(channels_[p][kControlChannel]);
    if (reach == Reach::kShared) continue;
    if (has_cables()) {
      if (options_.verbose) say(name(p) + ": " + cabling_->describe(p));
      wiring.cables[p] = cabling_->take(p);
      continue;
    }
    for (size_t i = 1; i < channels_[p].size(); i++) {
      choose_congestion_control(channels_[p][i], options_.congestion);
      wiring.data[p].push_back(std::move(channels_[p][i]));
    }
    if (!options_.verbose) continue;
    std::string& ranks = peers[describe(wiring.data[p])];
    ranks += (ranks.empty() ? "" : ", ") + std::to_string(p);
  }
  say("connected with " + plural(n_reached, "rank") + " of " + std::to_string(size_ - 1) + ", with " +
      std::to_string(n_shared) + " of them through shared memory" + calls_->foreigners());
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
  try {
    Meeting meeting(options);
    if (options.hosts.size() == 1) return alone();
    if (options.mode == Mode::kCoordinator) return meeting.coordinator();
    return options.mode == Mode::kGang ? meeting.gang() : meeting.hostfile();
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    throw Error(where(options) + error.what(), error.culprit());
  } catch (const BadArgument& error) {
    throw BadArgument(where(options) + error.what());
  }
}

}  // namespace jobkit
