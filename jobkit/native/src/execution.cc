#include "execution.h"

#include <algorithm>

namespace jobkit {
namespace {

// Computed at a time: what was read a moment ago is still in the cache, and what is done can go on its way.
constexpr size_t kChunk = 64 << 10;

// Computed by one step before the links get their turn.
constexpr size_t kTurn = 256 << 10;

// What is produced in pieces that no other step reads goes past the cache from this size on: 64 MiB were
// written 1.4 times as fast, one MiB more slowly (2-core VM).
constexpr size_t kPastCache = 4 << 20;

// Below this it is not worth letting other threads at the links while this one computes.
constexpr size_t kWorthUnlocking = 16 << 10;

}  // namespace

Execution::Execution(Plan plan, const std::vector<int>& members) : plan_(std::move(plan)) {
  states_.resize(plan_.steps.size());
  size_t n_parts = 0;
  for (size_t i = 0; i < plan_.steps.size(); i++) {
    const Step& each = plan_.steps[i];
    State& state = states_[i];
    if (each.kind == StepKind::kReceive) {
      state.request = static_cast<int>(receives_.size());
      receives_.emplace_back().peer = members[each.peer];
      receives_.back().streamed = each.streamed;
    } else if (each.kind == StepKind::kSend) {
      state.request = static_cast<int>(sends_.size());
      sends_.emplace_back().peer = members[each.peer];
    }
    n_parts = std::max(n_parts, each.parts.size());
    for (const Span& part : each.parts) {
      state.sources.push_back(find_sources(each, part));
      for (const Source& source : state.sources.back()) states_[source.step].is_read = true;
    }
  }
  parts_.resize(n_parts);
  open_.reserve(plan_.steps.size());
}

// Which step each element of a part comes from: the last one listed that produces it.
std::vector<Execution::Source> Execution::find_sources(const Step& reader, const Span& part) const {
  std::vector<Source> found;
  for (int index : reader.after) {
    const Span& out = step(index).out;
    if (out.buffer != part.buffer) continue;
    uint64_t begin = std::max(out.offset, part.offset),
             end = std::min(out.offset + out.count, part.offset + part.count);
    if (begin >= end) continue;
    Source added{index, begin - part.offset, end - part.offset, begin - out.offset};
    std::vector<Source> kept;
    for (const Source& each : found) {
      if (each.begin < added.begin) {
        kept.push_back(each);
        kept.back().end = std::min(each.end, added.begin);
      }
      if (each.end > added.end) {
        kept.push_back(each);
        kept.back().begin = std::max(each.begin, added.end);
        kept.back().offset += kept.back().begin - each.begin;
      }
    }
    kept.push_back(added);
    found = std::move(kept);
  }
  std::sort(found.begin(), found.end(), [](const Source& a, const Source& b) { return a.begin < b.begin; });
  return found;
}

uint8_t* Execution::at(const Span& span) const {
  uint64_t offset = span.offset * n_bytes_;
  switch (span.buffer) {
    case Buffer::kInput:
      return const_cast<uint8_t*>(operands_.in) + offset;
    case Buffer::kOutput:
      return operands_.out + offset;
    default:
      return operands_.scratch + offset;
  }
}

void Execution::begin(const Operands& operands, uint32_t context, uint32_t seq, const Signature& signature) {
  Work::begin(seq, signature);
  operands_ = operands;
  dtype_ = signature.dtype;
  n_bytes_ = size_of(dtype_);
  open_.clear();
  for (size_t i = 0; i < states_.size(); i++) {
    const Step& each = plan_.steps[i];
    State& state = states_[i];
    state.n_done = 0;
    state.complete = false;
    state.waits = true;
    open_.push_back(static_cast<int>(i));
    MessageKey key{FrameKind::kCollective, context, seq, each.message, 0};
    if (each.kind == StepKind::kReceive) {
      Receive& receive = receives_[state.request];
      receive.rewind();
      receive.key = key;
      receive.signature = signature;
      receive.data = each.streamed ? nullptr : at(each.out);
      receive.n_bytes = each.out.count * n_bytes_;
      receive.past_cache = !state.is_read && receive.n_bytes >= kPastCache;
      receive.ticket = &ticket;
    } else if (each.kind == StepKind::kSend) {
      Send& send = sends_[state.request];
      send.rewind();
      send.key = key;
      send.signature = signature;
      send.data = at(each.parts[0]);
      send.n_bytes = each.parts[0].count * n_bytes_;
      send.n_ready = 0;
      send.may_go = false;
      send.ticket = &ticket;
    }
  }
  ticket.n_open = states_.size();
}

void Execution::messages_are_out() {
  std::erase_if(open_, [&](int index) {
    if (step(index).kind != StepKind::kSend) return false;
    states_[index].complete = sends_[states_[index].request].complete = true;
    ticket.n_open--;
    return true;
  });
}

// --- what is there ---

bool Execution::may_begin(int index) {
  State& state = states_[index];
  if (!state.waits) return true;
  for (int each : step(index).gate) {
    if (!states_[each].complete) return false;
  }
  state.waits = false;
  return true;
}

// Elements of a part, from its start on, that are there.
uint64_t Execution::n_available(int index, size_t part) const {
  for (const Source& each : states_[index].sources[part]) {
    uint64_t n_done = states_[each.step].n_done;
    if (n_done < each.offset + (each.end - each.begin))
      return each.begin + (n_done > each.offset ? n_done - each.offset : 0);
  }
  return step(index).parts[part].count;
}

// Elements of a step's `out`, from its start on, that no message has still to be sent from.
uint64_t Execution::n_writable(int index) const {
  const Span& out = step(index).out;
  const uint8_t* first = at(out);
  uint64_t n_writable = out.count * n_bytes_;
  for (int each : step(index).behind) {
    const Send& send = sends_[states_[each].request];
    bool overlaps = send.data < first + out.count * n_bytes_ && first < send.data + send.n_bytes;
    if (send.complete || !overlaps) continue;
    const uint8_t* next = send.data + send.n_sent;
    n_writable = std::min<uint64_t>(n_writable, next > first ? static_cast<uint64_t>(next - first) : 0);
  }
  return n_writable / n_bytes_;
}

// --- going on ---

void Execution::post(Mesh& mesh) {
  for (int index : open_) {
    StepKind kind = step(index).kind;
    if (kind == StepKind::kSend) {
      advance_send(index);
      mesh.link(sends_[states_[index].request].peer).post(&sends_[states_[index].request]);
    } else if (kind == StepKind::kReceive && may_begin(index)) {
      mesh.link(receives_[states_[index].request].peer).post(&receives_[states_[index].request]);
    }
  }
}

bool Execution::advance(Mesh& mesh, std::unique_lock<std::mutex>& lock) {
  bool moved = false;
  for (int index : open_) {
    switch (step(index).kind) {
      case StepKind::kReceive:
        moved |= advance_receive(mesh, index);
        break;
      case StepKind::kSend:
        moved |= advance_send(index);
        break;
      default:
        moved |= advance_local(mesh, index, lock);
    }
  }
  if (moved) std::erase_if(open_, [&](int index) { return states_[index].complete; });
  return moved;
}

bool Execution::advance_receive(Mesh& mesh, int index) {
  State& state = states_[index];
  Receive& receive = receives_[state.request];
  if (state.waits) {
    if (!may_begin(index)) return false;
    mesh.link(receive.peer).post(&receive);
  }
  uint64_t n_done = receive.n_prefix / n_bytes_;
  bool moved = n_done > state.n_done || receive.complete;
  state.n_done = n_done;
  state.complete = receive.complete;
  return moved;
}

bool Execution::advance_send(int index) {
  State& state = states_[index];
  Send& send = sends_[state.request];
  if (send.complete) {
    state.complete = true;
    return true;
  }
  if (!may_begin(index)) return false;
  uint64_t n_ready = n_available(index, 0) * n_bytes_;
  if (n_ready < send.n_bytes) n_ready -= n_ready % kFrameGrain;
  bool moved = n_ready > send.n_ready || !send.may_go;
  send.may_go = true;
  send.n_ready = n_ready;
  return moved;
}

bool Execution::advance_local(Mesh& mesh, int index, std::unique_lock<std::mutex>& lock) {
  const Step& each = step(index);
  State& state = states_[index];
  if (!may_begin(index)) return false;
  bool moved = false;
  for (uint64_t n_turn = 0; n_turn * n_bytes_ < kTurn && state.n_done < each.out.count;) {
    uint64_t n = std::min<uint64_t>(each.out.count, state.n_done + kChunk / n_bytes_);
    n = std::min(n, n_writable(index));
    for (size_t part = 0; part < each.parts.size(); part++) {
      int stream = part < each.streams.size() ? each.streams[part] : kNobody;
      if (stream == kNobody) {
        n = std::min(n, n_available(index, part));
        parts_[part] = at(each.parts[part]) + state.n_done * n_bytes_;
      } else {
        const Receive& receive = receives_[states_[stream].request];
        Piece piece = mesh.link(receive.peer).peek(receive);
        n = std::min(n, state.n_done + piece.n_bytes / n_bytes_);
        parts_[part] = piece.data;
      }
      if (n <= state.n_done) break;
    }
    if (n <= state.n_done) break;
    n -= state.n_done;
    bool unlocks = n * n_bytes_ >= kWorthUnlocking;
    if (unlocks) {
      use_streams(each, true);
      lock.unlock();
    }
    compute(each, state.is_read, state.n_done, n);
    if (unlocks) {
      lock.lock();
      use_streams(each, false);
    }
    for (int stream : each.streams) {
      if (stream == kNobody) continue;
      Receive& receive = receives_[states_[stream].request];
      mesh.link(receive.peer).give_back(&receive, n * n_bytes_);
    }
    state.n_done += n;
    n_turn += n;
    moved = true;
  }
  if (state.n_done == each.out.count) {
    state.complete = true;
    ticket.n_open--;
    moved = true;
  }
  return moved;
}

void Execution::use_streams(const Step& each, bool in_use) {
  for (int stream : each.streams) {
    if (stream != kNobody) receives_[states_[stream].request].in_use = in_use;
  }
}

void Execution::compute(const Step& each, bool is_read, uint64_t n_done, uint64_t n) {
  uint8_t* out = at(each.out) + n_done * n_bytes_;
  bool past_cache = !is_read && each.out.count * n_bytes_ >= kPastCache;
  if (each.kind == StepKind::kCopy) {
    if (parts_[0] != out) copy(out, parts_[0], n * n_bytes_, past_cache);
  } else if (each.parts.size() == 2 && !each.last) {
    reduce(operands_.op, dtype_, parts_[0], parts_[1], out, n, past_cache);
  } else {
    reduce_all(operands_.op, dtype_, parts_.data(), static_cast<int>(each.parts.size()), out, n,
               each.last ? operands_.scale : 1.0, past_cache);
  }
}

void Exchange::post(Mesh& mesh) {
  if (receive) mesh.link(receive->peer).post(&*receive);
  if (send) mesh.link(send->peer).post(&*send);
}

}  // namespace jobkit
