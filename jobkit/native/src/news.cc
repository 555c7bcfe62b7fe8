// What befalls the ranks of a mesh, and what they say that they wait for: between the calling threads and the
// control thread.
#include <algorithm>
#include <sstream>

#include "mesh.h"
#include "victim.h"

namespace jobkit {
namespace {

// How long the control connection of a peer may lag behind its data connections in telling that it ended.
constexpr auto kVerdict = std::chrono::seconds(2);

// How long a peer's control thread, which does nothing else, may take to answer.
constexpr auto kAnswer = std::chrono::seconds(2);

}  // namespace

// --- failures ---

std::optional<Failure> Mesh::failure_of(const std::vector<int>& members) {
  std::lock_guard lock(news_mutex_);
  for (const Failure& each : failures_) {
    if (std::find(members.begin(), members.end(), each.origin) != members.end()) return each;
  }
  return std::nullopt;
}

bool Mesh::record(const Failure& failure) {
  if (failure.origin < 0 || failure.origin >= size_) return false;
  std::lock_guard lock(news_mutex_);
  for (const Failure& each : failures_) {
    if (each.origin == failure.origin) return false;
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

void Mesh::blame(int culprit) {
  if (victim_file_.empty()) return;
  std::call_once(blamed_, [&] {
    if (std::string why = write_victim(victim_file_, culprit); !why.empty()) warn("not noted: " + why);
  });
}

std::pair<bool, std::string> Mesh::verdict(int peer) {
  std::unique_lock lock(news_mutex_);
  news_.wait_for(lock, kVerdict, [&] { return peers_[peer].standing != Standing::kPresent; });
  if (peers_[peer].standing != Standing::kPresent) {
    return {peers_[peer].standing == Standing::kLeft, peers_[peer].text};
  }
  lock.unlock();
  Lock links(*this);
  return {false, links_[peer] ? links_[peer]->reason() : "there is no link to it"};
}

void Mesh::left(int peer, const std::string& text) {
  {
    std::lock_guard lock(news_mutex_);
    peers_[peer] = {Standing::kLeft, text};
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
    if (peers_[peer].standing == Standing::kPresent) peers_[peer] = {Standing::kGone, reason};
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

// A line for each wait: "CONTEXT SEQ TEXT".
std::string Mesh::doing() {
  std::lock_guard lock(news_mutex_);
  std::string all;
  for (auto& [unused, wait] : long_waits_) {
    all += std::to_string(wait.context) + " " + std::to_string(wait.seq) + " " + wait.text + "\n";
  }
  return all;
}

void Mesh::answered(int peer, const std::string& doing) {
  {
    std::lock_guard lock(news_mutex_);
    answers_[peer] = doing;
    n_unanswered_[peer] = 0;
  }
  news_.notify_all();
}

int Mesh::tick(const std::vector<int>& peers) {
  int hung = kNobody;
  {
    std::lock_guard lock(news_mutex_);
    for (int p : peers) {
      if (n_unanswered_[p]++ >= kHeartbeats) hung = p;
    }
  }
  for (int p : peers) control_->ask(p);
  return hung;
}

void Mesh::forgive(const std::vector<int>& peers) {
  std::lock_guard lock(news_mutex_);
  for (int p : peers) n_unanswered_[p] = 0;
}

std::vector<Answer> Mesh::inquire(const std::vector<int>& peers) {
  std::unique_lock lock(news_mutex_);
  for (int p : peers) answers_[p].reset();
  lock.unlock();
  for (int p : peers) control_->ask(p);
  lock.lock();
  news_.wait_for(lock, kAnswer, [&] {
    return std::all_of(peers.begin(), peers.end(), [&](int p) { return answers_[p].has_value(); });
  });
  std::vector<Answer> answers(peers.size());
  for (size_t i = 0; i < peers.size(); i++) {
    if (!answers_[peers[i]]) continue;
    answers[i].silent = false;
    std::istringstream lines(*answers_[peers[i]]);
    for (LongWait wait; lines >> wait.context >> wait.seq && std::getline(lines >> std::ws, wait.text);) {
      answers[i].waits.push_back(wait);
    }
  }
  return answers;
}

}  // namespace jobkit
