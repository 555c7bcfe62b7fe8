#include "mpi_link.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace jobkit {
namespace {

// Of messages on the communicator: a frame's header, and a payload that follows its header.
constexpr int kHeadTag = 1, kPayloadTag = 2;

// Payload bytes of a frame, at most; what a stream has room for.
constexpr size_t kLargestFrame = 512 << 10;
constexpr size_t kWindow = 4 * kLargestFrame;

// Frames under way to a peer. One in so many is acknowledged by its receiver, so that no more of them than
// that can pile up in a peer that takes none in.
constexpr size_t kMostFrames = 8;
constexpr uint64_t kAcknowledged = 4;

// As large as any library's MPI_Status, twice over.
constexpr size_t kStatus = 64;

// How often a message that was taken back is looked at until it is.
constexpr int kCancelLooks = 1000;

// Larger than any library's MPI_MAX_ERROR_STRING.
constexpr size_t kErrorText = 2048;

}  // namespace

// --- MPI ---

bool MpiPort::failed(const char* what, int code) {
  if (code == 0) return false;
  char text[kErrorText] = "";
  int length = 0;
  library_->error_string(code, text, &length);
  problem_ = std::string(what) + " of " + library_->name + " failed: " + text;
  return true;
}

void MpiPort::send(Request& request, const void* data, size_t n_bytes, int tag, bool synchronous) {
  if (!problem_.empty()) return;
  auto call = synchronous ? library_->issend : library_->isend;
  request.open = !failed("MPI_Isend", call(data, static_cast<int>(n_bytes), library_->byte, peer_, tag,
                                           library_->communicator, &request.handle));
}

void MpiPort::receive(Request& request, void* data, size_t n_bytes, int tag) {
  if (!problem_.empty()) return;
  request.open = !failed("MPI_Irecv", library_->irecv(data, static_cast<int>(n_bytes), library_->byte, peer_,
                                                      tag, library_->communicator, &request.handle));
}

bool MpiPort::test(Request& request) {
  if (!request.open) return problem_.empty();
  if (!problem_.empty()) return false;
  alignas(16) unsigned char status[kStatus];
  int flag = 0;
  if (failed("MPI_Test", library_->test(&request.handle, &flag, status))) return false;
  request.open = flag == 0;
  return flag != 0;
}

void MpiPort::cancel(Request& request) {
  if (!request.open || !problem_.empty() || failed("MPI_Cancel", library_->cancel(&request.handle))) return;
  for (int i = 0; i < kCancelLooks && !test(request); i++) {
  }
}

// --- the link ---

// What MPI may still be reading or writing when the link goes.
struct MpiLink::Buffers {
  std::array<uint8_t, kMessage> head;
  std::vector<std::unique_ptr<uint8_t[]>> windows;
  std::vector<uint8_t> aside;  // where a payload goes that nobody has asked for yet, or wants any more
};

MpiLink::MpiLink(int peer, std::shared_ptr<const MpiLibrary> library, LinkObserver& observer)
    : Link(peer, 1, observer), buffers_(std::make_unique<Buffers>()), port_(std::move(library), peer) {}

MpiLink::~MpiLink() {
  // The header of a frame that will never come is always asked for.
  (void)buffers_.release();
  for (Outgoing& each : frames_) (void)each.bytes.release();
}

// --- streams: a window that slides over the message, in which no frame is divided ---

Piece MpiLink::look(const Receive& receive) const {
  size_t index = (receive.n_taken - receive.origin) % kWindow;
  return {receive.window + index, std::min<uint64_t>(receive.n_prefix - receive.n_taken, kWindow - index)};
}

Link::Room MpiLink::room_in_stream(Receive* receive, uint64_t position, size_t n_bytes) {
  if (!receive->window) {
    if (free_windows_.empty()) {
      buffers_->windows.push_back(std::make_unique_for_overwrite<uint8_t[]>(kWindow));
      free_windows_.push_back(buffers_->windows.back().get());
    }
    receive->window = free_windows_.back();
    free_windows_.pop_back();
  }
  // Empty: begin again where it is warm. Nothing comes in while there is asked for room.
  if (receive->n_taken == receive->n_arrived) receive->origin = receive->n_taken;
  size_t index = (position - receive->origin) % kWindow;
  if (position + n_bytes > receive->n_taken + kWindow || index + n_bytes > kWindow) return {};
  return {receive->window + index, n_bytes};
}

