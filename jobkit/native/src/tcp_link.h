// A link of TCP connections, one or several in parallel.
#pragma once

#include <memory>
#include <vector>

#include "link.h"
#include "socket.h"

namespace jobkit {

class TcpLink final : public Link {
  // A payload up to this is copied behind its header: that is cheaper than a list of two for the kernel.
  static constexpr size_t kShortPayload = 464;

 public:
  TcpLink(int peer, std::vector<Fd> sockets, LinkObserver& observer);

  bool wants_write() const override;
  bool pump_send() override;
  bool pump_receive() override;
  void watch(std::vector<pollfd>& descriptors) const override;
  void finish_writing() override;
  void shut() override;
  bool all_ended() const override;
  const char* kind() const override { return "tcp"; }
  size_t n_connections() const override { return channels_.size(); }

 private:
  // A connection. Its incoming frame is the link's incoming_ of the same index.
  struct Channel {
    Fd socket;
    bool ended = false;
    // Receiving: bytes read and not yet looked at.
    std::vector<uint8_t> staging;
    size_t begin = 0, end = 0;
    // Sending: the frame under way, its header and, if that is short, its payload with it.
    std::array<uint8_t, kFrameHeader + kShortPayload> head{};
    size_t n_head = 0;  // bytes left of `head`
    const uint8_t* next_head = nullptr;
    const uint8_t* payload = nullptr;
    size_t n_payload = 0;  // bytes left
    bool busy = false;
    Send* from = nullptr;  // nullptr: nobody waits for this frame any more
    std::vector<uint8_t> own_payload;
  };

  Piece look(const Receive& receive) const override;
  Room room_in_stream(Receive* receive, uint64_t position, size_t n_bytes) override;
  void given_back(Receive* receive) override;
  void end_stream(Receive* receive) override;
  void detach(const Ticket* ticket) override;
  bool is_sending(const Ticket* ticket) const override;

  bool is_blocked(size_t index) const { return incoming_[index].held_back || incoming_[index].stalled; }
  void consume_staging(size_t index);
  size_t read_some(size_t index, bool& more);
  bool next_frame(Channel& channel);
  bool write_some(Channel& channel);
  void note_sent(Send* send);
  void end_reading(Channel& channel, const std::string& reason);

  std::vector<Channel> channels_;
  std::vector<std::unique_ptr<uint8_t[]>> windows_;  // all of them
  std::vector<uint8_t*> free_windows_;               // the last one that was used is the first to be used
  bool finishing_ = false;
};

}  // namespace jobkit
