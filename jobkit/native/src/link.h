// A link: what leads to one peer, and the messages that are on their way over it.
//
// Messages are matched by key, never by order of arrival: what nobody has asked for yet is kept, up to
// kMaxKept bytes, and then nothing more is taken in until somebody asks. A receive is either put where it
// belongs, or *streamed*: its bytes are looked at where they lie, in order, and then given back. What a
// stream has no room for stays where it is; when nothing has moved for a while it is kept too, so that the
// messages behind it get through.
//
// What carries the bytes is for the classes derived from this one. Nothing here blocks and nothing here
// locks: the mesh does.
#pragma once

#include <poll.h>

#include <climits>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "error.h"
#include "wire.h"

namespace jobkit {

inline constexpr size_t kMaxKept = 64 << 20;

// Frames are cut at multiples of this many bytes, so that no element is divided between two of them.
inline constexpr size_t kFrameGrain = 64;

// What a call waits for.
struct Ticket {
  size_t n_open = 0;    // messages and steps that are not complete
  uint64_t n_news = 0;  // changes whenever one of its messages has come forward
};

// A run of bytes that are here.
struct Piece {
  const uint8_t* data = nullptr;
  size_t n_bytes = 0;
};

// A message that somebody waits for. The owner keeps it in place until it is done or withdrawn. Posted, it
// counts in its ticket's n_open until all of it has come.
struct Receive {
  struct Extent {
    uint64_t begin, end;
  };

  int peer = kNobody;
  MessageKey key;
  Signature signature;
  uint8_t* data = nullptr;  // streamed: not used
  uint64_t n_bytes = 0;
  bool streamed = false;
  bool past_cache = false;  // nobody reads it soon: whoever copies it does so past the cache
  bool in_use = false;      // streamed: its owner reads what it was shown, without the mesh's lock
  Ticket* ticket = nullptr;

  // From here on the link's.
  uint64_t n_prefix = 0;      // bytes that have come, from the start on, without a gap
  uint64_t n_arrived = 0;     // all that have come
  uint64_t n_taken = 0;       // streamed: bytes that were given back
  bool complete = false;      // all have come
  int n_kept = 0;             // kept frames that belong to it
  std::vector<Extent> ahead;  // what has come beyond a gap, over a parallel connection
  uint8_t* window = nullptr;  // of whatever carries a stream
  uint64_t origin = 0;        // likewise

  // Forgets how far an earlier message had come.
  void rewind() {
    n_prefix = n_arrived = n_taken = origin = 0;
    complete = false;
    n_kept = 0;
    ahead.clear();
    window = nullptr;
  }
};

// A message to give away. The owner keeps it in place until it is done or withdrawn. Posted, it counts in its
// ticket's n_open until nothing of it is left in this process.
struct Send {
  int peer = kNobody;
  MessageKey key;
  Signature signature;
  const uint8_t* data = nullptr;
  uint64_t n_bytes = 0;
  uint64_t n_ready = 0;  // bytes, from the start on, that may go: all, or a multiple of kFrameGrain. The
                         // owner raises it
  bool may_go = false;   // an empty message waits for this
  Ticket* ticket = nullptr;

  // From here on the link's.
  uint64_t n_started = 0;  // bytes that are in frames
  uint64_t n_sent = 0;     // bytes, from the start on, that may be overwritten
  uint32_t n_frames = 0;   // frames that are under way
  bool all_started = false;
  bool complete = false;

  // Whether there is something for a frame. An empty message is one frame without bytes.
  bool may_start() const { return n_ready > n_started || (n_bytes == 0 && may_go && !all_started); }
  void rewind() {
    n_started = n_sent = 0;
    n_frames = 0;
    all_started = complete = false;
  }
};

// What a link tells its mesh.
class LinkObserver {
 public:
  // A frame came that nobody waits for. False: drop it (its group is gone).
  virtual bool unexpected(int peer, const Frame& frame) = 0;
  // The peer's call differs from the one that waits for this message.
  virtual void mismatch(int peer, const Frame& frame, const Signature& ours) = 0;
  // A message of this ticket has come forward; when it is complete, n_open has been counted down.
  virtual void progressed(Ticket* ticket) = 0;
  // Nothing more can be read, or written: the reason is in the link.
  virtual void closed(int peer) = 0;

 protected:
  ~LinkObserver() = default;
};

class Link {
 public:
  virtual ~Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void post(Receive* receive);
  void post(Send* send);
  // Streamed: the bytes behind those that were given back; nothing when they have not come. They stay where
  // they are until they are given back, whatever else arrives.
  Piece peek(const Receive& receive) const;
  void give_back(Receive* receive, size_t n_bytes);
  // Forget the requests of a ticket: their memory is about to go.
  void withdraw(const Ticket* ticket);
  // Drop what was kept for a group that is gone.
  void drop_context(uint32_t context);
  // Keeps what comes for streams that have no room: their readers wait for something else.
  virtual void relieve();
  // Whether a stream without room holds up what is behind it.
  virtual bool is_stalled() const { return n_stalled_ > 0; }

