#include "shm_link.h"

#include <algorithm>
#include <cstring>

#include "reduce.h"

namespace jobkit {
namespace {

// An eighth of the largest ring: what one side writes, the other reads at the same time.
constexpr size_t kLargestFrame = 128 << 10;

// Moved by one pump, so that the others get their turn, and so that what was copied out of an array a moment
// ago is still in the cache when it is reduced.
constexpr size_t kTurnBytes = kLargestFrame;

}  // namespace

ShmLink::ShmLink(int peer, std::shared_ptr<Arena> arena, int place, LinkObserver& observer)
    : Link(peer, 1, observer),
      arena_(std::move(arena)),
      place_(place),
      writer_(arena_->writer_to(place)),
      reader_(arena_->reader_from(place)),
      n_frame_(std::min(kLargestFrame, (writer_.max_record() - kCacheLine) / kFrameGrain * kFrameGrain)) {}

// --- receiving ---

bool ShmLink::pump_receive() {
  bool moved = false;
  for (size_t n_moved = 0; n_moved < kTurnBytes && !read_closed_ && !lent_.data;) {
    if (!head_.data && !next_record()) break;
    if (incoming_[0].frame) {
      if (incoming_[0].held_back) break;
      take_payload();
      if (lent_.data) return true;
    }
    n_moved += head_.n_bytes;
    moved = true;
    consume();
  }
  return moved;
}

// Begins with the next record. False: there is none, or it has to wait.
bool ShmLink::next_record() {
  Record record = reader_.peek();
  if (!record.data) {
    if (reader_.state() == RingState::kBroken)
      close_reading("it wrote what cannot be into the shared memory");
    if (reader_.state() == RingState::kEnded) close_reading("the connection was closed");
    if (!ended_.empty()) close_reading(ended_);
    return false;
  }
  // Looked at once and copied: the peer could change it at any time.
  FrameBytes head;
  std::string wrong;
  Incoming& incoming = incoming_[0];
  if (record.n_bytes >= kFrameHeader) {
    std::memcpy(head.data(), record.data, kFrameHeader);
    incoming.frame = decode_unchecked(head.data(), wrong);
  }
  if (!incoming.frame || record.n_bytes != payload_at(incoming.frame->n_bytes) + incoming.frame->n_bytes) {
    incoming.frame.reset();
    close_reading(wrong.empty() ? "it sent a frame of another size than its record" : wrong);
    return false;
  }
  head_ = record;
  return begin(incoming) || incoming.held_back;
}

void ShmLink::take_payload() {
  Incoming& incoming = incoming_[0];
  size_t n_bytes = incoming.frame->n_bytes;
  const uint8_t* payload = head_.data + payload_at(n_bytes);
  if (incoming.into && incoming.into->streamed) {
    lent_ = {incoming.into, incoming.frame->offset, payload, n_bytes};
    return came(incoming, n_bytes);
  }
  Room to = room(incoming);
  if (to.place) copy(to.place, payload, n_bytes, incoming.into && incoming.into->past_cache);
  came(incoming, n_bytes);
}

void ShmLink::consume() {
  bool reported = reader_.consume(head_.n_bytes);
  head_ = {};
  if (reported) wake_peer();
}

void ShmLink::wake_peer() {
  Arena::publish();
  arena_->wake_if_asleep(place_);
}

// --- streams ---

Piece ShmLink::look(const Receive& receive) const {
  if (lent_.to != &receive) return {};
  size_t n_taken = receive.n_taken - lent_.offset;
  return {lent_.data + n_taken, lent_.n_bytes - n_taken};
}

void ShmLink::given_back(Receive* receive) {
  if (lent_.to != receive || receive->n_taken < lent_.offset + lent_.n_bytes) return;
  lent_ = {};
  consume();
}

void ShmLink::end_stream(Receive* receive) {
  if (lent_.to != receive) return;
  lent_ = {};
  consume();
}

void ShmLink::relieve() {
  if (lent_.to->in_use) return;
  uint64_t n_taken = lent_.to->n_taken > lent_.offset ? lent_.to->n_taken - lent_.offset : 0;
  if (!keep_for(lent_.to, lent_.offset + n_taken, lent_.data + n_taken, lent_.n_bytes - n_taken)) return;
  lent_ = {};
  consume();
}

// --- sending ---

bool ShmLink::wants_write() const {
  if (write_closed_) return false;
  return std::any_of(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
}

bool ShmLink::pump_send() {
  size_t n_moved = 0;
  while (n_moved < kTurnBytes && !write_closed_) {
    auto at = std::find_if(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
    if (at == queue_.end()) break;
    Send* send = *at;
    size_t n_bytes = std::min<uint64_t>(n_frame_, send->n_ready - send->n_started);
    size_t n_record = payload_at(n_bytes) + n_bytes;
    uint8_t* record = writer_.reserve(n_record);
    if (!record) {
      if (writer_.state() == RingState::kEnded) close_writing("it has left");
      if (writer_.state() == RingState::kBroken)
        close_writing("it wrote what cannot be into the shared memory");
      break;
    }
    FrameBytes head;
    encode_unchecked({send->key, send->signature, static_cast<uint32_t>(n_bytes), send->n_started}, head);
    std::memcpy(record, head.data(), kFrameHeader);
    if (n_bytes > 0) std::memcpy(record + payload_at(n_bytes), send->data + send->n_started, n_bytes);
    writer_.commit(n_record);
    n_moved += n_record;
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
  if (n_moved > 0) wake_peer();
  if (finishing_ && !write_closed_ && queue_.empty()) {
    close_writing("it has left");
    writer_.end();
    wake_peer();
  }
  return n_moved > 0;
}

// --- the end ---

void ShmLink::finish_writing() {
  finishing_ = true;
  pump_send();
}

void ShmLink::peer_ended(const std::string& reason) {
  ended_ = reason;
  close_writing(reason);
}

void ShmLink::shut() {
  if (!write_closed_) writer_.end();
  reader_.end();
  wake_peer();
  read_closed_ = write_closed_ = true;
}

}  // namespace jobkit
