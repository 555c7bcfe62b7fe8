// What befalls the ranks of a mesh, and what they say that they wait for: between the calling threads and the
// control thread.
#include <algorithm>
#include <set>

#include "mesh.h"
#include "victim.h"

namespace jobkit {
namespace {

// How long the control connection of a peer may lag behind its data connections in telling that it ended.
constexpr std::chrono::milliseconds kVerdict = std::chrono::seconds(2);
// Cables say nothing of a process that ended, or half a second later.
constexpr std::chrono::milliseconds kCableVerdict(200);

// Peers that a waiting rank asks at each tick whether they are alive.
constexpr size_t kAskedAtOnce = 16;

// Ticks without a sign of life over a cable after which it counts as broken, if the peer's control thread,
// which lets it answer, is alive: a rank that hangs is found before that.
constexpr int kCablePings = kHeartbeats + 2;

}  // namespace

// --- failures ---

std::optional<Failure> Mesh::failure_of(const std::vector<int>& members,
                                        const std::vector<uint32_t>& births) {
  std::lock_guard lock(news_mutex_);
  for (const Failure& each : failures_) {
    auto at = std::find(members.begin(), members.end(), each.origin);
    if (at != members.end() && each.age >= births[at - members.begin()]) return each;
  }
  return std::nullopt;
}

bool Mesh::record(const Failure& failure) {
  if (failure.origin < 0 || failure.origin >= size_) return false;
  std::lock_guard lock(news_mutex_);
  for (const Failure& each : failures_) {
    if (each.origin == failure.origin && each.age >= failure.age) return false;
  }
  failures_.push_back(failure);
  return true;
}

bool Mesh::failed(const Failure& failure) {
  bool news = record(failure);
  if (news) changed();
  return news;
}

void Mesh::fail(const Failure& failure) {
  if (!record(failure)) return;
  // Told before any thread of this rank can raise, and leave: the others must hear of the failure first.
  if (control_) control_->tell(failure);
  changed();
}

// Whoever leaves because of a failure may be faster than the failure's own words: those that it leaves must
// hear of the reason first.
void Mesh::tell_again() {
  std::vector<Failure> failures;
  {
    std::lock_guard lock(news_mutex_);
    failures = failures_;
  }
  for (const Failure& each : failures) control_->tell(each);
}

void Mesh::blame(int culprit) {
  if (victim_file_.empty()) return;
  std::call_once(blamed_, [&] {
    if (std::string why = write_victim(victim_file_, culprit); !why.empty()) warn("not noted: " + why);
  });
}

Verdict Mesh::verdict(int peer) {
  std::unique_lock lock(news_mutex_);
  news_.wait_for(lock, has_cables_ ? kCableVerdict : kVerdict,
                 [&] { return peers_[peer].standing != Standing::kPresent; });
  if (const Peer& found = peers_[peer]; found.standing != Standing::kPresent) {
    return {found.standing == Standing::kLeft, found.by, found.text};
  }
  lock.unlock();
  Lock links(*this);
  Verdict found{false, kNobody, links_[peer] ? links_[peer]->reason() : "there is no link to it"};
  found.is_there = has_cables_;
  return found;
}

void Mesh::left(int peer, const std::string& text) {
  {
    std::lock_guard lock(news_mutex_);
    peers_[peer] = {Standing::kLeft, text, kNobody};
  }
  {
    // The leaver reads until this end of the stream, so that nothing of ours meets a closed socket.
    Lock lock(*this);
    if (links_[peer]) links_[peer]->finish_writing();
  }
  changed();
  news_.notify_all();
}

void Mesh::gone(int peer, const std::string& reason) {
  {
    std::lock_guard lock(news_mutex_);
    if (peers_[peer].standing == Standing::kPresent) peers_[peer] = {Standing::kGone, reason, kNobody};
  }
  {
    Lock lock(*this);
    if (links_[peer]) links_[peer]->peer_ended(reason);
  }
  changed();
  news_.notify_all();
}

void Mesh::cut_off(int peer, int by) {
  {
    std::lock_guard lock(news_mutex_);
    const Peer& between = peers_[by];
    std::string text = between.standing == Standing::kLeft ? "left " : "is gone: ";
    if (peers_[peer].standing == Standing::kPresent)
      peers_[peer] = {Standing::kGone, text + between.text, by};
  }
  changed();
  news_.notify_all();
}

// --- long waits ---

void Mesh::note(const Ticket& ticket, const LongWait& wait) {
  std::lock_guard lock(news_mutex_);
  long_waits_[&ticket] = wait;
}

void Mesh::forget(const Ticket& ticket) {
  std::lock_guard lock(news_mutex_);
  long_waits_.erase(&ticket);
}

Answer Mesh::own_answer() {
  Answer answer;
  answer.silent = false;
  std::map<const Ticket*, LongWait> waits;
  {
    std::lock_guard lock(news_mutex_);
    waits = long_waits_;
  }
  for (auto& [ticket, wait] : waits) {
    // The ticket of a call that is over since then concerns no link.
    wait.missing = missing(*ticket);
    answer.waits.push_back(std::move(wait));
  }
  Lock lock(*this);
  // Whoever asks may want to know of its cables too whether they carry anything: they are answered here.
  if (has_cables_) pump(true, nullptr);
  for (auto& [context, active] : actives_) answer.progress.push_back({context, active->seq});
  return answer;
}

std::string Mesh::doing() { return encode_answer(own_answer()); }

void Mesh::answered(int peer, const std::string& doing) {
  {
    std::lock_guard lock(news_mutex_);
    answers_[peer] = doing;
    n_unanswered_[peer] = 0;
  }
  news_.notify_all();
}

// The peers, and the ranks through which they are reached: they too must be alive.
std::vector<int> Mesh::with_those_between(const std::vector<int>& peers) const {
  std::set<int> all(peers.begin(), peers.end());
  for (int p : peers) {
    if (routes_.is_relayed(p)) all.merge(routes_.between(p));
  }
  return {all.begin(), all.end()};
}

// Those who owe an answer, and others in turn, a few in all: where many ranks wait for many, all questions at
// once would keep the processors from whom they wait for. Of the ranks that wait for one that hangs some
// begin with it.
std::vector<int> Mesh::in_turn(const std::vector<int>& peers) {
  std::vector<int> chosen = peers;
  std::stable_sort(chosen.begin(), chosen.end(), [&](int a, int b) {
    auto place = [&](int p) { return std::pair(n_unanswered_[p] == 0, (p - next_asked_ + size_) % size_); };
    return place(a) < place(b);
  });
  if (chosen.size() <= kAskedAtOnce) return chosen;
  chosen.resize(kAskedAtOnce);
  next_asked_ = (chosen.back() + 1) % size_;
  return chosen;
}

std::vector<int> Mesh::tick(const std::vector<int>& peers) {
  std::vector<int> asked = with_those_between(peers);
  const bool some_relayed =
      std::any_of(asked.begin(), asked.end(), [&](int p) { return routes_.is_relayed(p); });
  std::set<int> hung;
  Moment now = Clock::now();
  {
    std::lock_guard lock(news_mutex_);
    if (!some_relayed) asked = in_turn(asked);
    for (int p : asked) {
      // Waits of several groups tick together, not one after another.
      if (now - ticked_[p] < duration(heartbeat_s_ / 2)) continue;
      ticked_[p] = now;
      if (n_unanswered_[p]++ >= kHeartbeats) hung.insert(p);
    }
  }
  for (int p : asked) control_->ask(p);
  {
    Lock lock(*this);
    for (int p : asked) {
      if (links_[p]) links_[p]->ping(kCablePings);
    }
  }
  // Behind a rank that is hung the others cannot answer.
  std::vector<int> culprits;
  for (int p : hung) {
    std::set<int> between = routes_.is_relayed(p) ? routes_.between(p) : std::set<int>();
    if (std::none_of(between.begin(), between.end(), [&](int q) { return hung.count(q) > 0; }))
      culprits.push_back(p);
  }
  return culprits;
}

void Mesh::forgive(const std::vector<int>& peers) {
  std::lock_guard lock(news_mutex_);
  for (int p : with_those_between(peers)) n_unanswered_[p] = 0;
}

std::map<int, Answer> Mesh::inquire(const std::vector<int>& peers, double seconds) {
  std::map<int, Answer> found{{rank_, own_answer()}};
  for (std::vector<int> asked = peers; !asked.empty();) {
    std::unique_lock lock(news_mutex_);
    auto absent = [&](int p) { return peers_[p].standing != Standing::kPresent; };
    for (int p : asked) answers_[p].reset();
    lock.unlock();
    for (int p : asked) {
      if (!absent(p)) control_->ask(p);
    }
    lock.lock();
    news_.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
      return std::all_of(asked.begin(), asked.end(), [&](int p) { return answers_[p] || absent(p); });
    });
    std::set<int> next;
    for (int p : asked) {
      Answer& answer = found[p];
      if (answers_[p]) answer = decode_answer(*answers_[p]);
      if (absent(p) && peers_[p].by == kNobody)
        answer.gone = (peers_[p].standing == Standing::kLeft ? "left " : "is gone: ") + peers_[p].text;
      for (const LongWait& wait : answer.waits) next.insert(wait.missing.begin(), wait.missing.end());
    }
    asked.clear();
    for (int p : next) {
      if (p >= 0 && p < size_ && !found.count(p)) asked.push_back(p);
    }
  }
  return found;
}

}  // namespace jobkit