  bool wants_read() const { return !posted_.empty(); }
  // Whether there is something to write now.
  virtual bool wants_write() const = 0;
  // Move what can be moved now; true when something was.
  virtual bool pump_send() = 0;
  virtual bool pump_receive() = 0;
  // Adds what a thread that sleeps has to watch.
  virtual void watch(std::vector<pollfd>& descriptors) const = 0;
  // Before it sleeps: what comes from now on makes a descriptor ready. True: what came before does not, so
  // that it has to be looked for once more.
  virtual bool fall_asleep() { return false; }
  virtual void awake() {}
  // How long it may sleep at most.
  virtual int nap_ms() const { return INT_MAX; }
  // Called some 20 times a second by whoever waits: looks whether what carries the link is still well.
  virtual void look_after() {}
  // Called at every tick by whoever waits for this peer: asks for a sign of life over what carries the link,
  // and closes it after so many in vain.
  virtual void ping(int most_unanswered) { (void)most_unanswered; }

  // No more messages will be written: ends the stream once those that are queued are out.
  virtual void finish_writing() = 0;
  // The peer's process is gone, or has left: what it has written is all that will ever come.
  virtual void peer_ended(const std::string& reason) { (void)reason; }
  // Close: whatever is still under way is lost.
  virtual void shut() = 0;
  virtual bool all_ended() const = 0;
  // "tcp", "shm", "rc" or "uc", and how many connections.
  virtual const char* kind() const = 0;
  virtual size_t n_connections() const { return 1; }
  // The devices, where that can be said.
  virtual std::string carrier() const { return ""; }

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

 protected:
  // A frame that came before it was asked for, or before its stream had room.
  struct Kept {
    Frame frame;
    std::unique_ptr<uint8_t[]> bytes;
    Receive* owner = nullptr;  // the stream that it belongs to
    uint64_t n_come = 0;
    bool whole() const { return n_come == frame.n_bytes; }
  };

  // The frame that comes in over one connection.
  struct Incoming {
    std::optional<Frame> frame;
    uint64_t n_come = 0;      // payload bytes that are where they belong
    Receive* into = nullptr;  // neither of the two: they are dropped
    Kept* keeping = nullptr;
    bool held_back = false;  // there is no room for it until somebody asks for it
    bool stalled = false;    // its stream has no room
    uint64_t n_missing() const { return frame->n_bytes - n_come; }
  };

  // Where the next bytes of an incoming frame go. No room: not now. No place: they are dropped.
  struct Room {
    uint8_t* place = nullptr;
    size_t n_bytes = 0;
  };

  Link(int peer, size_t n_incoming, LinkObserver& observer)
      : observer_(observer), incoming_(n_incoming), peer_(peer) {}

  // A stream of a derived class: the run of bytes at n_taken that are not in kept frames; where the byte at
  // `position` goes, and how many with it, at most `n_bytes`; bytes up to n_taken were given back; it is
  // over.
  virtual Piece look(const Receive& receive) const = 0;
  virtual Room room_in_stream(Receive* receive, uint64_t position, size_t n_bytes) = 0;
  virtual void given_back(Receive* receive) = 0;
  virtual void end_stream(Receive* receive) = 0;
  // The frame under way of this ticket must go out all the same: its bytes are about to go.
  virtual void detach(const Ticket* ticket) = 0;
  virtual bool is_sending(const Ticket* ticket) const = 0;

  // Decides where the payload of the frame that begins goes. False: nowhere yet, or it broke the rules.
  bool begin(Incoming& incoming);
  Room room(Incoming& incoming);
  // The next bytes of the frame are at their place.
  void came(Incoming& incoming, size_t n_bytes);
  void completed(Send* send);
  // Keeps what a stream has been given notice of, from `offset` of its message on. False: there is no room.
  bool keep_for(Receive* stream, uint64_t offset, const uint8_t* data, size_t n_bytes);
  void stall(Incoming& incoming, bool stalled);
  void close_reading(const std::string& reason);
  void close_writing(const std::string& reason);

  LinkObserver& observer_;
  std::vector<Incoming> incoming_;
  std::vector<Send*> queue_;  // not all in frames yet, in the order in which they were posted
  bool read_closed_ = false;
  bool write_closed_ = false;

 private:
  Receive* find_posted(const MessageKey& key) const;
  void place(Incoming& incoming, Receive* receive);
  bool keep(Incoming& incoming);
  void drop(Incoming& incoming);
  void claim(Receive* receive);
  bool fits(const Frame& frame, const Receive& receive) const;
  void arrived(Receive* receive, uint64_t offset, uint64_t n_bytes);
  std::list<Kept>::iterator forget(std::list<Kept>::iterator kept);

  const int peer_;
  std::vector<Receive*> posted_;   // not all here yet
  std::vector<Receive*> streams_;  // streamed, and not all given back yet
  std::list<Kept> kept_;
  size_t n_kept_ = 0;
  size_t n_stalled_ = 0;
  std::string reason_;
};

}  // namespace jobkit
