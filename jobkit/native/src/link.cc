#include "link.h"

#include <algorithm>
#include <cstring>

namespace jobkit {

// --- requests ---

void Link::post(Receive* receive) {
  posted_.push_back(receive);
  if (receive->streamed) streams_.push_back(receive);
  if (!kept_.empty()) claim(receive);
  // What was held back may be what was asked for now, or find the room that it lacked.
  for (Incoming& incoming : incoming_) {
    if (incoming.held_back) begin(incoming);
  }
}

void Link::post(Send* send) { queue_.push_back(send); }

// Takes over the kept frames of this message: copied to their place, or left where they are for a stream.
void Link::claim(Receive* receive) {
  for (auto at = kept_.begin(); at != kept_.end();) {
    if (at->owner || !(at->frame.key == receive->key)) {
      ++at;
      continue;
    }
    const Frame& frame = at->frame;
    if (!(frame.signature == receive->signature)) {
      observer_.mismatch(peer_, frame, receive->signature);
      return;
    }
    if (!fits(frame, *receive)) return close_reading("it sent a frame that does not fit into its message");
    uint64_t offset = frame.offset, n_come = at->n_come;
    if (receive->streamed && frame.n_bytes > 0) {
      at->owner = receive;
      receive->n_kept++;
      ++at;
    } else {
      if (n_come > 0) std::memcpy(receive->data + offset, at->bytes.get(), n_come);
      // Still coming in: the rest goes straight to where it belongs.
      for (Incoming& incoming : incoming_) {
        if (incoming.keeping != &*at) continue;
        incoming.keeping = nullptr;
        incoming.into = receive;
      }
      at = forget(at);
    }
    arrived(receive, offset, n_come);
  }
}

std::list<Link::Kept>::iterator Link::forget(std::list<Kept>::iterator kept) {
  for (Incoming& incoming : incoming_) {
    if (incoming.keeping == &*kept) incoming.keeping = nullptr;
  }
  if (kept->owner) kept->owner->n_kept--;
  n_kept_ -= kept->frame.n_bytes;
  return kept_.erase(kept);
}

Piece Link::peek(const Receive& receive) const {
  if (receive.n_taken == receive.n_prefix) return {};
  if (receive.n_kept == 0) return look(receive);
  uint64_t end = receive.n_prefix;
  for (const Kept& kept : kept_) {
    uint64_t begin = kept.frame.offset;
    if (kept.owner != &receive || begin + kept.n_come <= receive.n_taken) continue;
    if (begin <= receive.n_taken)
      return {kept.bytes.get() + (receive.n_taken - begin), begin + kept.n_come - receive.n_taken};
    end = std::min(end, begin);
  }
  Piece found = look(receive);
  found.n_bytes = std::min<uint64_t>(found.n_bytes, end - receive.n_taken);
  return found;
}

void Link::give_back(Receive* receive, size_t n_bytes) {
  receive->n_taken += n_bytes;
  for (auto at = kept_.begin(); receive->n_kept > 0 && at != kept_.end();) {
    bool over =
        at->owner == receive && at->whole() && at->frame.offset + at->frame.n_bytes <= receive->n_taken;
    at = over ? forget(at) : std::next(at);
  }
  given_back(receive);
  for (Incoming& incoming : incoming_) {
    if (incoming.stalled && incoming.into == receive) stall(incoming, false);
  }
  if (receive->complete && receive->n_taken == receive->n_bytes) {
    end_stream(receive);
    std::erase(streams_, receive);
  }
}

void Link::withdraw(const Ticket* ticket) {
  auto theirs = [&](auto* each) { return each->ticket == ticket; };
  std::erase_if(posted_, theirs);
  for (Incoming& incoming : incoming_) {
    if (incoming.into && theirs(incoming.into)) drop(incoming);
  }
  for (auto at = kept_.begin(); at != kept_.end();) {
    at = at->owner && theirs(at->owner) ? forget(at) : std::next(at);
  }
  for (Receive* each : streams_) {
    if (theirs(each)) end_stream(each);
  }
  std::erase_if(streams_, theirs);
  detach(ticket);
  std::erase_if(queue_, theirs);
}

void Link::drop_context(uint32_t context) {
  for (auto at = kept_.begin(); at != kept_.end();) {
    at = at->frame.key.context == context ? forget(at) : std::next(at);
  }
  for (Incoming& incoming : incoming_) {
    if (incoming.held_back && incoming.frame->key.context == context) drop(incoming);
  }
}

bool Link::concerns(const Ticket* ticket) const {
  auto theirs = [&](auto* each) { return each->ticket == ticket; };
  return std::any_of(posted_.begin(), posted_.end(), theirs) ||
         std::any_of(queue_.begin(), queue_.end(), theirs) || is_sending(ticket);
}

bool Link::hopeless(const Ticket* ticket) const {
  auto theirs = [&](auto* each) { return each->ticket == ticket; };
  if (read_closed_ && std::any_of(posted_.begin(), posted_.end(), theirs)) return true;
  return write_closed_ && (std::any_of(queue_.begin(), queue_.end(), theirs) || is_sending(ticket));
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

Receive* Link::find_posted(const MessageKey& key) const {
  for (Receive* each : posted_) {
    if (each->key == key) return each;
  }
  return nullptr;
}

bool Link::begin(Incoming& incoming) {
  const Frame& frame = *incoming.frame;
  incoming.n_come = 0;
  incoming.held_back = false;
  if (Receive* receive = find_posted(frame.key)) {
    place(incoming, receive);
  } else if (!observer_.unexpected(peer_, frame)) {
    drop(incoming);
  } else if (!keep(incoming)) {
    incoming.held_back = true;
  }
  if (incoming.held_back || read_closed_) return false;
  if (frame.n_bytes == 0) came(incoming, 0);
  return true;
}

// Whether the frame is a part of the message of which nothing has come yet.
bool Link::fits(const Frame& frame, const Receive& receive) const {
  uint64_t begin = frame.offset, end = frame.offset + frame.n_bytes;
  if (begin > receive.n_bytes || frame.n_bytes > receive.n_bytes - begin) return false;
  if (begin % kFrameGrain != 0 || begin < receive.n_prefix) return false;
  auto overlaps = [&](uint64_t from, uint64_t to) { return begin < to && from < end; };
  for (const Incoming& other : incoming_) {
    if (other.into != &receive || &*other.frame == &frame) continue;
    if (overlaps(other.frame->offset, other.frame->offset + other.frame->n_bytes)) return false;
  }
  return std::none_of(receive.ahead.begin(), receive.ahead.end(),
                      [&](const Receive::Extent& each) { return overlaps(each.begin, each.end); });
}

void Link::place(Incoming& incoming, Receive* receive) {
  const Frame& frame = *incoming.frame;
  if (!(frame.signature == receive->signature)) {
    observer_.mismatch(peer_, frame, receive->signature);
    drop(incoming);
  } else if (!fits(frame, *receive)) {
    drop(incoming);
    close_reading("it sent a frame that does not fit into its message");
  } else {
    incoming.into = receive;
  }
}

// The rest of the frame, if some of it has come already.
bool Link::keep(Incoming& incoming) {
  Frame frame = *incoming.frame;
  frame.offset += incoming.n_come;
  frame.n_bytes -= static_cast<uint32_t>(incoming.n_come);
  if (n_kept_ > 0 && n_kept_ + frame.n_bytes > kMaxKept) return false;
  n_kept_ += frame.n_bytes;
  kept_.push_back({frame, std::make_unique_for_overwrite<uint8_t[]>(frame.n_bytes), incoming.into, 0});
  if (incoming.into) incoming.into->n_kept++;
  incoming.frame = frame;
  incoming.n_come = 0;
  incoming.into = nullptr;
  incoming.keeping = &kept_.back();
  return true;
}

bool Link::keep_for(Receive* stream, uint64_t offset, const uint8_t* data, size_t n_bytes) {
  if (n_kept_ > 0 && n_kept_ + n_bytes > kMaxKept) return false;
  Frame frame{stream->key, stream->signature, static_cast<uint32_t>(n_bytes), offset};
  n_kept_ += n_bytes;
  kept_.push_back({frame, std::make_unique_for_overwrite<uint8_t[]>(n_bytes), stream, n_bytes});
  std::memcpy(kept_.back().bytes.get(), data, n_bytes);
  stream->n_kept++;
  return true;
}

void Link::relieve() {
  for (Incoming& incoming : incoming_) {
    if (incoming.stalled && keep(incoming)) stall(incoming, false);
  }
}

void Link::stall(Incoming& incoming, bool stalled) {
  if (incoming.stalled == stalled) return;
  incoming.stalled = stalled;
  n_stalled_ += stalled ? 1 : -1;
}

// Whatever else comes of this frame is for nobody.
void Link::drop(Incoming& incoming) {
  incoming.held_back = false;
  incoming.into = nullptr;
  incoming.keeping = nullptr;
  stall(incoming, false);
}

Link::Room Link::room(Incoming& incoming) {
  uint64_t n_missing = incoming.n_missing();
  if (incoming.keeping) return {incoming.keeping->bytes.get() + incoming.n_come, n_missing};
  if (!incoming.into) return {nullptr, n_missing};
  uint64_t position = incoming.frame->offset + incoming.n_come;
  if (!incoming.into->streamed) return {incoming.into->data + position, n_missing};
  Room found = room_in_stream(incoming.into, position, n_missing);
  stall(incoming, found.n_bytes == 0 && n_missing > 0);
  return found;
}

void Link::came(Incoming& incoming, size_t n_bytes) {
  uint64_t offset = incoming.frame->offset + incoming.n_come;
  incoming.n_come += n_bytes;
  Receive* into = incoming.into;
  if (incoming.keeping) {
    incoming.keeping->n_come += n_bytes;
    into = incoming.keeping->owner;
  }
  if (incoming.n_missing() == 0) {
    drop(incoming);
    incoming.frame.reset();
  }
  if (into) arrived(into, offset, n_bytes);
}

void Link::arrived(Receive* receive, uint64_t offset, uint64_t n_bytes) {
  receive->n_arrived += n_bytes;
  auto& ahead = receive->ahead;
  if (offset == receive->n_prefix) {
    receive->n_prefix += n_bytes;
    for (size_t i = 0; i < ahead.size();) {
      if (ahead[i].begin != receive->n_prefix) {
        i++;
        continue;
      }
      receive->n_prefix = ahead[i].end;
      ahead.erase(ahead.begin() + static_cast<ptrdiff_t>(i));
      i = 0;
    }
  } else {
    auto joined = std::find_if(ahead.begin(), ahead.end(), [&](auto& each) { return each.end == offset; });
    if (joined != ahead.end()) {
      joined->end += n_bytes;
    } else if (n_bytes > 0) {
      ahead.push_back({offset, offset + n_bytes});
    }
  }
  if (receive->n_arrived == receive->n_bytes && !receive->complete) {
    receive->complete = true;
    std::erase(posted_, receive);
    if (receive->streamed && receive->n_bytes == 0) std::erase(streams_, receive);
    receive->ticket->n_open--;
  }
  observer_.progressed(receive->ticket);
}

// --- sending, and the end ---

void Link::completed(Send* send) {
  send->n_sent = send->n_bytes;
  send->complete = true;
  send->ticket->n_open--;
  observer_.progressed(send->ticket);
}

void Link::close_reading(const std::string& reason) {
  if (read_closed_) return;
  read_closed_ = true;
  if (reason_.empty()) reason_ = reason;
  observer_.closed(peer_);
}

void Link::close_writing(const std::string& reason) {
  if (write_closed_) return;
  write_closed_ = true;
  if (reason_.empty()) reason_ = reason;
  observer_.closed(peer_);
}

}  // namespace jobkit
