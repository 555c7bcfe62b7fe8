// A link: the connections to one peer, and the messages that are on their way over them.
//
// Messages are matched by key, never by order of arrival: what nobody has asked for yet is kept, up to
// kMaxKept bytes, and then the connection is not read until somebody asks. Nothing here blocks and nothing
// here locks: the mesh does.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "socket.h"
#include "wire.h"

namespace jobkit {

inline constexpr size_t kMaxKept = 64 << 20;

// The messages of one stage or call that are not complete yet.
struct Ticket {
  size_t n_open = 0;
};

// A message that somebody waits for. The owner keeps it in place until it is done or withdrawn.
struct Receive {
  int peer = kNobody;
  MessageKey key;
  Signature signature;
  uint8_t* data = nullptr;
  uint64_t n_bytes = 0;
  uint64_t n_arrived = 0;
  Ticket* ticket = nullptr;
};

// A message to give away. Done once the kernel has all of it.
struct Send {
  int peer = kNobody;
  MessageKey key;
  Signature signature;
  const uint8_t* data = nullptr;
  uint64_t n_bytes = 0;
  uint64_t n_started = 0;  // bytes that are in frames
  uint32_t n_frames = 0;   // frames that are under way
  bool all_started = false;
  Ticket* ticket = nullptr;
};

// What a link tells its mesh.
class LinkObserver {
 public:
  // A frame came that nobody waits for. False: drop it (its group is gone).
  virtual bool unexpected(int peer, const Frame& frame) = 0;
  // The peer's call differs from the one that waits for this message.
  virtual void mismatch(int peer, const Frame& frame, const Signature& ours) = 0;
  // A message of this ticket is complete.
  virtual void completed(Ticket* ticket) = 0;
  // Nothing more can be read, or written: the reason is in the link.
  virtual void closed(int peer) = 0;

 protected:
  ~LinkObserver() = default;
};

class Link {
 public:
  Link(int peer, std::vector<Fd> sockets, LinkObserver& observer);

  void post(Receive* receive);
  void post(Send* send);
  // Forget the requests of a ticket: their memory is about to go.
  void withdraw(const Ticket* ticket);
  // Drop what was kept for a group that is gone.
  void drop_context(uint32_t context);

  bool wants_read() const { return !posted_.empty(); }
  bool wants_write() const;
  // Move what can be moved now; true when something was.
  bool pump_send();
  bool pump_receive();

  // No more messages will be written: ends the stream once those that are queued are out.
  void finish_writing();
  bool read_closed() const { return read_closed_; }
  bool write_closed() const { return write_closed_; }
  const std::string& reason() const { return reason_; }
  size_t n_kept() const { return n_kept_; }
  // Whether a message of this ticket can never be completed.
  bool hopeless(const Ticket* ticket) const;
  bool concerns(const Ticket* ticket) const;
  // A kept frame of this collective whose call is another than `ours`.
  const Frame* find_kept_mismatch(uint32_t context, uint32_t seq, const Signature& ours) const;

  int peer() const { return peer_; }
  size_t n_sockets() const { return channels_.size(); }
  int descriptor(size_t i) const { return channels_[i].socket.get(); }
  bool readable(size_t i) const { return !channels_[i].ended && !channels_[i].held_back; }
  bool all_ended() const;
  // Close the sockets: whatever is still under way is lost.
  void shut();

 private:
  // A frame that came before it was asked for.
  struct Kept {
    Frame frame;
    std::unique_ptr<uint8_t[]> bytes;
    bool whole = false;
  };

  struct Channel {
    Fd socket;
    // Receiving: bytes read and not yet looked at, then the frame under way.
    std::vector<uint8_t> staging;
    size_t begin = 0, end = 0;
    std::optional<Frame> frame;
    size_t n_missing = 0;       // payload bytes of the frame that have not come
    uint8_t* target = nullptr;  // where they go; nullptr: nowhere
    Receive* into = nullptr;
    Kept* keeping = nullptr;
    bool held_back = false;  // the frame finds no room until somebody asks for it
    bool ended = false;
    // Sending: the frame under way.
    FrameBytes head{};
    size_t n_head = 0;  // bytes of `head` written
    const uint8_t* payload = nullptr;
    size_t n_payload = 0;  // bytes left
    bool busy = false;
    Send* from = nullptr;  // nullptr: nobody waits for this frame any more
    std::vector<uint8_t> own_payload;
  };

  Receive* find_posted(const MessageKey& key);
  bool start_frame(Channel& channel);
  void place(Channel& channel, Receive* receive);
  bool keep(Channel& channel);
  void drop(Channel& channel);
  void frame_arrived(Channel& channel);
  void arrived(Receive* receive, size_t n_bytes);
  bool claim(Receive* receive);
  void consume_staging(Channel& channel);
  bool read_some(Channel& channel);
  bool next_frame(Channel& channel);
  bool write_some(Channel& channel);
  void frame_written(Channel& channel);
  void close_reading(Channel& channel, const std::string& reason);
  void close_writing(const std::string& reason);

  int peer_;
  LinkObserver& observer_;
  std::vector<Channel> channels_;
  std::deque<Send*> queue_;
  std::vector<Receive*> posted_;
  std::list<Kept> kept_;
  size_t n_kept_ = 0;
  bool moved_ = false;  // by the pump that runs
  bool finishing_ = false;
  bool read_closed_ = false;
  bool write_closed_ = false;
  std::string reason_;
};

}  // namespace jobkit