void MpiLink::end_stream(Receive* receive) {
  uint8_t* window = std::exchange(receive->window, nullptr);
  bool in_use = payload_.open && payload_place_ >= window && payload_place_ < window + kWindow;
  if (window && !in_use) free_windows_.push_back(window);
}

// --- receiving ---

void MpiLink::ask_for_head() {
  if (!head_.open) port_.receive(head_, buffers_->head.data(), kMessage, kHeadTag);
}

bool MpiLink::pump_receive() {
  bool moved = false;
  for (size_t n_moved = 0; n_moved < kLargestFrame && !read_closed_;) {
    Incoming& incoming = incoming_[0];
    if (payload_.open) {
      if (!port_.test(payload_)) {
        if (is_dead()) close_reading(ended_);
        break;
      }
      n_moved += n_payload_;
      moved = true;
      if (payload_place_ == buffers_->aside.data()) {
        inline_ = payload_place_;
      } else {
        came(incoming, n_payload_);
      }
    } else if (!incoming.frame) {
      if (!next_frame()) break;
      moved = true;
    } else if (incoming.held_back || !take_payload()) {
      break;
    } else {
      moved = true;
    }
  }
  if (!port_.problem().empty()) break_down();
  return moved;
}

// Begins with the next frame. False: there is none, or it has to wait.
bool MpiLink::next_frame() {
  ask_for_head();
  if (!port_.test(head_)) {
    if (is_dead()) close_reading(ended_);
    return false;
  }
  const uint8_t* bytes = buffers_->head.data();
  static constexpr std::array<uint8_t, kFrameHeader> kNothing{};
  if (std::memcmp(bytes, kNothing.data(), kFrameHeader) == 0) {
    close_reading("the connection was closed");
    return false;
  }
  std::string wrong;
  Incoming& incoming = incoming_[0];
  incoming.frame = decode_unchecked(bytes, wrong);
  if (!incoming.frame) {
    close_reading(wrong);
    return false;
  }
  inline_ = incoming.frame->n_bytes <= kShortPayload ? bytes + kFrameHeader : nullptr;
  if (!begin(incoming)) return false;
  if (!incoming.frame) ask_for_head();
  return true;
}

// The payload, or what there is room for. False: it has to wait.
bool MpiLink::take_payload() {
  Incoming& incoming = incoming_[0];
  if (!inline_) return ask_for_payload();
  Room to = room(incoming);
  if (to.n_bytes == 0) return false;
  size_t n = std::min<uint64_t>(to.n_bytes, incoming.n_missing());
  if (to.place) std::memcpy(to.place, inline_, n);
  inline_ += n;
  came(incoming, n);
  if (!incoming.frame) ask_for_head();
  return true;
}

bool MpiLink::ask_for_payload() {
  Incoming& incoming = incoming_[0];
  n_payload_ = incoming.n_missing();
  // What is kept until somebody asks for it may move to its place while it comes.
  Room to = incoming.keeping ? Room{} : room(incoming);
  if (!incoming.keeping && to.n_bytes < n_payload_) return false;
  if (!to.place) {
    buffers_->aside.resize(std::max(buffers_->aside.size(), n_payload_));
    to.place = buffers_->aside.data();
  }
  payload_place_ = to.place;
  port_.receive(payload_, to.place, n_payload_, kPayloadTag);
  ask_for_head();  // the next one may come beside it
  return payload_.open;
}

// --- sending ---

