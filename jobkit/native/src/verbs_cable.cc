#include "verbs_cable.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bytes.h"
#include "hash.h"
#include "process.h"

namespace jobkit {
namespace {

// Some devices refuse as much as this, others all of it: then none is asked for.
constexpr uint32_t kInline = 256;

// Returned slots are posted so many at a time, and one send of so many says when it is done.
constexpr size_t kBatch = 4;

// RC: 4 us * 2^14 until a packet is sent again, six times (a retry_cnt of 7 means for ever on rxe): an end
// that is gone is noticed after half a second. A receive that is not posted is waited for.
constexpr uint8_t kTimeout = 14, kRetries = 6, kRnrRetries = 7, kRnrTimer = 12;

// What Apple's connections are made with.
constexpr uint8_t kAppleMtu = 3, kAppleHops = 1;
constexpr uint8_t kHops = 64;

constexpr int kCompletions = 16;

}  // namespace

VerbsCable::VerbsCable(std::shared_ptr<VerbsDevice> device, const CableTerms& terms, int gid_index)
    : device_(std::move(device)),
      library_(device_->library()),
      terms_(terms),
      gid_index_(gid_index),
      generation_(process::generation()) {
  sends_ = device_->take_slice(n_memory(terms_.n_slot));
  receives_ = sends_ + size_t{kSlots} * terms_.n_slot;
  try {
    make_queue_pair();
    jk_ibv_qp_attr wanted{};
    wanted.qp_state = JK_QPS_INIT;
    wanted.port_num = kVerbsPort;
    modify(wanted, JK_QP_STATE | JK_QP_PKEY_INDEX | JK_QP_PORT | JK_QP_ACCESS_FLAGS, "INIT");
    for (uint32_t slot = 0; slot < kSlots; slot++) free_.push_back(slot);
    post_receives();
    n_returned_ = 0;
    if (!problem_.empty()) throw Error(problem_);
  } catch (...) {
    release();
    throw;
  }
}

VerbsCable::~VerbsCable() {
  if (generation_ == process::generation()) release();
}

void VerbsCable::release() {
  if (qp_) library_.destroy_qp(qp_);
  if (cq_) library_.destroy_cq(cq_);
  if (channel_) {
    process::forget(channel_->fd);
    library_.destroy_comp_channel(channel_);
  }
}

void VerbsCable::make_queue_pair() {
  const std::string where = "device " + device_->name() + ": ";
  jk_ibv_context* context = device_->context();
  const bool can_sleep = library_.create_comp_channel && library_.destroy_comp_channel &&
                         library_.get_cq_event && library_.ack_cq_events;
  if (can_sleep) channel_ = library_.create_comp_channel(context);
  if (channel_) {
    process::keep_from_children(channel_->fd);
    ::fcntl(channel_->fd, F_SETFL, ::fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
  }
  errno = 0;
  cq_ = library_.create_cq(context, 2 * kSlots, nullptr, channel_, 0);
  if (!cq_) throw Error(where + "no completion queue: " + system_text(errno));
  for (uint32_t n_inline : {kInline, 0u}) {
    jk_ibv_qp_init_attr wanted{};
    wanted.send_cq = wanted.recv_cq = cq_;
    wanted.cap = {kSlots, kSlots, 1, 1, n_inline};
    wanted.qp_type = terms_.reliable ? JK_QPT_RC : JK_QPT_UC;
    errno = 0;
    qp_ = library_.create_qp(device_->pd(), &wanted);
    if (!qp_) continue;
    n_inline_ = wanted.cap.max_inline_data;
    return;
  }
  throw Error(where + "no queue pair (are there too many on it already?): " + system_text(errno));
}

CableAddress VerbsCable::address() const {
  const uint32_t number = reinterpret_cast<const jk_ibv_qp_head*>(qp_)->qp_num;
  return {number, (number * 2654435761u) & 0xffffff};
}

void VerbsCable::modify(jk_ibv_qp_attr& wanted, int mask, const char* state) {
  if (int result = library_.modify_qp(qp_, &wanted, mask); result != 0) {
    const int cause = result > 0 ? result : errno;
    throw Error("device " + device_->name() + ": its queue pair does not become " + state + ": " +
                system_text(cause));
  }
}

void VerbsCable::connect(const CableAddress& peer) {
  jk_ibv_qp_attr ready{};
  ready.qp_state = JK_QPS_RTR;
  ready.path_mtu = terms_.equal_frames ? std::min(terms_.mtu, kAppleMtu) : terms_.mtu;
  ready.dest_qp_num = peer.queue_pair;
  ready.rq_psn = peer.first_packet;
  ready.max_dest_rd_atomic = 1;
  ready.min_rnr_timer = kRnrTimer;
  ready.ah_attr.is_global = 1;
  ready.ah_attr.grh.dgid = terms_.peer_gid;
  ready.ah_attr.grh.sgid_index = static_cast<uint8_t>(gid_index_);
  ready.ah_attr.grh.hop_limit = terms_.equal_frames ? kAppleHops : kHops;
  ready.ah_attr.dlid = terms_.peer_lid;
  ready.ah_attr.port_num = kVerbsPort;
  int mask = JK_QP_STATE | JK_QP_AV | JK_QP_PATH_MTU | JK_QP_DEST_QPN | JK_QP_RQ_PSN;
  if (terms_.reliable) mask |= JK_QP_MAX_DEST_RD_ATOMIC | JK_QP_MIN_RNR_TIMER;
  modify(ready, mask, "ready to receive");

  jk_ibv_qp_attr sending{};
  sending.qp_state = JK_QPS_RTS;
  sending.sq_psn = address().first_packet;
  sending.timeout = kTimeout;
  sending.retry_cnt = kRetries;
  sending.rnr_retry = kRnrRetries;
  sending.max_rd_atomic = 1;
  mask = JK_QP_STATE | JK_QP_SQ_PSN;
  if (terms_.reliable) mask |= JK_QP_TIMEOUT | JK_QP_RETRY_CNT | JK_QP_RNR_RETRY | JK_QP_MAX_QP_RD_ATOMIC;
  modify(sending, mask, "ready to send");
}

void VerbsCable::fail(const std::string& text) {
  if (problem_.empty()) problem_ = "device " + device_->name() + ": " + text;
}

void VerbsCable::look_after() {
  if (const std::string& found = device_->problem(); !found.empty() && problem_.empty()) problem_ = found;
}

// --- receiving ---

// All of `free_`, in one call.
void VerbsCable::post_receives() {
  jk_ibv_recv_wr requests[kSlots];
  jk_ibv_sge places[kSlots];
  const size_t n = free_.size();
  for (size_t i = 0; i < n; i++) {
    places[i] = {reinterpret_cast<uint64_t>(receive_slot(free_[i])), terms_.n_slot, device_->local_key()};
    requests[i] = {free_[i], i + 1 < n ? &requests[i + 1] : nullptr, &places[i], 1};
  }
  free_.clear();
  if (n == 0) return;
  jk_ibv_recv_wr* bad = nullptr;
  if (int result = device_->context()->ops.post_recv(qp_, requests, &bad); result != 0)
    return fail("a receive was not taken: " + system_text(result > 0 ? result : errno));
  n_returned_ += static_cast<uint32_t>(n);
}

bool VerbsCable::poll() {
  jk_ibv_wc done[kCompletions];
  bool any = false;
  for (int n = kCompletions; n == kCompletions && problem_.empty();) {
    n = device_->context()->ops.poll_cq(cq_, kCompletions, done);
    if (n < 0) fail("its completion queue failed");
    for (int i = 0; i < n; i++) {
      any = true;
      if (done[i].status != JK_WC_SUCCESS) {
        const char* what = done[i].wr_id & kIsSend ? "a send did not get through: " : "a receive failed: ";
        fail(what + library_.status_text(done[i].status));
      } else if (done[i].wr_id & kIsSend) {
        n_gone_ = std::max(n_gone_, (done[i].wr_id & ~kIsSend) + 1);
      } else {
        arrived(static_cast<uint32_t>(done[i].wr_id), done[i].byte_len);
      }
    }
  }
  return any;
}

void VerbsCable::arrived(uint32_t slot, size_t n_bytes) {
  ByteReader head(receive_slot(slot));
  const auto number = head.get<uint32_t>(), n_freed = head.get<uint32_t>(), n_payload = head.get<uint32_t>();
  const auto kind = static_cast<Kind>(head.get<uint8_t>());
  if (n_bytes < kRecordHead || n_payload > n_bytes - kRecordHead || n_payload > max_payload())
    return fail("a record of " + std::to_string(n_bytes) + " bytes came that cannot be one");
  if (number != next_) {
    return fail(std::to_string(number - next_) + " records were lost on the way to it (record " +
                std::to_string(number) + " came, expected " + std::to_string(next_) + ")");
  }
  next_++;
  n_unanswered_ = 0;
  if (n_freed - n_data_freed_ > n_data_sent_ - n_data_freed_)
    return fail("the other end returned more than it got");
  n_data_freed_ = n_freed;
  if (kind == Kind::kData) return arrivals_.push_back({receive_slot(slot) + kRecordHead, n_payload, slot});
  if (kind == Kind::kPing) owe(Kind::kPong);
  end_came_ |= kind == Kind::kEnd;
  // A slot that credit does not count goes straight back.
  const uint32_t n_returned = n_returned_;
  std::vector<uint32_t> waiting = std::move(free_);
  free_ = {slot};
  post_receives();
  free_ = std::move(waiting);
  n_returned_ = n_returned;
}

void VerbsCable::give_back(uint32_t slot) {
  free_.push_back(slot);
  if (free_.size() >= kBatch) post_receives();
}

// --- sending ---

uint8_t* VerbsCable::reserve() {
  if (n_data_sent_ - n_data_freed_ >= kWindow || n_posted_ - n_gone_ >= kWindow) {
    poll();
    if (n_data_sent_ - n_data_freed_ >= kWindow || n_posted_ - n_gone_ >= kWindow) return nullptr;
  }
  return problem_.empty() ? send_slot() + kRecordHead : nullptr;
}

void VerbsCable::commit(size_t n_bytes) {
  n_data_sent_++;
  post(send_slot(), Kind::kData, n_bytes);
}

void VerbsCable::post(uint8_t* slot, Kind kind, size_t n_bytes) {
  n_told_ = n_returned_;
  ByteWriter(slot)
      .put(static_cast<uint32_t>(n_posted_))
      .put(n_told_)
      .put(static_cast<uint32_t>(n_bytes))
      .put(static_cast<uint8_t>(kind))
      .put_bytes("\0\0", 3);
  const auto n_all = terms_.equal_frames ? terms_.n_slot : static_cast<uint32_t>(kRecordHead + n_bytes);
  jk_ibv_sge place{reinterpret_cast<uint64_t>(slot), n_all, device_->local_key()};
  jk_ibv_send_wr request{};
  request.wr_id = kIsSend | n_posted_;
  request.sg_list = &place;
  request.num_sge = 1;
  request.opcode = JK_WR_SEND;
  const bool says_done = terms_.equal_frames || kind != Kind::kData || n_posted_ % kBatch == kBatch - 1;
  if (says_done) request.send_flags |= JK_SEND_SIGNALED;
  if (n_all <= n_inline_) request.send_flags |= JK_SEND_INLINE;
  n_posted_++;
  jk_ibv_send_wr* bad = nullptr;
  if (int result = device_->context()->ops.post_send(qp_, &request, &bad); result != 0)
    fail("a send was not taken: " + system_text(result > 0 ? result : errno));
}

void VerbsCable::settle() {
  if (n_returned_ - n_told_ >= kWindow / 2 && !end_came_) owe(Kind::kCredit);
  if (owes_ == 0) return;
  for (Kind kind : {Kind::kCredit, Kind::kPong, Kind::kPing, Kind::kEnd}) {
    const unsigned bit = 1u << static_cast<int>(kind);
    if (!(owes_ & bit) || !problem_.empty()) continue;
    if (n_posted_ - n_gone_ >= kSlots) poll();
    if (n_posted_ - n_gone_ >= kSlots) return;
    post(send_slot(), kind, 0);
    owes_ &= ~bit;
  }
}

void VerbsCable::ping(int most_unanswered) {
  if (end_came_) return;
  if (n_unanswered_ >= most_unanswered)
    return fail("nothing comes over it from the other end, whose process answers otherwise");
  if (n_unanswered_++ == 0) owe(Kind::kPing);
  settle();
}

void VerbsCable::end() {
  owe(Kind::kEnd);
  settle();
}

// --- sleeping ---

void VerbsCable::fall_asleep() {
  if (channel_) device_->context()->ops.req_notify_cq(cq_, 0);
}

void VerbsCable::wake() {
  jk_ibv_cq* cq;
  void* unused;
  while (channel_ && library_.get_cq_event(channel_, &cq, &unused) == 0) library_.ack_cq_events(cq, 1);
}

}  // namespace jobkit
