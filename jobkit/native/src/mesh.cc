#include "mesh.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "process.h"
#include "shm_link.h"
#include "tcp_link.h"
#include "verbs_link.h"

namespace jobkit {
namespace {

// Nothing has moved for this long: stop spinning; stop yielding. A wake from poll costs 35 us a round and a
// yield 0.3 to 3 us (2-core VM), so that a millisecond of yields covers most waits of a running collective.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr auto kYield = std::chrono::milliseconds(1);

// How often a waiting thread asks whether it should stop.
constexpr int kCheckMs = 50;

// Turns of a spin between two looks at the clock, and between two looks at links that nothing is expected
// from.
constexpr unsigned kClockTurns = 16;
constexpr unsigned kAllTurns = 64;

// Nothing has moved for this long: streams without room may hold up what would set them going again.
constexpr auto kStall = milliseconds(50);

// How long an orderly leaver waits for its peers to stop sending.
constexpr double kLeaveSeconds = 5;

}  // namespace

std::shared_ptr<Mesh> Mesh::make(Wiring wiring, Warn warn, double heartbeat_s, std::string victim_file) {
  return {new Mesh(std::move(wiring), std::move(warn), heartbeat_s, std::move(victim_file)), [](Mesh* mesh) {
            if (mesh->generation_ == process::generation()) delete mesh;
          }};
}

Mesh::Mesh(Wiring wiring, Warn warn, double heartbeat_s, std::string victim_file)
    : rank_(wiring.rank),
      size_(wiring.size),
      label_(std::move(wiring.label)),
      has_cables_(!wiring.cables.empty()),
      mpi_(std::move(wiring.mpi)),
      identities_(std::move(wiring.identities)),
      reach_(std::move(wiring.reach)),
      warn_(std::move(warn)),
      heartbeat_s_(heartbeat_s),
      victim_file_(std::move(victim_file)),
      generation_(process::generation()),
      process_id_(::getpid()),
      peers_(wiring.size),
      answers_(wiring.size),
      n_unanswered_(wiring.size),
      ticked_(wiring.size),
      next_asked_(wiring.rank) {
  links_.resize(size_);
  arena_ = std::move(wiring.arena);
  routes_ = Routes(rank_, reach_);
  std::vector<Fd> relayed(size_);
  int n_here = 0;
  for (int p = 0; p < size_; p++) {
    n_here += identities_[p].node == identities_[rank_].node;
    if (p == rank_) continue;
    if (routes_.is_relayed(p)) {
      wiring.data[p].emplace_back();
      std::tie(wiring.data[p][0], relayed[p]) = make_stream();
    }
    if (mpi_) {
      links_[p] = std::make_unique<MpiLink>(p, mpi_, *this);
    } else if (reach(rank_, p) == Reach::kShared) {
      links_[p] = std::make_unique<ShmLink>(p, arena_, wiring.places[p], *this);
    } else if (has_cables_ && !wiring.cables[p].empty()) {
      links_[p] = std::make_unique<VerbsLink>(p, std::move(wiring.cables[p]), *this);
    } else if (!wiring.data[p].empty()) {
      links_[p] = std::make_unique<TcpLink>(p, std::move(wiring.data[p]), *this);
    }
  }
  spins_ = n_here <= static_cast<int>(identities_[rank_].processors);
  if (size_ == 1) return;
  std::tie(wake_reader_, wake_writer_) = make_pipe();
  control_ = std::make_unique<Control>(rank_, std::move(wiring.control), routes_, std::move(relayed), *this);
}

Mesh::~Mesh() {
  leave("without a word");
  control_.reset();
}

// --- collectives ---

void Mesh::join(uint32_t context, Active* active) {
  Lock lock(*this);
  if (actives_.count(context) || parted_.count(context))
    throw Error("the number of the new group is taken: split again");
  actives_[context] = active;
}

void Mesh::part(uint32_t context) {
  Lock lock(*this);
  actives_.erase(context);
  parted_[context] = true;
  for (auto& link : links_) {
    if (link) link->drop_context(context);
  }
}

void Mesh::start(Work& work) {
  work.posted_ = true;
  n_changes_++;
  if (Active* active = work.active) {
    active->enter(work.seq_, work.signature_);
    if (active->other == kNobody) {
      for (int p : *active->members) {
        if (!links_[p] || links_[p]->n_kept() == 0) continue;
        if (const Frame* frame = links_[p]->find_kept_mismatch(active->context, work.seq_, work.signature_))
          mismatch(p, *frame, work.signature_);
      }
    }
  }
  work.post(*this);
}

Outcome Mesh::settle(Work& work) {
  if (!work.active) return Outcome::kDone;
  work.active->running = false;
  return work.active->other == kNobody ? Outcome::kDone : Outcome::kHealth;
}

Active Mesh::look(const Active& active) {
  Lock lock(*this);
  return active;
}

bool Mesh::unexpected(int peer, const Frame& frame) {
  if (left_ || parted_.count(frame.key.context)) return false;
  auto at = actives_.find(frame.key.context);
  if (frame.key.kind != FrameKind::kCollective || at == actives_.end()) return true;
  // A call that is over got all that it wanted: what comes late belongs to another call with its number.
  const Active& active = *at->second;
  uint32_t seq = frame.key.seq;
  bool over = active.running ? seq < active.seq : seq <= active.seq;
  if (seq > active.seq || (over && active.seq - seq >= kRecentCalls)) return true;
  const Signature& ours = active.recent[seq % kRecentCalls];
  if (over || !(ours == frame.signature)) mismatch(peer, frame, ours);
  return true;
}

void Mesh::mismatch(int peer, const Frame& frame, const Signature& ours) {
  auto at = actives_.find(frame.key.context);
  if (at == actives_.end() || at->second->other != kNobody) return;
  Active& active = *at->second;
  active.other = peer;
  active.signature = ours;
  active.theirs = frame.signature;
  changed();
}

void Mesh::progressed(Ticket* ticket) {
  ticket->n_news++;
  n_news_++;
}

void Mesh::closed(int) { changed(); }

// --- moving data ---

bool Mesh::move(bool all) {
  bool moved = false;
  for (auto& link : links_) {
    if (!link) continue;
    if (link->wants_write()) moved |= link->pump_send();
    if (all || link->wants_read()) moved |= link->pump_receive();
  }
  return moved;
}

bool Mesh::pump(bool all, const Ticket* own) {
  uint64_t n_before = n_news_, n_own_before = own ? own->n_news : 0;
  bool moved = move(all);
  uint64_t n_own = (own ? own->n_news : 0) - n_own_before;
  if (n_news_ - n_before != n_own && n_contenders_.load() > 1) {
    woken_.notify_all();
    if (somebody_polls_) wake();
  }
  return moved;
}

bool Mesh::go_on(Work& work, std::unique_lock<std::mutex>& lock) {
  work.n_seen_ = work.ticket.n_news;
  bool moved = work.advance(*this, lock);
  if (moved) n_changes_++;
  return moved;
}

void Mesh::relieve() {
  for (auto& link : links_) {
    if (link && link->is_stalled()) link->relieve();
  }
}

Outcome Mesh::wait(Work& work, Deadline deadline, const InterruptCheck& interrupted, uint64_t seen) {
  Lock lock(*this);
  // Whoever slept while this thread polled must poll now.
  struct HandOver {
    Mesh& mesh;
    ~HandOver() {
      if (mesh.n_contenders_.load() > 1) mesh.woken_.notify_all();
    }
  } hand_over{*this};
  if (!work.posted_) start(work);
  // A short wait ends before the first look at the clock.
  Moment moved_at, checked_at = Moment::max();
  bool advanced = true, has_moved = true;
  for (unsigned turn = 1;; turn++) {
    bool moved = pump(turn % kAllTurns == 0, &work.ticket);
    if (advanced || work.n_seen_ != work.ticket.n_news) moved |= advanced = go_on(work, lock.held);
    if (work.ticket.n_open == 0) return settle(work);
    if (health() != seen) return Outcome::kHealth;
    has_moved |= moved;
    bool alone = n_contenders_.load(std::memory_order_relaxed) == 1;
    if (alone && (moved || spins_) && turn % kClockTurns != 0) {
      if (!moved) process::pause_processor();
      continue;
    }
    Moment now = Clock::now();
    if (has_moved) moved_at = now;
    has_moved = false;
    if (checked_at == Moment::max()) checked_at = now;
    if (now >= deadline.moment()) return Outcome::kDeadline;
    if (now - checked_at >= milliseconds(kCheckMs)) {
      checked_at = now;
      lock.held.unlock();
      bool stop = interrupted && interrupted();
      lock.held.lock();
      if (stop) return Outcome::kInterrupt;
      for (auto& link : links_) {
        if (link) link->look_after();
      }
    }
    if (now - moved_at >= kStall) relieve();
    if (alone && (moved || (spins_ && now - moved_at < kSpin))) continue;
    if (now - moved_at < kYield) {
      lock.held.unlock();
      ::sched_yield();
      lock.held.lock();
    } else if (nap(lock.held, deadline)) {
      checked_at = Moment();
    }
  }
}

// Sleeps until a link is ready, somebody wakes this thread, or a check is due. True when a signal came.
bool Mesh::nap(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  bool interrupted = false;
  if (somebody_polls_) {
    if (n_watched_ != n_changes_) wake();
    woken_.wait_for(lock, milliseconds(deadline.poll_ms(kCheckMs)));
  } else {
    somebody_polls_ = true;
    poll_links(lock, deadline, interrupted);
    somebody_polls_ = false;
  }
  return interrupted;
}

void Mesh::poll_links(std::unique_lock<std::mutex>& lock, Deadline deadline, bool& interrupted) {
  watched_.assign(1, {wake_reader_.get(), POLLIN, 0});
  bool must_look = arena_ != nullptr;
  int limit_ms = kCheckMs;
  for (auto& link : links_) {
    if (!link) continue;
    link->watch(watched_);
    must_look |= link->fall_asleep();
    limit_ms = std::min(limit_ms, link->nap_ms());
  }
  if (arena_) {
    watched_.push_back({arena_->doorbell(), POLLIN, 0});
    arena_->fall_asleep();
  }
  // What came before that was said rings no bell.
  if (must_look && pump(true, nullptr)) return awake();
  n_watched_ = n_changes_;
  uint64_t health_before = health();
  lock.unlock();
  // A change after this look writes to the pipe; one before it is seen here.
  int timeout_ms = health_before == health() ? deadline.poll_ms(limit_ms) : 0;
  int n = ::poll(watched_.data(), watched_.size(), timeout_ms);
  interrupted = n < 0 && errno == EINTR;
  char bytes[64];
  if (n > 0 && watched_[0].revents) (void)!::read(wake_reader_.get(), bytes, sizeof bytes);
  lock.lock();
  awake();
  if (n > 0 || limit_ms < kCheckMs) pump(true, nullptr);
}

void Mesh::awake() {
  if (arena_) arena_->awake();
  for (auto& link : links_) {
    if (link) link->awake();
  }
}

void Mesh::wake() {
  char byte = 0;
  // A full pipe wakes just as well.
  if (wake_writer_) (void)!::write(wake_writer_.get(), &byte, 1);
}

void Mesh::changed() {
  health_.fetch_add(1, std::memory_order_release);
  wake();
  woken_.notify_all();
}

bool Mesh::drain(Work& work) {
  Lock lock(*this);
  for (bool moved = true; moved && work.ticket.n_open > 0;) {
    moved = pump(true, &work.ticket);
    moved |= go_on(work, lock.held);
  }
  if (work.ticket.n_open > 0) return false;
  settle(work);
  return true;
}

void Mesh::withdraw(const Work& work) {
  Lock lock(*this);
  for (auto& link : links_) {
    if (link) link->withdraw(&work.ticket);
  }
}

std::vector<int> Mesh::missing(const Ticket& ticket) {
  Lock lock(*this);
  std::vector<int> ranks;
  for (auto& link : links_) {
    if (link && link->concerns(&ticket)) ranks.push_back(link->peer());
  }
  return ranks;
}

int Mesh::lost(const Ticket& ticket) {
  Lock lock(*this);
  for (auto& link : links_) {
    if (link && link->hopeless(&ticket)) return link->peer();
  }
  return kNobody;
}

size_t Mesh::n_kept(int peer) {
  Lock lock(*this);
  return links_[peer] ? links_[peer]->n_kept() : 0;
}

// --- leaving ---

void Mesh::leave(const std::string& last_words) {
  if (left_.exchange(true) || size_ == 1) return;
  bool orderly;
  {
    std::lock_guard lock(news_mutex_);
    // What ended earlier groups does not end those that survivors formed.
    orderly = std::none_of(failures_.begin(), failures_.end(), [&](const Failure& each) {
      return each.age >= age_ && (age_ == 0 || each.age != kForGood);
    });
  }
  changed();
  if (recorder_) recorder_->left();
  if (!orderly) tell_again();
  control_->leave(last_words);
  {
    Lock lock(*this);
    for (auto& link : links_) {
      if (link) link->finish_writing();
    }
  }
  if (orderly) read_to_the_end();
  control_->flush(Deadline::in(orderly ? kLeaveSeconds : 1), orderly);
  Lock lock(*this);
  for (auto& link : links_) {
    if (link) link->shut();
  }
}

void Mesh::read_to_the_end() {
  Deadline deadline = Deadline::in(kLeaveSeconds);
  Lock lock(*this);
  while (!deadline.passed()) {
    pump(true, nullptr);
    bool all =
        std::all_of(links_.begin(), links_.end(), [](auto& link) { return !link || link->all_ended(); });
    if (all) return;
    nap(lock.held, deadline);
  }
}

}  // namespace jobkit