bool MpiLink::wants_write() const {
  if (write_closed_) return false;
  return !frames_.empty() || (finishing_ && !end_sent_) ||
         std::any_of(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
}

bool MpiLink::pump_send() {
  bool moved = finish_frames();
  for (size_t n_moved = 0; n_moved < kMostFrames && frames_.size() < kMostFrames && !write_closed_;
       n_moved++) {
    bool waits =
        std::none_of(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
    if (waits) break;
    send_frame();
    moved = true;
  }
  if (moved) finish_frames();
  if (finishing_ && !end_sent_ && queue_.empty() && !write_closed_) {
    end_sent_ = true;
    Outgoing& end = new_frame();
    std::memset(end.bytes->data(), 0, kFrameHeader);
    port_.send(end.head, end.bytes->data(), kFrameHeader, kHeadTag);
  }
  if (finishing_ && end_sent_ && frames_.empty()) close_writing("it has left");
  if (!port_.problem().empty()) break_down();
  return moved;
}

MpiLink::Outgoing& MpiLink::new_frame() {
  if (spare_.empty()) spare_.push_back(std::make_unique<Bytes::element_type>());
  Outgoing& frame = frames_.emplace_back();
  frame.bytes = std::move(spare_.back());
  spare_.pop_back();
  return frame;
}

// Gives MPI the next frame of the oldest message that has one.
void MpiLink::send_frame() {
  auto at = std::find_if(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
  Send* send = *at;
  uint64_t n = std::min<uint64_t>(kLargestFrame, send->n_ready - send->n_started);
  Outgoing& frame = new_frame();
  frame.from = send;
  frame.begin = send->n_started;
  FrameBytes header;
  encode_unchecked({send->key, send->signature, static_cast<uint32_t>(n), send->n_started}, header);
  std::memcpy(frame.bytes->data(), header.data(), kFrameHeader);
  const bool is_short = n <= kShortPayload;
  const uint8_t* data = send->data + send->n_started;
  if (is_short && n > 0) std::memcpy(frame.bytes->data() + kFrameHeader, data, n);
  // A payload of its own is taken in by whoever asks for it: that says enough.
  const bool synchronous = is_short && ++n_frames_ % kAcknowledged == 0;
  port_.send(frame.head, frame.bytes->data(), kFrameHeader + (is_short ? n : 0), kHeadTag, synchronous);
  if (!is_short) port_.send(frame.payload, data, n, kPayloadTag);
  send->n_started += n;
  send->all_started = send->n_started == send->n_bytes;
  if (is_short) {
    // Copied: the message is as good as out.
    frame.from = nullptr;
  } else {
    send->n_frames++;
  }
  if (send->all_started) queue_.erase(at);
  if (send->all_started && send->n_frames == 0) {
    completed(send);
  } else {
    note_sent(send);
  }
}

// Forgets the frames that are out. True when one was.
bool MpiLink::finish_frames() {
  bool moved = false;
  while (!frames_.empty()) {
    Outgoing& frame = frames_.front();
    if (!port_.test(frame.head) || !port_.test(frame.payload)) break;
    Send* from = frame.from;
    spare_.push_back(std::move(frame.bytes));
    frames_.pop_front();
    moved = true;
    if (!from) continue;
    from->n_frames--;
    if (from->all_started && from->n_frames == 0) {
      completed(from);
    } else {
      note_sent(from);
    }
  }
  return moved;
}

// How far the message is out of this process: up to the first byte that MPI may still read.
void MpiLink::note_sent(Send* send) {
  uint64_t n_sent = send->n_started;
  for (const Outgoing& frame : frames_) {
    if (frame.from == send) n_sent = std::min(n_sent, frame.begin);
  }
  send->n_sent = n_sent;
  observer_.progressed(send->ticket);
}

// MPI goes on reading what it was given: whoever owns the memory keeps it (Mesh::keeps_memory).
void MpiLink::detach(const Ticket* ticket) {
  for (Outgoing& frame : frames_) {
    if (frame.from && frame.from->ticket == ticket) frame.from = nullptr;
  }
}

bool MpiLink::is_sending(const Ticket* ticket) const {
  return std::any_of(frames_.begin(), frames_.end(),
                     [&](const Outgoing& frame) { return frame.from && frame.from->ticket == ticket; });
}

// --- the end ---

void MpiLink::break_down() {
  close_reading(port_.problem());
  close_writing(port_.problem());
}

// On the control thread: MPI is not called. One that left in an orderly way says so here as well, after all
// that it sent; what one that died has sent is here, or never comes.
void MpiLink::peer_ended(const std::string& reason) {
  if (!finishing_) ended_ = reason;
  close_writing(reason);
}

// What this rank has sent is with MPI. What others send is of no more interest.
bool MpiLink::all_ended() const { return write_closed_ || (end_sent_ && frames_.empty()); }

void MpiLink::shut() {
  // MPI complains at its end of what was asked for and never came.
  if (all_ended()) port_.cancel(head_);
  read_closed_ = write_closed_ = true;
}

}  // namespace jobkit
