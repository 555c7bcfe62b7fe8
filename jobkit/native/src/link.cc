#include "link.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace jobkit {
namespace {

// Read ahead of the frame that is looked at: a small message comes with its header in one call.
constexpr size_t kStaging = 16 << 10;

// Moved by one pump of one connection, so that the others get their turn.
constexpr size_t kTurnBytes = 2 << 20;

// Below this a message is not worth dividing between parallel connections.
constexpr size_t kMinStripe = 64 << 10;

}  // namespace

Link::Link(int peer, std::vector<Fd> sockets, LinkObserver& observer) : peer_(peer), observer_(observer) {
  channels_.resize(sockets.size());
  for (size_t i = 0; i < sockets.size(); i++) {
    channels_[i].socket = std::move(sockets[i]);
    channels_[i].staging.resize(kStaging);
  }
}

// --- requests ---

void Link::post(Receive* receive) {
  receive->ticket->n_open++;
  if (!claim(receive)) posted_.push_back(receive);
  // What was held back may be what was asked for now, or find the room that it lacked.
  for (Channel& channel : channels_) {
    if (channel.held_back) start_frame(channel);
  }
}

void Link::post(Send* send) {
  send->ticket->n_open++;
  queue_.push_back(send);
}

// Copies the kept frames of this message; true when that completes it.
bool Link::claim(Receive* receive) {
  bool complete = false;
  for (auto at = kept_.begin(); at != kept_.end();) {
    if (!(at->frame.key == receive->key)) {
      ++at;
      continue;
    }
    const Frame frame = at->frame;
    if (!(frame.signature == receive->signature)) observer_.mismatch(peer_, frame, receive->signature);
    if (!(frame.signature == receive->signature) || frame.offset + frame.n_bytes > receive->n_bytes)
      return false;
    uint8_t* target = receive->data + frame.offset;
    n_kept_ -= frame.n_bytes;
    if (at->whole) {
      if (frame.n_bytes > 0) std::memcpy(target, at->bytes.get(), frame.n_bytes);
      receive->n_arrived += frame.n_bytes;
      complete = receive->n_arrived == receive->n_bytes;
    } else {
      // Still coming in: what is here moves over, the rest is read straight to where it belongs.
      for (Channel& channel : channels_) {
        if (channel.keeping != &*at) continue;
        size_t n_here = frame.n_bytes - channel.n_missing;
        if (n_here > 0) std::memcpy(target, at->bytes.get(), n_here);
        channel.keeping = nullptr;
        channel.into = receive;
        channel.target = target + n_here;
      }
    }
    at = kept_.erase(at);
  }
  if (complete) observer_.completed(receive->ticket);
  return complete;
}

void Link::withdraw(const Ticket* ticket) {
  std::erase_if(posted_, [&](Receive* each) { return each->ticket == ticket; });
  for (Channel& channel : channels_) {
    if (channel.into && channel.into->ticket == ticket) {
      channel.into = nullptr;
      channel.target = nullptr;
    }
    if (channel.busy && channel.from && channel.from->ticket == ticket) {
      // A frame that was begun must be finished, or everything after it on this connection is lost.
      channel.own_payload.assign(channel.payload, channel.payload + channel.n_payload);
      channel.payload = channel.own_payload.data();
      channel.from = nullptr;
    }
  }
  std::erase_if(queue_, [&](Send* each) { return each->ticket == ticket; });
}

void Link::drop_context(uint32_t context) {
  for (auto at = kept_.begin(); at != kept_.end();) {
    if (at->frame.key.context != context) {
      ++at;
      continue;
    }
    for (Channel& channel : channels_) {
      if (channel.keeping == &*at) {
        channel.keeping = nullptr;
        channel.target = nullptr;
      }
    }
    n_kept_ -= at->frame.n_bytes;
    at = kept_.erase(at);
  }
  for (Channel& channel : channels_) {
    if (channel.held_back && channel.frame->key.context == context) drop(channel);
  }
}

bool Link::concerns(const Ticket* ticket) const {
  auto theirs = [&](auto* each) { return each->ticket == ticket; };
  return std::any_of(posted_.begin(), posted_.end(), theirs) ||
         std::any_of(queue_.begin(), queue_.end(), theirs) ||
         std::any_of(channels_.begin(), channels_.end(),
                     [&](const Channel& c) { return c.busy && c.from && c.from->ticket == ticket; });
}

bool Link::hopeless(const Ticket* ticket) const {
  auto theirs = [&](auto* each) { return each->ticket == ticket; };
  if (read_closed_ && std::any_of(posted_.begin(), posted_.end(), theirs)) return true;
  return write_closed_ && (std::any_of(queue_.begin(), queue_.end(), theirs) ||
                           std::any_of(channels_.begin(), channels_.end(), [&](const Channel& c) {
                             return c.busy && c.from && c.from->ticket == ticket;
                           }));
}

