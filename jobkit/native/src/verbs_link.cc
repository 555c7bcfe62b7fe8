#include "verbs_link.h"

#include <algorithm>

#include "reduce.h"

namespace jobkit {
namespace {

// Moved by one pump, so that the others get their turn.
constexpr size_t kTurnBytes = 256 << 10;

// Below this a message is not worth dividing between parallel cables.
constexpr size_t kMinStripe = 16 << 10;

// Where slots are of two sizes, so many small ones are sooner sent than a large one that is mostly empty.
constexpr size_t kFewFrames = 4;

// What a process sent before it died may arrive after the news of its death, which came another way.
constexpr auto kLastRecords = milliseconds(20);

// Of a device without descriptors for its completions: it has to be looked at.
constexpr int kLookMs = 1;

size_t payload_of(const VerbsCable& cable) {
  return (cable.max_payload() - kFrameHeader) / kFrameGrain * kFrameGrain;
}

}  // namespace

VerbsLink::VerbsLink(int peer, std::vector<std::unique_ptr<VerbsCable>> cables, LinkObserver& observer)
    : Link(peer, cables.size(), observer), cables_(std::move(cables)), lent_(cables_.size()) {
  n_smallest_ = n_largest_ = payload_of(*cables_[0]);
  for (auto& cable : cables_) {
    n_smallest_ = std::min(n_smallest_, payload_of(*cable));
    n_largest_ = std::max(n_largest_, payload_of(*cable));
  }
}

const char* VerbsLink::kind() const { return cables_[0]->terms().reliable ? "rc" : "uc"; }

std::string VerbsLink::carrier() const {
  std::string names, last;
  for (auto& cable : cables_) {
    if (cable->device().name() == last) continue;  // another lane of the same one
    last = cable->device().name();
    names += (names.empty() ? "" : ", ") + last;
  }
  return names;
}

// Closes the link when one of its cables is of no use any more: what is missing cannot be told from what is
// still to come.
void VerbsLink::check() {
  for (auto& cable : cables_) {
    if (cable->problem().empty()) continue;
    // Of a peer that is gone the queue pair is gone too: the other reason is the better one.
    const std::string& reason = ended_.empty() ? cable->problem() : ended_;
    close_reading(reason);
    close_writing(reason);
  }
}

// --- receiving ---

bool VerbsLink::pump_receive() {
  if (is_shut_) return false;
  bool moved = false;
  for (size_t i = 0; i < cables_.size(); i++) {
    cables_[i]->poll();
    moved |= receive_over(i);
    cables_[i]->settle();
  }
  check();
  const bool over = std::all_of(cables_.begin(), cables_.end(), [](auto& each) { return each->has_ended(); });
  if (over) close_reading("the connection was closed");
  if (!ended_.empty() && !moved && Clock::now() - ended_at_ >= kLastRecords) close_reading(ended_);
  return moved;
}

bool VerbsLink::receive_over(size_t index) {
  bool moved = false;
  for (size_t n_moved = 0; n_moved < kTurnBytes && !read_closed_ && !lent_[index].data;) {
    if (!incoming_[index].frame && !begin_next(index)) break;
    if (incoming_[index].frame) {
      if (incoming_[index].held_back) break;
      n_moved += incoming_[index].frame->n_bytes;
      take_payload(index);
      moved = true;
      if (lent_[index].data) break;
    }
    consume(index);
    moved = true;
  }
  return moved;
}

// Begins with the next frame. False: there is none, or it has to wait.
bool VerbsLink::begin_next(size_t index) {
  const Arrival arrival = cables_[index]->peek();
  if (!arrival.data) return false;
  Incoming& incoming = incoming_[index];
  std::string wrong;
  if (arrival.n_bytes >= kFrameHeader) incoming.frame = decode_unchecked(arrival.data, wrong);
  if (!incoming.frame || arrival.n_bytes != kFrameHeader + incoming.frame->n_bytes) {
    incoming.frame.reset();
    close_reading(wrong.empty() ? "it sent a frame of another size than its record" : wrong);
    return false;
  }
  return begin(incoming) || incoming.held_back;
}

void VerbsLink::take_payload(size_t index) {
  Incoming& incoming = incoming_[index];
  const size_t n_bytes = incoming.frame->n_bytes;
  const uint8_t* payload = cables_[index]->peek().data + kFrameHeader;
  if (incoming.into && incoming.into->streamed && n_bytes > 0) {
    lent_[index] = {incoming.into, incoming.frame->offset, payload, n_bytes};
    return came(incoming, n_bytes);
  }
  Room to = room(incoming);
  if (to.place) copy(to.place, payload, n_bytes, incoming.into && incoming.into->past_cache);
  came(incoming, n_bytes);
}

void VerbsLink::consume(size_t index) {
  VerbsCable& cable = *cables_[index];
  const uint32_t slot = cable.peek().slot;
  cable.take_out();
  cable.give_back(slot);
}

// --- streams ---

Piece VerbsLink::look(const Receive& receive) const {
  for (const Lent& lent : lent_) {
    if (lent.to != &receive || receive.n_taken < lent.offset || receive.n_taken >= lent.offset + lent.n_bytes)
      continue;
    const size_t n_taken = receive.n_taken - lent.offset;
    return {lent.data + n_taken, lent.n_bytes - n_taken};
  }
  return {};
}

void VerbsLink::given_back(Receive* receive) {
  for (size_t i = 0; i < lent_.size(); i++) {
    if (lent_[i].to != receive || receive->n_taken < lent_[i].offset + lent_[i].n_bytes) continue;
    lent_[i] = {};
    consume(i);
  }
}

void VerbsLink::end_stream(Receive* receive) {
  for (size_t i = 0; i < lent_.size(); i++) {
    if (lent_[i].to != receive) continue;
    lent_[i] = {};
    consume(i);
  }
}

bool VerbsLink::is_stalled() const {
  return std::any_of(lent_.begin(), lent_.end(), [](const Lent& each) { return each.data; });
}

void VerbsLink::relieve() {
  for (size_t i = 0; i < lent_.size(); i++) {
    Lent& lent = lent_[i];
    if (!lent.data || lent.to->in_use) continue;
    const uint64_t n_taken = lent.to->n_taken > lent.offset ? lent.to->n_taken - lent.offset : 0;
    if (!keep_for(lent.to, lent.offset + n_taken, lent.data + n_taken, lent.n_bytes - n_taken)) continue;
    lent = {};
    consume(i);
  }
}

// --- sending ---

bool VerbsLink::wants_write() const {
  if (write_closed_) return false;
  return std::any_of(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
}

// The cable for so much of a message; in turn, so that parallel cables carry the same. Small messages keep to
// the first, where Express looks for them.
VerbsCable* VerbsLink::cable_for(size_t n_bytes) {
  const bool is_small = n_bytes <= kFewFrames * n_smallest_;
  const size_t n_payload = is_small ? n_smallest_ : n_largest_, n = cables_.size();
  const size_t first = n_bytes <= n_smallest_ && n_bytes < kMinStripe ? 0 : next_cable_;
  for (size_t i = 0; i < n; i++) {
    VerbsCable& cable = *cables_[(first + i) % n];
    if (payload_of(cable) != n_payload || !cable.reserve()) continue;
    next_cable_ = (first + i + 1) % n;
    return &cable;
  }
  return nullptr;
}

bool VerbsLink::pump_send() {
  if (is_shut_) return false;
  size_t n_moved = 0;
  bool moved = false;
  while (n_moved < kTurnBytes && !write_closed_) {
    auto at = std::find_if(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
    if (at == queue_.end()) break;
    Send* send = *at;
    const uint64_t n_left = send->n_ready - send->n_started;
    VerbsCable* cable = cable_for(n_left);
    if (!cable) break;
    size_t n_bytes = std::min<uint64_t>(payload_of(*cable), n_left);
    if (cables_.size() > 1) {
      const size_t stripe = send->n_bytes / cables_.size() / kFrameGrain * kFrameGrain;
      n_bytes = std::min(n_bytes, std::max(kMinStripe, stripe));
    }
    uint8_t* room = cable->reserve();
    FrameBytes head;
    encode_unchecked({send->key, send->signature, static_cast<uint32_t>(n_bytes), send->n_started}, head);
    std::memcpy(room, head.data(), kFrameHeader);
    if (n_bytes > 0) std::memcpy(room + kFrameHeader, send->data + send->n_started, n_bytes);
    cable->commit(kFrameHeader + n_bytes);
    moved = true;
    n_moved += kFrameHeader + n_bytes;
    send->n_started += n_bytes;
    send->n_sent = send->n_started;
    send->all_started = send->n_started == send->n_bytes;
    if (send->all_started) {
      queue_.erase(at);
      completed(send);
    } else {
      observer_.progressed(send->ticket);
    }
  }
  check();
  if (finishing_ && !write_closed_ && queue_.empty()) {
    close_writing("it has left");
    for (auto& cable : cables_) cable->end();
  }
  return moved;
}

// --- Express ---

VerbsLink::Found VerbsLink::find_express(const FrameBytes& head, size_t n_bytes) {
  VerbsCable& cable = *cables_[0];
  Arrival arrival = cable.peek();
  if (!arrival.data) {
    cable.poll();
    arrival = cable.peek();
  }
  if (!arrival.data) return {nullptr, !cable.problem().empty() || !ended_.empty() || cable.has_ended()};
  const bool is_it =
      arrival.n_bytes == kFrameHeader + n_bytes && std::memcmp(arrival.data, head.data(), kFrameHeader) == 0;
  return is_it ? Found{arrival.data + kFrameHeader, false} : Found{nullptr, true};
}

void VerbsLink::consume_express(size_t) {
  consume(0);
  cables_[0]->settle();
}

// --- sleeping ---

void VerbsLink::watch(std::vector<pollfd>& descriptors) const {
  if (is_shut_) return;
  for (auto& cable : cables_) {
    if (cable->descriptor() >= 0) descriptors.push_back({cable->descriptor(), POLLIN, 0});
    if (cable->device().events() >= 0 && cable->problem().empty())
      descriptors.push_back({cable->device().events(), POLLIN, 0});
  }
}

bool VerbsLink::fall_asleep() {
  if (is_shut_) return false;
  for (auto& cable : cables_) cable->fall_asleep();
  return true;
}

void VerbsLink::awake() {
  if (is_shut_) return;
  for (auto& cable : cables_) cable->wake();
  look_after();
}

int VerbsLink::nap_ms() const {
  const bool has_all =
      std::all_of(cables_.begin(), cables_.end(), [](auto& each) { return each->descriptor() >= 0; });
  return has_all && ended_.empty() ? Link::nap_ms() : kLookMs;
}

void VerbsLink::look_after() {
  if (is_shut_) return;
  for (auto& cable : cables_) cable->look_after();
  if (!read_closed_) check();
}

void VerbsLink::ping(int most_unanswered) {
  if (is_shut_ || read_closed_) return;
  for (auto& cable : cables_) cable->ping(most_unanswered);
  check();
}

// --- the end ---

void VerbsLink::finish_writing() {
  finishing_ = true;
  pump_send();
}

void VerbsLink::peer_ended(const std::string& reason) {
  ended_ = reason;
  ended_at_ = Clock::now();
  close_writing(reason);
}

bool VerbsLink::all_ended() const {
  if (is_shut_ || !ended_.empty()) return true;
  return std::all_of(cables_.begin(), cables_.end(), [&](auto& each) {
    return !each->problem().empty() || (each->has_ended() && each->is_flushed());
  });
}

void VerbsLink::shut() {
  is_shut_ = true;
  read_closed_ = write_closed_ = true;
}

}  // namespace jobkit
