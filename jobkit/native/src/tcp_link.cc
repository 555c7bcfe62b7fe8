#include "tcp_link.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace jobkit {
namespace {

// Read ahead of the frame that is looked at: a small message comes with its header in one call.
constexpr size_t kStaging = 16 << 10;

// Behind a frame with more than this to come only the next header is read ahead: what follows it would have
// to be copied.
constexpr size_t kLongRead = 16 << 10;

// What a stream has room for: it goes round in the cache next to the processor.
constexpr size_t kWindow = 256 << 10;

// Moved by one pump of one connection, so that the others get their turn.
constexpr size_t kTurnBytes = 2 << 20;

// Below this a message is not worth dividing between parallel connections.
constexpr size_t kMinStripe = 64 << 10;

}  // namespace

TcpLink::TcpLink(int peer, std::vector<Fd> sockets, LinkObserver& observer)
    : Link(peer, sockets.size(), observer) {
  channels_.resize(sockets.size());
  for (size_t i = 0; i < sockets.size(); i++) {
    channels_[i].socket = std::move(sockets[i]);
    channels_[i].staging.resize(kStaging);
  }
}

// --- streams: a window that slides over the message ---

Piece TcpLink::look(const Receive& receive) const {
  size_t index = (receive.n_taken - receive.origin) % kWindow;
  return {receive.window + index, std::min<uint64_t>(receive.n_prefix - receive.n_taken, kWindow - index)};
}

Link::Room TcpLink::room_in_stream(Receive* receive, uint64_t position, size_t n_bytes) {
  if (!receive->window) {
    if (free_windows_.empty()) {
      windows_.push_back(std::make_unique_for_overwrite<uint8_t[]>(kWindow));
      free_windows_.push_back(windows_.back().get());
    }
    receive->window = free_windows_.back();
    free_windows_.pop_back();
  }
  uint64_t end = receive->n_taken + kWindow;
  if (position >= end) return {};
  size_t index = (position - receive->origin) % kWindow;
  return {receive->window + index, std::min<uint64_t>({n_bytes, end - position, kWindow - index})};
}

void TcpLink::given_back(Receive* receive) {
  // Empty: begin again where it is warm.
  if (receive->n_taken == receive->n_arrived) receive->origin = receive->n_taken;
}

void TcpLink::end_stream(Receive* receive) {
  if (receive->window) free_windows_.push_back(receive->window);
  receive->window = nullptr;
}

// --- receiving ---

// Looks at what was read ahead: as many frames as it holds.
void TcpLink::consume_staging(size_t index) {
  Channel& channel = channels_[index];
  Incoming& incoming = incoming_[index];
  while (!channel.ended && !is_blocked(index)) {
    if (!incoming.frame) {
      if (channel.end - channel.begin < kFrameHeader) break;
      std::string wrong;
      incoming.frame = decode(channel.staging.data() + channel.begin, wrong);
      if (!incoming.frame) return end_reading(channel, wrong);
      channel.begin += kFrameHeader;
      if (!begin(incoming)) {
        channel.ended |= read_closed_;
        break;
      }
      continue;
    }
    size_t n_here = channel.end - channel.begin;
    if (n_here == 0) break;
    Room to = room(incoming);
    size_t n = std::min(n_here, to.n_bytes);
    if (n == 0) break;
    if (to.place) std::memcpy(to.place, channel.staging.data() + channel.begin, n);
    channel.begin += n;
    came(incoming, n);
  }
  if (channel.begin == channel.end) {
    channel.begin = channel.end = 0;
  } else if (channel.begin > 0) {
    std::memmove(channel.staging.data(), channel.staging.data() + channel.begin, channel.end - channel.begin);
    channel.end -= channel.begin;
    channel.begin = 0;
  }
}

