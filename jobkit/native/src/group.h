// A group of ranks and its operations, on (pointer, count, dtype, op). Knows no Python.
//
// All members make the same collective calls in the same order. Every call waits with a deadline; what goes
// wrong on one rank is thrown on all of them, and the group is then of no further use.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "choice.h"
#include "execution.h"
#include "express.h"
#include "mesh.h"
#include "schedule.h"

namespace jobkit {

// Messages between two ranks with the same tag match in the order of their numbers.
struct MessageNumbers {
  uint32_t sent = 0, received = 0;
};

struct CallOptions {
  // >= 0: the call fails after so long (0: never), whatever the others do. < 0: the group's own, which
  // applies to a peer that does not answer or is in another operation; one that is merely late is waited for,
  // with a warning.
  double timeout_s = -1;
  InterruptCheck interrupted;
  // Of a message: it was issued before, with these numbers, and runs beside other calls of the group.
  std::optional<MessageNumbers> issued = std::nullopt;
};

class Group {
 public:
  // All ranks of the mesh.
  Group(std::shared_ptr<Mesh> mesh, double timeout_s);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group();

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(members_.size()); }
  Mesh& mesh() const { return *mesh_; }
  // The table from which the calls of this group, and of those split from it, get their schedules. Every
  // rank must use the same; no call may be under way.
  void use(Choices choices);
  const Choices& choices() const;
  // What its schedule is chosen by.
  Request request(Call call, uint64_t count, Dtype dtype, int root = 0) const;
  const std::vector<int>& members() const { return members_; }  // ranks of the whole job
  Topology topology() const { return topology_; }

  // `count`: elements of the array; for reduce_scatter, all_gather, all_to_all, gather and scatter of one
  // rank's block. `in` may be `out` for all_reduce, all_gather of the own block, broadcast, which has one on
  // the root only, and all_to_all.
  void all_reduce(ReduceOp op, const void* in, void* out, uint64_t count, Dtype dtype,
                  const CallOptions& options, double scale = 1.0);
  void reduce_scatter(ReduceOp op, const void* in, void* out, uint64_t count, Dtype dtype,
                      const CallOptions& options, double scale = 1.0);
  void all_gather(const void* in, void* out, uint64_t count, Dtype dtype, const CallOptions& options);
  void broadcast(const void* in, void* out, uint64_t count, Dtype dtype, int root,
                 const CallOptions& options);
  void all_to_all(const void* in, void* out, uint64_t count, Dtype dtype, const CallOptions& options);
  void gather(const void* in, void* out, uint64_t count, Dtype dtype, int root, const CallOptions& options);
  void scatter(const void* in, void* out, uint64_t count, Dtype dtype, int root, const CallOptions& options);
  void barrier(const CallOptions& options);
  // The call's own data travels by other means. Of the call itself this is everything else: its number, its
  // place among the others, its record, and that all ranks make the same one, in a barrier whose frames say
  // which call it is.
  void announce(Call call, uint64_t count, Dtype dtype, int root, const CallOptions& options);
  // Likewise a message, of which this sends or receives all but the data: to `to` and from `from`, either of
  // which may be kNobody.
  void announce_message(uint64_t n_in, int to, uint64_t n_out, int from, Dtype dtype, int tag,
                        const CallOptions& options);

  void send(const void* in, uint64_t count, Dtype dtype, int to, int tag, const CallOptions& options);
  void recv(void* out, uint64_t count, Dtype dtype, int from, int tag, const CallOptions& options);
  void sendrecv(const void* in, uint64_t n_in, int to, void* out, uint64_t n_out, int from, Dtype dtype,
                int tag, const CallOptions& options);

  // The numbers of the next messages to `to` and from `from`, each kNobody where there is none. Any thread.
  MessageNumbers issue(int to, int from, int tag);

