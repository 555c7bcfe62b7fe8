// What a waiting call looks at besides its messages, and how a call fails.
#include <algorithm>
#include <cstdio>

#include "turn.h"

namespace jobkit {
namespace {

// How long a wait goes on before those that it waits for are asked.
constexpr double kPatienceSeconds = 60;

// How long a rank's control thread, which does nothing else, may take to answer; and when the caller's own
// deadline is over, so that the call does not last much longer than it may.
constexpr double kAnswerSeconds = 2;
constexpr double kLastAnswerSeconds = 0.5;

// Ranks that an error names one by one.
constexpr size_t kMostNamed = 8;

Clock::duration patience(double timeout_s) {
  return duration(timeout_s > 0 ? std::min(timeout_s, kPatienceSeconds) : kPatienceSeconds);
}

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", value);
  return text;
}

}  // namespace

// --- names ---

int Group::group_rank(int rank) const {
  auto at = std::find(members_.begin(), members_.end(), rank);
  return at == members_.end() ? kNobody : static_cast<int>(at - members_.begin());
}

// "rank 5 (host)", by the group's count, with the whole job's where that differs.
std::string Group::name(int rank) const {
  const std::string& host = mesh_->identity(rank).host;
  int here = group_rank(rank);
  if (here == kNobody) return "rank " + std::to_string(rank) + " of the whole job (" + host + ")";
  std::string whole = here == rank ? "" : "rank " + std::to_string(rank) + " of the whole job, ";
  return "rank " + std::to_string(here) + " (" + whole + host + ")";
}

std::string Group::where() const {
  std::string text =
      "[" + mesh_->label() + "] rank " + std::to_string(rank_) + " of " + std::to_string(members_.size());
  if (context_ != 0) text += " (rank " + std::to_string(mesh_->rank()) + " of the whole job)";
  return text + ": ";
}

// --- failing ---

// What ends a call on this rank. Where another rank is the culprit, the agent learns of it before the caller
// does.
void Group::stop_with(const std::string& text, int culprit) {
  if (culprit == mesh_->rank()) culprit = kNobody;
  if (culprit != kNobody) mesh_->blame(culprit);
  if (Recorder* recorder = mesh_->recorder()) recorder->failed(where() + text);
  throw Error(where() + text, culprit);
}

void Group::give_up(Turn& turn, const std::string& text, int culprit) {
  int own = mesh_->rank();
  std::string full = turn.label() + ": " + text;
  mesh_->fail({own, culprit == kNobody ? own : culprit, own, full, mesh_->age()});
  stop_with(full, culprit);
}

void Group::pass_on(Turn& turn, const Failure& failure) {
  int own = mesh_->rank();
  std::string text = failure.text, label = turn.label() + ": ";
  if (text.starts_with(label)) label.clear();
  if (failure.teller != own && failure.teller != kNobody) text += " (so says " + name(failure.teller) + ")";
  stop_with(label + text, failure.culprit);
}

void Group::lose(Turn& turn, int peer) {
  Verdict verdict = mesh_->verdict(peer);
  // What it said before it went is the better reason.
  if (auto found = failure()) pass_on(turn, *found);
  const char* state = verdict.left ? " left " : verdict.is_there ? " cannot be reached: " : " is gone: ";
  std::string text = name(peer) + state + verdict.text;
  int culprit = verdict.is_there ? kNobody : peer;
  if (verdict.by != kNobody) {
    culprit = verdict.by;
    text = name(peer) + " cannot be reached: " + name(culprit) + ", which passed on its messages, " +
           verdict.text;
  }
  mesh_->fail({peer, culprit, mesh_->rank(), text});
  stop_with(turn.label() + ": " + text, culprit);
}

// The same words on both sides: the lower rank comes first.
void Group::differ(Turn& turn, const Active& active) {
  Signature call = active.signature;
  if (call.call == Call::kSend) call.call = Call::kRecv;  // a message is compared where it arrives
  std::string ours = name(mesh_->rank()) + " called " + to_string(call);
  std::string theirs = name(active.other) + " called " + to_string(active.theirs);
  bool first = mesh_->rank() < active.other;
  give_up(turn, "calls differ: " + (first ? ours : theirs) + ", " + (first ? theirs : ours), kNobody);
}

// True when the turn's messages are complete after all; throws when they never will be.
bool Group::look_around(Turn& turn) {
  turn.seen = mesh_->health();
  bool done = mesh_->drain(*turn.work);
  Active active = mesh_->look(active_);
  if (active.other != kNobody) {
    differ(turn, active);
  }
  if (done) return true;
  if (mesh_->has_left()) throw Error(where() + turn.label() + ": the group was closed");
  if (auto found = failure()) pass_on(turn, *found);
  if (int peer = mesh_->lost(turn.work->ticket); peer != kNobody) lose(turn, peer);
  return false;
}

// "rank 1 (node7), which waits in barrier #3 for rank 2 (node8), which does not answer"
std::string Group::tell(const Chain& chain) const {
  std::string text;
  for (const Hop& hop : chain.hops)
    text += (text.empty() ? "" : " for ") + name(hop.rank) + ", which " + hop.state;
  return text;
}