// One read: the rest of the frame to its place, and what follows it into the staging. How much came, and
// whether there may be more.
size_t TcpLink::read_some(size_t index, bool& more) {
  Channel& channel = channels_[index];
  Incoming& incoming = incoming_[index];
  iovec parts[2];
  int n_parts = 0;
  size_t n_direct = 0, n_ahead = channel.staging.size() - channel.end;
  more = false;
  if (incoming.frame) {
    Room to = room(incoming);
    if (is_blocked(index)) return 0;
    if (to.place) {
      n_direct = to.n_bytes;
      parts[n_parts++] = {to.place, n_direct};
      if (n_direct < incoming.n_missing()) {
        n_ahead = 0;  // what follows belongs to the window, which ends or turns round here
      } else if (n_direct > kLongRead) {
        n_ahead = kFrameHeader;
      }
    }
  }
  if (n_ahead > 0) parts[n_parts++] = {channel.staging.data() + channel.end, n_ahead};
  ssize_t n = n_parts == 1 ? ::recv(channel.socket.get(), parts[0].iov_base, parts[0].iov_len, 0)
                           : ::readv(channel.socket.get(), parts, n_parts);
  if (n < 0 && would_block(errno)) return 0;
  if (n == 0) {
    channel.ended = true;
    // What the peer wrote before it closed may still be on its way over a parallel connection.
    if (all_ended()) close_reading("the connection was closed");
    return 0;
  }
  if (n < 0) {
    end_reading(channel, system_text(errno));
    return 0;
  }
  size_t n_got = static_cast<size_t>(n), n_placed = std::min(n_got, n_direct);
  more = n_got == n_direct + n_ahead;
  if (n_placed > 0) came(incoming, n_placed);
  channel.end += n_got - n_placed;
  consume_staging(index);
  return n_got;
}

bool TcpLink::pump_receive() {
  bool moved = false;
  for (size_t i = 0; i < channels_.size(); i++) {
    Channel& channel = channels_[i];
    for (size_t n_moved = 0; n_moved < kTurnBytes && !channel.ended;) {
      // Bytes that were read ahead of a frame that was held up then.
      if (channel.end > 0) consume_staging(i);
      if (channel.ended || is_blocked(i)) break;
      bool more;
      size_t n = read_some(i, more);
      moved |= n > 0;
      n_moved += n;
      if (!more) break;
    }
  }
  return moved;
}

void TcpLink::end_reading(Channel& channel, const std::string& reason) {
  channel.ended = true;
  close_reading(reason);
}

// --- sending ---

bool TcpLink::wants_write() const {
  if (write_closed_) return false;
  return std::any_of(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); }) ||
         std::any_of(channels_.begin(), channels_.end(), [](const Channel& c) { return c.busy; });
}

// Loads the next frame of the oldest message that has one.
bool TcpLink::next_frame(Channel& channel) {
  auto at = std::find_if(queue_.begin(), queue_.end(), [](const Send* each) { return each->may_start(); });
  if (at == queue_.end()) return false;
  Send* send = *at;
  uint64_t n = std::min<uint64_t>(kMaxFrame, send->n_ready - send->n_started);
  if (channels_.size() > 1) {
    uint64_t stripe = send->n_bytes / channels_.size() / kFrameGrain * kFrameGrain;
    n = std::min<uint64_t>(n, std::max<uint64_t>(kMinStripe, stripe));
  }
  FrameBytes header;
  encode({send->key, send->signature, static_cast<uint32_t>(n), send->n_started}, header);
  std::memcpy(channel.head.data(), header.data(), kFrameHeader);
  channel.next_head = channel.head.data();
  channel.n_head = kFrameHeader;
  channel.payload = send->data + send->n_started;
  channel.n_payload = n;
  if (n > 0 && n <= kShortPayload) {
    std::memcpy(channel.head.data() + kFrameHeader, channel.payload, n);
    channel.n_head += n;
    channel.payload += n;
    channel.n_payload = 0;
  }
  channel.from = send;
  channel.busy = true;
  send->n_started += n;
  send->n_frames++;
  send->all_started = send->n_started == send->n_bytes;
  if (send->all_started) queue_.erase(at);
  return true;
}

