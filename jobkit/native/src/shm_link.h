// A link through memory that both ranks share: a ring in each direction.
//
// A frame is a record. What a stream is made of is looked at in the ring itself, where it stays until it has
// been given back; everything else is copied to where it belongs.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "arena.h"
#include "link.h"

namespace jobkit {

class ShmLink final : public Link {
 public:
  // The peer is rank `place` of the arena.
  ShmLink(int peer, std::shared_ptr<Arena> arena, int place, LinkObserver& observer);

  bool wants_write() const override;
  bool pump_send() override;
  bool pump_receive() override;
  void watch(std::vector<pollfd>&) const override {}  // the arena's doorbell is all links' of this rank
  void finish_writing() override;
  void peer_ended(const std::string& reason) override;
  void shut() override;
  bool all_ended() const override { return read_closed_; }
  const char* kind() const override { return "shm"; }

  // For Express, which goes around the queues. The payload bytes of its frames, at most.
  size_t max_frame() const { return n_frame_; }
  // Where the next record is to be written; nullptr when anything is under way here or there is no room.
  uint8_t* room_for_express(size_t n_bytes) {
    bool is_quiet = !head_.data && queue_.empty() && n_kept() == 0 && !read_closed_ && !write_closed_;
    return is_quiet && !finishing_ ? writer_.reserve(payload_at(n_bytes) + n_bytes) : nullptr;
  }
  void send_express(uint8_t* room, const FrameBytes& head, const void* data, size_t n_bytes) {
    std::memcpy(room, head.data(), kFrameHeader);
    if (n_bytes > 0) std::memcpy(room + payload_at(n_bytes), data, n_bytes);
    writer_.commit(payload_at(n_bytes) + n_bytes);
  }
  void wake_if_asleep() { arena_->wake_if_asleep(place_); }
  struct Found {
    const uint8_t* payload = nullptr;
    bool is_other = false;  // the next record is another one, or none can come any more
  };
  // The payload of the next record, if it has this head.
  Found find_express(const FrameBytes& head, size_t n_bytes) {
    Record record = reader_.peek();
    if (!record.data) return {nullptr, reader_.state() != RingState::kOpen};
    bool is_it = record.n_bytes == payload_at(n_bytes) + n_bytes &&
                 std::memcmp(record.data, head.data(), kFrameHeader) == 0;
    return is_it ? Found{record.data + payload_at(n_bytes), false} : Found{nullptr, true};
  }
  void consume_express(size_t n_bytes) {
    if (reader_.consume(payload_at(n_bytes) + n_bytes)) wake_peer();
  }

  bool is_stalled() const override { return lent_.data != nullptr; }
  void relieve() override;

 private:
  // A record whose payload a stream is looking at.
  struct Lent {
    Receive* to = nullptr;
    uint64_t offset = 0;  // in the message
    const uint8_t* data = nullptr;
    size_t n_bytes = 0;
  };

  // Where the payload begins in a record: right behind the header if it fits into the first cache line with
  // it, else on the next line.
  static constexpr size_t payload_at(size_t n_bytes) {
    return n_bytes + kStamp + kFrameHeader <= kCacheLine ? kFrameHeader : kCacheLine - kStamp;
  }

  Piece look(const Receive& receive) const override;
  Room room_in_stream(Receive*, uint64_t, size_t) override { return {}; }  // streams are lent their bytes
  void given_back(Receive* receive) override;
  void end_stream(Receive* receive) override;
  void detach(const Ticket*) override {}  // a frame is written at once or not at all
  bool is_sending(const Ticket*) const override { return false; }

  bool next_record();
  void take_payload();
  void consume();
  void wake_peer();

  std::shared_ptr<Arena> arena_;
  const int place_;
  RingWriter writer_;
  RingReader reader_;
  const size_t n_frame_;  // payload bytes of a frame, at most
  Record head_;           // the record that is looked at
  Lent lent_;
  std::string ended_;  // why the peer's process will write nothing more
  bool finishing_ = false;
};

}  // namespace jobkit
