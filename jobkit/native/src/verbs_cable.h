// A cable to one peer: a queue pair, and the records that go over it.
//
// A record is one SEND into one posted receive, a slot of a size that both ends agreed on: 16 bytes of head,
// then what it carries. The head numbers the records of its direction, so that a lost one is noticed where
// the device does not notice it, and returns credit: nothing is sent that has no receive to go into, for over
// an unreliable connection it would be dropped without a word. A few slots beside those that credit counts
// are for records without a payload, which are never refused.
//
//   head: number 4, data slots returned 4, payload bytes 4, kind 1, zero 3
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "verbs_device.h"

namespace jobkit {

inline constexpr size_t kRecordHead = 16;
inline constexpr uint32_t kWindow = 16;  // data records under way in one direction, at most
inline constexpr uint32_t kSpare = 6;    // slots for records without a payload: two returns of credit, a ping
                                         // and its answer, the end, and one to spare
inline constexpr uint32_t kSlots = kWindow + kSpare;

// What one end can do. Sent to the other end before there is a queue pair.
struct CableOffer {
  bool has_rc = false;
  uint8_t n_lanes = 1;  // queue pairs: two where small messages need slots of their own
  uint32_t n_slot = 0;  // bytes
  uint8_t mtu = 0;      // the API's code
  jk_ibv_gid gid{};
  uint16_t lid = 0;
  std::string problem;  // why there is no cable, for the other rank's error too
};

// Where one end's queue pair is.
struct CableAddress {
  uint32_t queue_pair = 0;
  uint32_t first_packet = 0;
};

// What both ends agreed on.
struct CableTerms {
  bool reliable = true;
  bool equal_frames = false;  // a SEND has to fill its receive: Apple's
  uint32_t n_slot = 0;
  uint8_t mtu = 0;
  jk_ibv_gid peer_gid{};
  uint16_t peer_lid = 0;
};

// What lies in a slot of a data record.
struct Arrival {
  const uint8_t* data = nullptr;  // behind the head; nullptr: there is none
  size_t n_bytes = 0;
  uint32_t slot = 0;
};

class VerbsCable {
 public:
  // A queue pair with its receives posted, at the GID `gid_index`. Throws Error.
  VerbsCable(std::shared_ptr<VerbsDevice> device, const CableTerms& terms, int gid_index);
  ~VerbsCable();
  VerbsCable(const VerbsCable&) = delete;
  VerbsCable& operator=(const VerbsCable&) = delete;

  static size_t n_memory(uint32_t n_slot) { return 2 * size_t{kSlots} * n_slot; }

  CableAddress address() const;
  // Leads to the other end; both have done so before either sends. Throws Error.
  void connect(const CableAddress& peer);

  const CableTerms& terms() const { return terms_; }
  VerbsDevice& device() const { return *device_; }
  size_t max_payload() const { return terms_.n_slot - kRecordHead; }

  // Looks for what has come and what has gone. True when there was any.
  bool poll();

  // Where the payload of the next data record is to be written, or nullptr while there is no room for it.
  uint8_t* reserve();
  void commit(size_t n_bytes);

  // The oldest data record that was not taken out.
  Arrival peek() const { return arrivals_.empty() ? Arrival{} : arrivals_.front(); }
  void take_out() { arrivals_.pop_front(); }
  // Its slot may be used again.
  void give_back(uint32_t slot);
  // Sends what is owed: credit, an answer, the end.
  void settle();

  // Asks the other end for a sign of life; it has failed after so many calls without anything from there.
  void ping(int most_unanswered);
  void end();
  // The other end has sent all that it had, and all of it was taken out.
  bool has_ended() const { return end_came_ && arrivals_.empty(); }
  // Everything that was sent is with the other end, as far as the device knows.
  bool is_flushed() const { return n_posted_ == n_gone_ && owes_ == 0; }

  // Sleeping: what comes after fall_asleep() makes the descriptor ready. -1: the device has none.
  int descriptor() const { return channel_ ? channel_->fd : -1; }
  void fall_asleep();
  void wake();

  // Why nothing can go over it any more, "" while all is well. The first reason stays.
  const std::string& problem() const { return problem_; }
  void look_after();

 private:
  enum class Kind : uint8_t { kData = 1, kCredit = 2, kPing = 3, kPong = 4, kEnd = 5 };
  static constexpr uint64_t kIsSend = uint64_t{1} << 63;

  void make_queue_pair();
  void release();
  void modify(jk_ibv_qp_attr& wanted, int mask, const char* state);
  void post_receives();
  void post(uint8_t* slot, Kind kind, size_t n_bytes);
  void arrived(uint32_t slot, size_t n_bytes);
  void owe(Kind kind) { owes_ |= 1u << static_cast<int>(kind); }
  uint8_t* send_slot() const { return sends_ + (n_posted_ % kSlots) * size_t{terms_.n_slot}; }
  uint8_t* receive_slot(uint32_t slot) const { return receives_ + slot * size_t{terms_.n_slot}; }
  void fail(const std::string& text);

  std::shared_ptr<VerbsDevice> device_;
  const VerbsLibrary& library_;
  const CableTerms terms_;
  const int gid_index_;
  const uint32_t generation_;
  jk_ibv_comp_channel* channel_ = nullptr;
  jk_ibv_cq* cq_ = nullptr;
  jk_ibv_qp* qp_ = nullptr;
  uint32_t n_inline_ = 0;
  uint8_t *sends_ = nullptr, *receives_ = nullptr;

  uint64_t n_posted_ = 0;      // sends, ever
  uint64_t n_gone_ = 0;        // of them those that the device is done with
  uint32_t n_data_sent_ = 0;   // data records, ever
  uint32_t n_data_freed_ = 0;  // of them those whose slots the other end has returned
  uint32_t next_ = 0;          // the number of the next record that comes
  std::deque<Arrival> arrivals_;
  std::vector<uint32_t> free_;  // data slots that are not posted again yet
  uint32_t n_returned_ = 0;     // data slots posted again, ever
  uint32_t n_told_ = 0;         // of them those that the other end knows of
  unsigned owes_ = 0;           // kinds, as bits
  bool end_came_ = false;
  int n_unanswered_ = 0;
  std::string problem_;
};

}  // namespace jobkit