const Frame* Link::find_kept_mismatch(uint32_t context, uint32_t seq, const Signature& ours) const {
  for (const Kept& kept : kept_) {
    const MessageKey& key = kept.frame.key;
    bool same_call = key.kind == FrameKind::kCollective && key.context == context && key.seq == seq;
    if (same_call && !(kept.frame.signature == ours)) return &kept.frame;
  }
  return nullptr;
}

// --- receiving ---

Receive* Link::find_posted(const MessageKey& key) {
  for (Receive* each : posted_) {
    if (each->key == key) return each;
  }
  return nullptr;
}

// Decides where the payload of the channel's frame goes. False: nowhere yet.
bool Link::start_frame(Channel& channel) {
  const Frame& frame = *channel.frame;
  channel.n_missing = frame.n_bytes;
  channel.held_back = false;
  if (Receive* receive = find_posted(frame.key)) {
    place(channel, receive);
  } else if (!observer_.unexpected(peer_, frame)) {
    drop(channel);
  } else if (!keep(channel)) {
    channel.held_back = true;
    return false;
  }
  return true;
}

void Link::place(Channel& channel, Receive* receive) {
  const Frame& frame = *channel.frame;
  if (!(frame.signature == receive->signature)) {
    observer_.mismatch(peer_, frame, receive->signature);
    drop(channel);
  } else if (frame.offset > receive->n_bytes || frame.n_bytes > receive->n_bytes - frame.offset) {
    drop(channel);
    close_reading(channel, "it sent a frame that lies outside of its message");
  } else {
    channel.into = receive;
    channel.target = receive->data + frame.offset;
  }
}

bool Link::keep(Channel& channel) {
  const Frame& frame = *channel.frame;
  if (n_kept_ > 0 && n_kept_ + frame.n_bytes > kMaxKept) return false;
  n_kept_ += frame.n_bytes;
  kept_.push_back({frame, std::make_unique_for_overwrite<uint8_t[]>(frame.n_bytes), false});
  channel.keeping = &kept_.back();
  channel.target = channel.keeping->bytes.get();
  return true;
}

void Link::drop(Channel& channel) {
  channel.held_back = false;
  channel.into = nullptr;
  channel.keeping = nullptr;
  channel.target = nullptr;
}

void Link::arrived(Receive* receive, size_t n_bytes) {
  receive->n_arrived += n_bytes;
  if (receive->n_arrived < receive->n_bytes) return;
  std::erase(posted_, receive);
  observer_.completed(receive->ticket);
}

void Link::frame_arrived(Channel& channel) {
  size_t n_bytes = channel.frame->n_bytes;
  Receive* into = channel.into;
  if (channel.keeping) channel.keeping->whole = true;
  drop(channel);
  channel.frame.reset();
  if (into) arrived(into, n_bytes);
}

// Looks at what was read ahead: as many frames as it holds.
void Link::consume_staging(Channel& channel) {
  while (!channel.ended && !channel.held_back) {
    if (!channel.frame) {
      if (channel.end - channel.begin < kFrameHeader) break;
      std::string wrong;
      channel.frame = decode(channel.staging.data() + channel.begin, wrong);
      if (!channel.frame) return close_reading(channel, wrong);
      channel.begin += kFrameHeader;
      if (!start_frame(channel)) break;
    }
    size_t n = std::min(channel.n_missing, channel.end - channel.begin);
    if (n > 0 && channel.target) {
      std::memcpy(channel.target, channel.staging.data() + channel.begin, n);
      channel.target += n;
    }
    channel.begin += n;
    channel.n_missing -= n;
    if (channel.n_missing > 0) break;
    frame_arrived(channel);
  }
  if (channel.begin > 0) {
    std::memmove(channel.staging.data(), channel.staging.data() + channel.begin, channel.end - channel.begin);
    channel.end -= channel.begin;
    channel.begin = 0;
  }
}

// One read: the rest of the frame to its place, and what follows it into the staging. False: nothing more to
// get now.
bool Link::read_some(Channel& channel) {
  iovec parts[2];
  int n_parts = 0;
  size_t n_direct = channel.frame && channel.target ? channel.n_missing : 0;
  if (n_direct > 0) parts[n_parts++] = {channel.target, n_direct};
  parts[n_parts++] = {channel.staging.data() + channel.end, channel.staging.size() - channel.end};
  ssize_t n = ::readv(channel.socket.get(), parts, n_parts);
  if (n < 0 && would_block(errno)) return false;
  if (n == 0) {
    channel.ended = true;
    // What the peer wrote before it closed may still be on its way over a parallel connection.
    if (all_ended()) close_reading(channel, "the connection was closed");
    return false;
  }
  if (n < 0) {
    close_reading(channel, system_text(errno));
    return false;
  }
  moved_ = true;
  size_t n_got = static_cast<size_t>(n), n_placed = std::min(n_got, n_direct);
  bool filled = n_got == n_direct + parts[n_parts - 1].iov_len;
  if (n_direct > 0) {
    channel.target += n_placed;
    channel.n_missing -= n_placed;
    if (channel.n_missing == 0) frame_arrived(channel);
  }
  channel.end += n_got - n_placed;
  consume_staging(channel);
  return filled;
}

