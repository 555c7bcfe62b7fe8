// A link through memory that both ranks share: a ring in each direction.
//
// A frame is a record. What a stream is made of is looked at in the ring itself, where it stays until it has
// been given back; everything else is copied to where it belongs.
#pragma once

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
