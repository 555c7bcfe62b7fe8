#include "calls.h"

#include <algorithm>

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

}  // namespace

Calls::Calls(const Credentials& own, uint32_t n_channels, CallsObserver& observer)
    : own_(own),
      n_channels_(n_channels),
      observer_(observer),
      talk_seconds_(kTalkSeconds + kTalkSecondsPerRank * own.size) {}

void Calls::call(int peer, uint32_t channel, std::vector<Address> addresses, bool once) {
  Outgoing& out = outgoing_.emplace_back();
  out.peer = peer;
  out.channel = channel;
  out.addresses = std::move(addresses);
  out.once = once;
  out.pause = kFirstPause;
}

void Calls::hang_up() {
  listeners_.clear();
  incoming_.clear();
  outgoing_.clear();
  notes_.clear();
  n_calling_ = 0;
}

// --- the loop's parts ---

void Calls::advance() {
  accept();
  advance_incoming();
  advance_outgoing();
}

void Calls::watch(std::vector<pollfd>& watched, Moment& wake) {
  auto watch_one = [&](int descriptor, short events, bool& ready) {
    notes_.push_back({watched.size(), &ready});
    watched.push_back({descriptor, events, 0});
  };
  auto watch_handshake = [&](const Handshake& handshake, bool& ready) {
    ready = false;
    watch_one(handshake.descriptor(), handshake.events(), ready);
    wake = std::min(wake, handshake.next_deadline());
  };
  notes_.clear();
  callers_wait_ = false;
  for (Fd& each : listeners_) watch_one(each.get(), POLLIN, callers_wait_);
  for (Incoming& each : incoming_) watch_handshake(each.handshake, each.ready);
  for (Outgoing& out : outgoing_) {
    if (out.handshake) {
      watch_handshake(*out.handshake, out.ready);
    } else if (!out.is_over() && n_calling_ < kMaxCalls) {
      wake = std::min(wake, out.not_before);
    }
  }
}

void Calls::heed(const std::vector<pollfd>& watched) {
  for (auto& [index, ready] : notes_) *ready |= watched[index].revents != 0;
}

void Calls::accept() {
  if (!callers_wait_) return;
  for (Fd& listener : listeners_) {
    while (Fd socket = accept_one(listener)) {
      tune(socket);
      if (incoming_.size() >= kMaxCallers) incoming_.pop_front();
      incoming_.push_back(
          {Handshake::answer(std::move(socket), own_, n_channels_, Deadline::in(talk_seconds_))});
    }
  }
}

void Calls::advance_incoming() {
  Moment now = Clock::now();
  for (auto at = incoming_.begin(); at != incoming_.end();) {
    Handshake& handshake = at->handshake;
    if (at->ready || now >= handshake.next_deadline()) handshake.advance();
    if (!handshake.finished()) {
      ++at;
      continue;
    }
    if (handshake.state() == Handshake::State::kDone) {
      observer_.connected(handshake);
    } else {
      n_foreign_++;
      last_foreign_ = handshake.reason();
      observer_.say("turned away a " + last_foreign_);
    }
    at = incoming_.erase(at);
  }
}

void Calls::advance_outgoing() {
  Moment now = Clock::now();
  for (Outgoing& out : outgoing_) {
    if (out.is_over()) continue;
    if (out.handshake ? out.ready || now >= out.handshake->next_deadline()
                      : n_calling_ < kMaxCalls && now >= out.not_before)
      advance_one(out);
  }
}

void Calls::advance_one(Outgoing& out) {
  if (!out.handshake) {
    Deadline knock = Deadline::in(out.once ? kTrySeconds : kKnockSeconds);
    const Address& address = out.addresses[out.next++ % out.addresses.size()];
    out.handshake = Handshake::call(address, own_, out.peer, out.channel, knock,
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
    observer_.connected(handshake);
  } else {
    retry(out, handshake.reason());
  }
}

void Calls::retry(Outgoing& out, const std::string& problem) {
  if (problem != out.problem) observer_.say(observer_.name(out.peer) + ": " + problem);
  out.problem = problem;
  bool tried_all = out.next % out.addresses.size() == 0;
  if (out.once && tried_all) {
    out.given_up = true;
  } else if (tried_all) {
    out.not_before = Clock::now() + out.pause;
    out.pause = std::min<Clock::duration>(out.pause * 2, kLongestPause);
  }
}

// --- what became of them ---

bool Calls::are_over() const {
  return std::all_of(outgoing_.begin(), outgoing_.end(), [](const Outgoing& out) { return out.is_over(); });
}

std::string Calls::problem_of(int peer) const {
  std::string problem;
  for (const Outgoing& out : outgoing_) {
    if (out.peer == peer && !out.done && !out.problem.empty()) problem = out.problem;
  }
  return problem;
}

std::string Calls::foreigners() const {
  if (n_foreign_ == 0) return "";
  return "; " + std::to_string(n_foreign_) + (n_foreign_ == 1 ? " caller" : " callers") +
         " turned away, the last: " + last_foreign_;
}

}  // namespace jobkit