// How far the message is out of this process: up to the first byte that a frame under way still has.
void TcpLink::note_sent(Send* send) {
  uint64_t n_sent = send->n_started;
  for (const Channel& channel : channels_) {
    if (channel.busy && channel.from == send)
      n_sent = std::min<uint64_t>(n_sent, static_cast<uint64_t>(channel.payload - send->data));
  }
  send->n_sent = n_sent;
  observer_.progressed(send->ticket);
}

// One write. False: the kernel takes no more now.
bool TcpLink::write_some(Channel& channel) {
  ssize_t n;
  if (channel.n_payload == 0) {
    n = ::send(channel.socket.get(), channel.next_head, channel.n_head, kSendFlags);
  } else {
    iovec parts[2] = {{const_cast<uint8_t*>(channel.next_head), channel.n_head},
                      {const_cast<uint8_t*>(channel.payload), channel.n_payload}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    n = ::sendmsg(channel.socket.get(), &message, kSendFlags);
  }
  if (n < 0) {
    if (!would_block(errno)) close_writing(system_text(errno));
    return false;
  }
  size_t n_wrote = static_cast<size_t>(n), n_of_head = std::min(n_wrote, channel.n_head);
  channel.next_head += n_of_head;
  channel.n_head -= n_of_head;
  channel.payload += n_wrote - n_of_head;
  channel.n_payload -= n_wrote - n_of_head;
  Send* from = channel.from;
  bool whole = channel.n_head + channel.n_payload == 0;
  if (whole) {
    channel.busy = false;
    channel.from = nullptr;
    channel.own_payload.clear();
  }
  if (from) {
    from->n_frames -= whole ? 1 : 0;
    if (from->all_started && from->n_frames == 0) {
      completed(from);
    } else {
      note_sent(from);
    }
  }
  return whole;
}

bool TcpLink::pump_send() {
  bool moved = false;
  for (Channel& channel : channels_) {
    for (size_t turn = 0; turn < kTurnBytes / kMaxFrame && !write_closed_; turn++) {
      if (!channel.busy && !next_frame(channel)) break;
      size_t n_before = channel.n_head + channel.n_payload;
      bool whole = write_some(channel);
      moved |= channel.n_head + channel.n_payload < n_before;
      if (!whole) break;
    }
  }
  if (finishing_ && !write_closed_ && queue_.empty() && !wants_write()) {
    close_writing("it has left");
    for (Channel& channel : channels_) ::shutdown(channel.socket.get(), SHUT_WR);
  }
  return moved;
}

void TcpLink::detach(const Ticket* ticket) {
  for (Channel& channel : channels_) {
    if (!channel.busy || !channel.from || channel.from->ticket != ticket) continue;
    channel.own_payload.assign(channel.payload, channel.payload + channel.n_payload);
    channel.payload = channel.own_payload.data();
    channel.from = nullptr;
  }
}

bool TcpLink::is_sending(const Ticket* ticket) const {
  return std::any_of(channels_.begin(), channels_.end(),
                     [&](const Channel& c) { return c.busy && c.from && c.from->ticket == ticket; });
}

void TcpLink::finish_writing() {
  finishing_ = true;
  pump_send();
}

// --- the end ---

void TcpLink::watch(std::vector<pollfd>& descriptors) const {
  bool writes = wants_write();
  for (size_t i = 0; i < channels_.size(); i++) {
    short events = writes ? POLLOUT : 0;
    if (!channels_[i].ended && !is_blocked(i)) events |= POLLIN;
    if (events) descriptors.push_back({channels_[i].socket.get(), events, 0});
  }
}

bool TcpLink::all_ended() const {
  return std::all_of(channels_.begin(), channels_.end(), [](const Channel& c) { return c.ended; });
}

void TcpLink::shut() {
  for (Channel& channel : channels_) {
    channel.ended = true;
    channel.socket.close();
  }
  read_closed_ = write_closed_ = true;
}

}  // namespace jobkit
