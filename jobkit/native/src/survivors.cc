#include "survivors.h"

#include <algorithm>
#include <set>

#include "bytes.h"
#include "crc32c.h"
#include "group.h"
#include "process.h"

namespace jobkit {
namespace {

constexpr size_t kHead = 9, kEntry = 8;

// How often somebody who waits for the others looks around.
constexpr auto kLook = milliseconds(50);

std::set<int> ranks_of(const Proposal& proposal) {
  std::set<int> ranks;
  for (auto& [rank, unused] : proposal.ages) ranks.insert(rank);
  return ranks;
}

}  // namespace

std::string encode(const Proposal& proposal) {
  std::string bytes(kHead + kEntry * proposal.ages.size(), 0);
  ByteWriter writer(reinterpret_cast<uint8_t*>(bytes.data()));
  writer.put(proposal.key).put(static_cast<uint8_t>(proposal.decided));
  for (auto& [rank, age] : proposal.ages) writer.put(static_cast<int32_t>(rank)).put(age);
  return bytes;
}

std::optional<Proposal> decode_proposal(const std::string& bytes) {
  if (bytes.size() < kHead || (bytes.size() - kHead) % kEntry != 0) return std::nullopt;
  ByteReader reader(reinterpret_cast<const uint8_t*>(bytes.data()));
  Proposal proposal;
  proposal.key = reader.get<uint64_t>();
  proposal.decided = reader.get<uint8_t>() != 0;
  for (size_t i = 0; i < (bytes.size() - kHead) / kEntry; i++) {
    int rank = reader.get<int32_t>();
    proposal.ages[rank] = reader.get<uint32_t>();
  }
  return proposal;
}

// --- the mesh's part ---

std::string Mesh::proposed(int peer, const std::string& bytes) {
  std::optional<Proposal> proposal = decode_proposal(bytes);
  if (!proposal) return "";
  std::string answer;
  {
    std::lock_guard lock(news_mutex_);
    auto& known = proposals_[proposal->key];
    known[peer] = *proposal;
    auto own = known.find(rank_);
    if (own != known.end() && own->second.decided && !proposal->decided) answer = encode(own->second);
  }
  news_.notify_all();
  return answer;
}

void Mesh::propose(const Proposal& proposal, const std::vector<int>& peers) {
  std::string bytes = encode(proposal);
  for (int p : peers) {
    if (p != rank_) control_->propose(p, bytes);
  }
}

std::map<int, uint32_t> Mesh::agree_on_survivors(uint64_t key, const std::vector<int>& members,
                                                 Deadline deadline, const InterruptCheck& interrupted) {
  Proposal own{key, false, {}};
  for (int p : members) own.ages[p] = 0;
  own.ages[rank_] = ++age_;
  Deadline next_tick = Deadline::in(heartbeat_s_);
  forgive(members);
  for (bool changed = true;;) {
    std::vector<int> unheard, unagreed;
    {
      std::unique_lock lock(news_mutex_);
      if (!changed) news_.wait_for(lock, kLook);
      size_t n_before = own.ages.size();
      for (int p : members) {
        if (peers_[p].standing != Standing::kPresent) own.ages.erase(p);
      }
      std::map<int, Proposal>& heard = proposals_[key];
      for (auto& [peer, theirs] : heard) {
        if (peer == rank_) continue;
        if (theirs.decided) own = theirs;
        if (own.decided) break;
        std::erase_if(own.ages, [&](auto& entry) { return theirs.ages.count(entry.first) == 0; });
      }
      if (!own.ages.count(rank_)) throw Error("the others have gone on without this rank");
      changed |= own.ages.size() != n_before;
      for (auto& [peer, age] : own.ages) {
        if (peer == rank_ || own.decided) continue;
        auto theirs = heard.find(peer);
        if (theirs == heard.end()) {
          unheard.push_back(peer);
          unagreed.push_back(peer);
          continue;
        }
        changed |= age != theirs->second.ages.at(peer);
        age = theirs->second.ages.at(peer);
        bool has_heard_this = theirs->second.ages.at(rank_) == own.ages.at(rank_);
        if (!has_heard_this || ranks_of(theirs->second) != ranks_of(own)) unagreed.push_back(peer);
      }
      own.decided |= unagreed.empty();
      if (own.decided) heard[rank_] = own;
    }
    if (changed || own.decided) propose(own, members);
    changed = false;
    if (own.decided) return own.ages;
    if (interrupted && interrupted()) throw Interrupted("interrupted");
    if (has_left()) throw Error("the group was closed");
    std::vector<int> dropped;
    if (heartbeat_s_ > 0 && next_tick.passed()) {
      next_tick = Deadline::in(heartbeat_s_);
      dropped = tick(unagreed);
    }
    if (deadline.passed()) dropped = unheard;
    for (int p : dropped) changed |= own.ages.erase(p) > 0;
  }
}

// --- the group's part ---

std::unique_ptr<Group> Group::shrink(const CallOptions& options) {
  std::string label = where() + "shrink: ";
  if (mesh_->generation() != process::generation())
    throw Error(label + "the group belongs to another process");
  if (closed_ || mesh_->has_left()) throw Error(label + "the group is closed");
  uint32_t origin = crc32c(births_.data(), births_.size() * sizeof(births_[0]), context_);
  uint64_t key = uint64_t{context_} << 32 | origin;
  std::map<int, uint32_t> ages;
  try {
    Deadline deadline = Deadline::in(options.timeout_s >= 0 ? options.timeout_s : timeout_s_);
    ages = mesh_->agree_on_survivors(key, members_, deadline, options.interrupted);
  } catch (const Interrupted& interrupt) {
    throw Interrupted(label + interrupt.what());
  } catch (const Error& error) {
    throw Error(label + error.what());
  }
  closed_ = true;
  mesh_->part(context_);
  std::vector<int> members;
  std::vector<uint32_t> births;
  for (int p : members_) {
    if (!ages.count(p)) continue;
    members.push_back(p);
    births.push_back(ages[p]);
  }
  int rank = static_cast<int>(std::find(members.begin(), members.end(), mesh_->rank()) - members.begin());
  uint32_t context = crc32c(births.data(), births.size() * sizeof(births[0]), origin);
  return std::unique_ptr<Group>(new Group(*this, context, std::move(members), rank, std::move(births)));
}

}  // namespace jobkit
