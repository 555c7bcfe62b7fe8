// What a waiting call looks at besides its messages, and how a call fails.
#include <algorithm>
#include <cstdio>

#include "turn.h"

namespace jobkit {
namespace {

// How long a wait goes on before those that it waits for are asked.
constexpr double kPatienceSeconds = 60;

Clock::duration duration(double value_s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value_s));
}

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
  std::string text = "[ring] rank " + std::to_string(rank_) + " of " + std::to_string(members_.size());
  if (context_ != 0) text += " (rank " + std::to_string(mesh_->rank()) + " of the whole job)";
  return text + ": ";
}

// --- failing ---

// What ends a call on this rank. Where another rank is the culprit, the agent learns of it before the caller
// does.
void Group::stop_with(const std::string& text, int culprit) {
  if (culprit == mesh_->rank()) culprit = kNobody;
  if (culprit != kNobody) mesh_->blame(culprit);
  throw Error(where() + text, culprit);
}

void Group::give_up(Turn& turn, const std::string& text, int culprit) {
  int own = mesh_->rank();
  std::string full = turn.label() + ": " + text;
  mesh_->fail({own, culprit == kNobody ? own : culprit, own, full});
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
  auto [left, text] = mesh_->verdict(peer);
  // What it said before it went is the better reason.
  if (auto failure = mesh_->failure_of(members_)) pass_on(turn, *failure);
  text = name(peer) + (left ? " left " : " is gone: ") + text;
  mesh_->fail({peer, peer, mesh_->rank(), text});
  stop_with(turn.label() + ": " + text, peer);
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
  bool done = mesh_->drain(turn.ticket);
  Active active = mesh_->look(active_);
  if (active.other != kNobody) {
    differ(turn, active);
  }
  if (done) return true;
  if (mesh_->has_left()) throw Error(where() + turn.label() + ": the group was closed");
  if (auto failure = mesh_->failure_of(members_)) pass_on(turn, *failure);
  if (int peer = mesh_->lost(turn.ticket); peer != kNobody) lose(turn, peer);
  return false;
}

void Group::expire(Turn& turn) {
  std::string names;
  std::vector<int> missing = mesh_->missing(turn.ticket);
  for (int p : missing) {
    names += (names.empty() ? "" : ", ") + name(p);
    if (mesh_->n_kept(p) >= kMaxKept / 2) names += ", whose earlier messages nobody has asked for";
  }
  give_up(turn, "waited " + seconds(turn.timeout_s) + " for " + names,
          missing.empty() ? kNobody : missing[0]);
}

// A wait has lasted until one of its moments: the deadline, the one when others may be told of it, or the one
// when those that it waits for are asked.
void Group::overdue(Turn& turn) {
  if (turn.deadline.passed()) expire(turn);
  std::vector<int> missing = mesh_->missing(turn.ticket);
  Clock::duration tick = duration(mesh_->heartbeat_s());
  if (!turn.noted) {
    mesh_->note(turn.ticket, {context_, turn.call < Call::kSend ? turn.seq : 0, turn.label()});
    mesh_->forgive(missing);
    turn.noted = true;
    turn.report_at = turn.started + patience(turn.timeout_s);
  } else if (int hung = tick.count() > 0 ? mesh_->tick(missing) : kNobody; hung != kNobody) {
    give_up(turn,
            name(hung) + " is stopped or cut off: it has answered nothing for " +
                seconds(kHeartbeats * mesh_->heartbeat_s()),
            hung);
  }
  Moment now = Clock::now();
  if (now >= turn.report_at) {
    if (!turn.is_strict) ask_around(turn, missing);
    turn.report_at = now + patience(turn.timeout_s);
  }
  turn.look_again = tick.count() > 0 ? std::min(turn.report_at, now + tick) : turn.report_at;
}

// Fails when the group's timeout is over for a peer that does not answer or is in another operation.
void Group::ask_around(Turn& turn, const std::vector<int>& missing) {
  std::vector<Answer> answers = mesh_->inquire(missing);
  double waited = std::chrono::duration<double>(Clock::now() - turn.started).count();
  std::string names;
  for (size_t i = 0; i < missing.size(); i++) {
    std::string state = answers[i].silent ? "does not answer" : "is alive and has not called it yet";
    bool differs = answers[i].silent;
    for (const LongWait& wait : answers[i].waits) {
      bool same = turn.call < Call::kSend && wait.context == context_ && wait.seq == turn.seq;
      state = same ? "waits in it too" : "waits in " + wait.text;
      differs |= !same;
    }
    std::string text = "waited " + seconds(waited) + " for " + name(missing[i]) + ", which " + state;
    if (differs && turn.timeout_s > 0 && waited >= turn.timeout_s) give_up(turn, text, missing[i]);
    names += (names.empty() ? "" : "; ") + text;
  }
  if (!missing.empty()) mesh_->warn(where() + turn.label() + ": " + names);
}

void Group::finish(Turn& turn) {
  for (;;) {
    Deadline next = Deadline::at(std::min(turn.deadline.moment(), turn.look_again));
    switch (mesh_->wait(turn.ticket, next, turn.options.interrupted, turn.seen)) {
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
        mesh_->fail({mesh_->rank(), mesh_->rank(), mesh_->rank(), text});
        throw Interrupted(where() + text);
      }
    }
  }
}

}  // namespace jobkit