  // The ranks with the same color, by key, then by rank; key < 0 keeps the order. nullptr for those without a
  // color.
  std::unique_ptr<Group> split(std::optional<int> color, int key, const CallOptions& options);
  // The group of these ranks of this one, in their order. Nothing is sent: only its members call this, with
  // the same `name`, which must be new each time.
  std::unique_ptr<Group> among(const std::vector<int>& ranks, const std::string& name);
  // All ranks of this one, likewise: what is called there leaves the numbers of this group's calls alone.
  std::unique_ptr<Group> apart(const std::string& name);

  // Why no call of this group can succeed any more.
  std::optional<Failure> failure() const { return mesh_->failure_of(members_, births_); }
  // The group of those members that are still there, after a failure: each of them calls this. No connection
  // is opened; this group is then closed. Members that are alive are waited for until the timeout.
  std::unique_ptr<Group> shrink(const CallOptions& options);
  // Ends whatever this rank and the others of its groups are waiting for. Any thread.
  void abort(const std::string& reason);
  // Leaves: the group of all ranks takes all connections with it.
  void close();

 private:
  // Without `births` they are the parent's.
  Group(const Group& parent, uint32_t context, std::vector<int> members, int rank,
        std::vector<uint32_t> births = {});

  void prepare();

  // One call: from its checks to its error.
  class Turn;
  struct CachedPlan {
    Request request;
    std::unique_ptr<Execution> execution;
  };

  void collective(Call call, const void* in, void* out, uint64_t count, Dtype dtype, int root,
                  const CallOptions& options, double scale = 1.0);
  void carry_out(Turn& turn, Execution& execution);
  void check_root(Call call, int root) const;
  Execution& execution_for(const Request& request);
  uint8_t* scratch(size_t n_bytes);
  void point_to_point(Call call, const void* in, uint64_t n_in, int to, void* out, uint64_t n_out, int from,
                      Dtype dtype, int tag, const CallOptions& options, bool elsewhere = false);
  void finish(Turn& turn);
  void overdue(Turn& turn);
  void expire(Turn& turn);
  void note(Turn& turn);
  void check_pulse(Turn& turn, const std::vector<int>& hung);
  void ask_around(Turn& turn);
  LongWait describe(const Turn& turn) const;
  Diagnosis follow(Turn& turn, double seconds_each);
  bool is_settled(Turn& turn);
  std::string tell(const Chain& chain) const;
  std::string tell(const Turn& turn, const Diagnosis& diagnosis);
  bool look_around(Turn& turn);
  [[noreturn]] void lose(Turn& turn, int peer);
  [[noreturn]] void differ(Turn& turn, const Active& active);
  [[noreturn]] void stop_with(const std::string& text, int culprit);
  [[noreturn]] void give_up(Turn& turn, const std::string& text, int culprit);
  [[noreturn]] void pass_on(Turn& turn, const Failure& failure);
  void check_peer(const char* what, int peer) const;
  int group_rank(int rank) const;
  std::string name(int rank) const;
  std::string where() const;

  std::shared_ptr<Mesh> mesh_;
  uint32_t context_ = 0;
  std::vector<int> members_;
  std::vector<uint32_t> births_;  // each member's Mesh::age() when the group was formed
  int rank_;
  double timeout_s_;
  Topology topology_;
  LinkClass links_ = LinkClass::kTcp;
  Placement placement_;
  std::shared_ptr<const Choices> choices_;  // nullptr: the built-in table
  bool crowded_ = false;                    // some host has more ranks than processors
  Active active_;
  uint32_t seq_ = 0;
  std::mutex numbers_mutex_;                                     // guards the next
  std::map<std::pair<int, int>, uint32_t> send_seq_, recv_seq_;  // of (peer, tag)
  std::atomic<int> busy_with_{kNobody};                          // the Call that runs
  std::atomic<bool> closed_{false};
  Call last_call_ = Call::kBarrier;
  uint32_t last_seq_ = 0;
  std::unique_ptr<Express> express_;  // where links of one kind allow it
  std::vector<CachedPlan> plans_;
  size_t next_plan_ = 0;
  std::unique_ptr<uint8_t[]> scratch_;
  size_t n_scratch_ = 0;
};

}  // namespace jobkit