// What the call waits for, in the end: "3.0 s for rank 1 (node7), which is alive and has not called it yet".
std::string Group::tell(const Turn& turn, const Diagnosis& diagnosis) {
  std::string text;
  if (diagnosis.is_deadlock()) {
    for (const Hop& hop : diagnosis.cycle)
      text += (text.empty() ? "" : ", ") + name(hop.rank) + " " + hop.state;
    return "in a deadlock: " + text;
  }
  size_t n_told = std::min(diagnosis.chains.size(), kMostNamed);
  for (size_t i = 0; i < n_told; i++) text += (i ? "; for " : "") + tell(diagnosis.chains[i]);
  if (n_told < diagnosis.chains.size())
    text += "; and for " + std::to_string(diagnosis.chains.size() - n_told) + " more";
  if (diagnosis.chains.empty()) {
    for (int p : mesh_->missing(turn.work->ticket))
      text += (text.empty() ? "" : ", ") + name(p) + ", which has called it too";
  }
  for (int p : mesh_->missing(turn.work->ticket)) {
    if (mesh_->n_kept(p) >= kMaxKept / 2)
      text += "; messages of " + name(p) + " fill the memory for those that nobody has asked for";
  }
  return "for " + text;
}

// Tells the others of this wait, and asks them about theirs.
Diagnosis Group::follow(Turn& turn, double seconds_each) {
  LongWait own = describe(turn);
  own.missing = mesh_->missing(turn.work->ticket);
  return diagnose(mesh_->rank(), own, mesh_->inquire(own.missing, seconds_each));
}

// Whether the messages came while others were asked, or one of them failed first and its reason holds.
bool Group::is_settled(Turn& turn) { return mesh_->drain(*turn.work) || mesh_->health() != turn.seen; }

LongWait Group::describe(const Turn& turn) const {
  if (turn.call < Call::kSend) return {turn.label(), {collective_key(context_, turn.seq)}, {}};
  LongWait wait{turn.label(), {}, {}};
  int own = mesh_->rank();
  const auto& send = turn.exchange->send;
  const auto& receive = turn.exchange->receive;
  if (send) wait.keys.push_back(message_key(context_, own, send->peer, send->key.tag, send->key.seq));
  if (receive)
    wait.keys.push_back(message_key(context_, receive->peer, own, receive->key.tag, receive->key.seq));
  wait.text += " with tag " + std::to_string(send ? send->key.tag : receive->key.tag);
  return wait;
}

void Group::expire(Turn& turn) {
  note(turn);
  Diagnosis found = follow(turn, kLastAnswerSeconds);
  if (is_settled(turn)) return;
  give_up(turn, "waited " + seconds(turn.timeout_s) + " " + tell(turn, found), found.culprit());
}

void Group::note(Turn& turn) {
  if (turn.noted) return;
  mesh_->note(turn.work->ticket, describe(turn));
  turn.noted = true;
  std::vector<int> missing = mesh_->missing(turn.work->ticket);
  if (turn.record != 0 && !missing.empty()) mesh_->recorder()->waits(turn.record, missing[0], missing.size());
}

// A wait has lasted until one of its moments: the deadline, the one when others may be told of it, or the one
// when those that it waits for are asked.
void Group::overdue(Turn& turn) {
  if (turn.deadline.passed()) return expire(turn);
  std::vector<int> missing = mesh_->missing(turn.work->ticket);
  Clock::duration tick = duration(mesh_->heartbeat_s());
  if (!turn.noted) {
    note(turn);
    mesh_->forgive(missing);
    turn.report_at = turn.started + patience(turn.timeout_s);
  } else if (tick.count() > 0) {
    check_pulse(turn, mesh_->tick(missing));
  }
  Moment now = Clock::now();
  if (now >= turn.report_at) {
    if (!turn.is_strict) ask_around(turn);
    turn.report_at = now + patience(turn.timeout_s);
  }
  turn.look_again = tick.count() > 0 ? std::min(turn.report_at, now + tick) : turn.report_at;
}

void Group::check_pulse(Turn& turn, const std::vector<int>& hung) {
  if (hung.empty()) return;
  std::string names;
  for (int p : hung) names += (names.empty() ? "" : ", ") + name(p);
  give_up(turn,
          names +
              (hung.size() == 1 ? " is stopped or cut off: it has" : " are stopped or cut off: they have") +
              " answered nothing for " + seconds(kHeartbeats * mesh_->heartbeat_s()),
          hung[0]);
}

// Fails when the group's timeout is over and nothing will come: a rank does not answer, or the waiting goes
// round in a circle. A warning when a rank is merely late.
void Group::ask_around(Turn& turn) {
  Diagnosis found = follow(turn, kAnswerSeconds);
  if (is_settled(turn)) return;
  double waited = std::chrono::duration<double>(Clock::now() - turn.started).count();
  std::string text = "waited " + seconds(waited) + " " + tell(turn, found);
  if (found.is_stuck() && turn.timeout_s > 0 && waited >= turn.timeout_s)
    give_up(turn, text, found.culprit());
  mesh_->warn(where() + turn.label() + ": " + text);
}

void Group::finish(Turn& turn) {
  turn.open = true;
  for (;;) {
    Deadline next = Deadline::at(std::min(turn.deadline.moment(), turn.look_again));
    switch (mesh_->wait(*turn.work, next, turn.options.interrupted, turn.seen)) {
      case Outcome::kDone:
        turn.open = false;
        return;
      case Outcome::kHealth:
        if (look_around(turn)) {
          turn.open = false;
          return;
        }
        break;
      case Outcome::kDeadline:
        overdue(turn);
        break;
      case Outcome::kInterrupt: {
        std::string text = turn.label() + ": interrupted";
        mesh_->fail({mesh_->rank(), mesh_->rank(), mesh_->rank(), text, mesh_->age()});
        throw Interrupted(where() + text);
      }
    }
  }
}

}  // namespace jobkit
