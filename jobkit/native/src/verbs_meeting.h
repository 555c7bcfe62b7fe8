// How the cables of a rank come about: what each end can do is told, then where its queue pair is, both over
// control connections that are there by then.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "verbs_cable.h"

namespace jobkit {

// What the program asked for.
struct CableOptions {
  // [rank][peer]: the devices of a rank that lead to a peer, one for each cable, in the same order as the
  // peer's own; none where there is no cable. Empty: TCP carries the data.
  std::vector<std::vector<std::vector<std::string>>> devices;
  std::string library;     // "": the system's
  std::string queue_pair;  // "rc", "uc" or "auto"
  int gid = -1;            // in the table of every device of this rank, -1: chosen
};

class Cabling {
 public:
  Cabling(const CableOptions& options, int rank);

  // Opens the devices. What is wrong with one is told to the peers that it leads to, before it is thrown.
  // `near`: the own address of the control connection to each peer; `peers`: those that get cables.
  void open(const std::vector<int>& peers, const std::map<int, Address>& near);
  std::string offer(int peer) const;

  // `offers`: of the peers. Makes the queue pairs, with their receives posted. Throws Error, naming the peer.
  void make(const std::map<int, std::string>& offers);
  std::string address(int peer) const;

  // `addresses`: of the peers. Throws Error.
  void connect(const std::map<int, std::string>& addresses);

  // "2 cables, rc, over rxe0 and rxe1"
  std::string describe(int peer) const;
  std::vector<std::unique_ptr<VerbsCable>> take(int peer) { return std::move(ends_.at(peer).cables); }

 private:
  // This rank's end of the cables to one peer.
  struct End {
    std::vector<std::shared_ptr<VerbsDevice>> devices;
    std::vector<VerbsDevice::Gid> gids;
    std::vector<CableOffer> offers;
    std::vector<std::unique_ptr<VerbsCable>> cables;  // the lanes of the first, of the second ...
  };

  CableOffer open_one(int peer, size_t index, const Address& near, End& end);
  uint8_t n_lanes(const VerbsDevice& device) const;
  std::vector<CableTerms> agree(const CableOffer& own, const CableOffer& theirs) const;

  const CableOptions& options_;
  const int rank_;
  std::map<std::string, std::shared_ptr<VerbsDevice>> devices_;
  std::map<std::string, size_t> n_cables_;  // of each device
  std::map<int, End> ends_;
};

}  // namespace jobkit
