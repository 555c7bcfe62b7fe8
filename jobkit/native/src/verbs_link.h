// A link of RDMA cables, one or several in parallel.
//
// A frame is the payload of a record. What a stream is made of is looked at in the slot where the device put
// it, which goes back when it has been given back; everything else is copied to where it belongs.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "link.h"
#include "verbs_cable.h"

namespace jobkit {

class VerbsLink final : public Link {
 public:
  VerbsLink(int peer, std::vector<std::unique_ptr<VerbsCable>> cables, LinkObserver& observer);

  bool wants_write() const override;
  bool pump_send() override;
  bool pump_receive() override;
  void watch(std::vector<pollfd>& descriptors) const override;
  bool fall_asleep() override;
  void awake() override;
  int nap_ms() const override;
  void look_after() override;
  void ping(int most_unanswered) override;
  void finish_writing() override;
  void peer_ended(const std::string& reason) override;
  void shut() override;
  bool all_ended() const override;
  const char* kind() const override;
  std::string carrier() const override;
  size_t n_connections() const override { return cables_.size(); }

  bool is_stalled() const override;
  void relieve() override;

  // For Express, which goes around the queues.
  size_t max_frame() const { return n_smallest_; }
  uint8_t* room_for_express(size_t n_bytes) {
    (void)n_bytes;
    bool is_quiet = !lent_[0].data && queue_.empty() && n_kept() == 0 && !incoming_[0].frame &&
                    !read_closed_ && !write_closed_ && !finishing_;
    return is_quiet ? cables_[0]->reserve() : nullptr;
  }
  void send_express(uint8_t* room, const FrameBytes& head, const void* data, size_t n_bytes) {
    std::memcpy(room, head.data(), kFrameHeader);
    if (n_bytes > 0) std::memcpy(room + kFrameHeader, data, n_bytes);
    cables_[0]->commit(kFrameHeader + n_bytes);
  }
  void wake_if_asleep() {}  // the device does that
  struct Found {
    const uint8_t* payload = nullptr;
    bool is_other = false;
  };
  Found find_express(const FrameBytes& head, size_t n_bytes);
  void consume_express(size_t n_bytes);

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
  void detach(const Ticket*) override {}  // a frame is copied at once or not at all
  bool is_sending(const Ticket*) const override { return false; }

  bool begin_next(size_t index);
  void take_payload(size_t index);
  void consume(size_t index);
  bool receive_over(size_t index);
  VerbsCable* cable_for(size_t n_bytes);
  void check();

  std::vector<std::unique_ptr<VerbsCable>> cables_;
  std::vector<Lent> lent_;         // of each cable
  size_t n_smallest_, n_largest_;  // payload bytes of a frame: where slots are small, and large
  size_t next_cable_ = 0;
  std::string ended_;  // why the peer's process will send nothing more
  Moment ended_at_{};
  bool finishing_ = false;
  bool is_shut_ = false;
};

}  // namespace jobkit