bool Link::pump_receive() {
  moved_ = false;
  for (Channel& channel : channels_) {
    for (size_t n_moved = 0; n_moved < kTurnBytes && !channel.ended && !channel.held_back;
         n_moved += kStaging) {
      // Bytes that were read ahead of a frame that was held back then.
      if (channel.end > 0) consume_staging(channel);
      if (channel.ended || channel.held_back || !read_some(channel)) break;
    }
  }
  return moved_;
}

// --- sending ---

bool Link::wants_write() const {
  if (write_closed_) return false;
  return !queue_.empty() ||
         std::any_of(channels_.begin(), channels_.end(), [](const Channel& c) { return c.busy; });
}

// Loads the next frame of the oldest message that has one.
bool Link::next_frame(Channel& channel) {
  if (queue_.empty()) return false;
  Send* send = queue_.front();
  size_t stripe = std::max(kMinStripe, static_cast<size_t>(send->n_bytes / channels_.size()));
  size_t n = std::min<uint64_t>({kMaxFrame, stripe, send->n_bytes - send->n_started});
  if (channels_.size() == 1) n = std::min<uint64_t>(kMaxFrame, send->n_bytes - send->n_started);
  encode({send->key, send->signature, static_cast<uint32_t>(n), send->n_started}, channel.head);
  channel.n_head = 0;
  channel.payload = send->data + send->n_started;
  channel.n_payload = n;
  channel.from = send;
  channel.busy = true;
  send->n_started += n;
  send->n_frames++;
  send->all_started = send->n_started == send->n_bytes;
  if (send->all_started) queue_.pop_front();
  return true;
}

void Link::frame_written(Channel& channel) {
  Send* from = channel.from;
  channel.busy = false;
  channel.from = nullptr;
  channel.own_payload.clear();
  if (!from) return;
  from->n_frames--;
  if (from->all_started && from->n_frames == 0) observer_.completed(from->ticket);
}

// One write. False: the kernel takes no more now.
bool Link::write_some(Channel& channel) {
  iovec parts[2] = {{channel.head.data() + channel.n_head, channel.head.size() - channel.n_head},
                    {const_cast<uint8_t*>(channel.payload), channel.n_payload}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = channel.n_payload > 0 ? 2 : 1;
  ssize_t n = ::sendmsg(channel.socket.get(), &message, kSendFlags);
  if (n < 0) {
    if (!would_block(errno)) close_writing(system_text(errno));
    return false;
  }
  moved_ = true;
  size_t n_wrote = static_cast<size_t>(n), n_of_head = std::min(n_wrote, parts[0].iov_len);
  channel.n_head += n_of_head;
  channel.payload += n_wrote - n_of_head;
  channel.n_payload -= n_wrote - n_of_head;
  if (channel.n_head < channel.head.size() || channel.n_payload > 0) return false;
  frame_written(channel);
  return true;
}

bool Link::pump_send() {
  moved_ = false;
  for (Channel& channel : channels_) {
    for (size_t turn = 0; turn < kTurnBytes / kMaxFrame && !write_closed_; turn++) {
      if (!channel.busy && !next_frame(channel)) break;
      if (!write_some(channel)) break;
    }
  }
  if (finishing_ && !write_closed_ && !wants_write()) {
    close_writing("it has left");
    for (Channel& channel : channels_) ::shutdown(channel.socket.get(), SHUT_WR);
  }
  return moved_;
}

void Link::finish_writing() {
  finishing_ = true;
  pump_send();
}

// --- the end ---

bool Link::all_ended() const {
  return std::all_of(channels_.begin(), channels_.end(), [](const Channel& c) { return c.ended; });
}

void Link::shut() {
  for (Channel& channel : channels_) {
    channel.ended = true;
    channel.socket.close();
  }
  read_closed_ = write_closed_ = true;
}

void Link::close_reading(Channel& channel, const std::string& reason) {
  channel.ended = true;
  if (reason_.empty()) reason_ = reason;
  read_closed_ = true;
  observer_.closed(peer_);
}

void Link::close_writing(const std::string& reason) {
  write_closed_ = true;
  if (reason_.empty()) reason_ = reason;
  observer_.closed(peer_);
}

}  // namespace jobkit
