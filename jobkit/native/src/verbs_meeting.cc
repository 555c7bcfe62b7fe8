#include "verbs_meeting.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "bytes.h"

namespace jobkit {
namespace {

// Bytes of a slot: what a large message is cut into. Smaller where a device has many cables, or may register
// little. Where every SEND has to fill its receive, a cable has two lanes, one with the smallest slots; and a
// single one, with slots in between, where the device has too few queue pairs for that.
constexpr uint32_t kLargestSlot = 64 << 10, kSmallestSlot = 4 << 10, kOnlySlot = 16 << 10;
constexpr size_t kFewQueuePairs = 10;

// Of one device, at most.
constexpr size_t kMostRegistered = 64 << 20;

constexpr size_t kOfferBytes = 1 + 1 + 4 + 1 + 16 + 2;
constexpr size_t kAddressBytes = 8;

size_t may_register() {
  rlimit limit{};
  if (::geteuid() == 0 || ::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return kMostRegistered;
  return std::min<size_t>(kMostRegistered, limit.rlim_cur / 4 * 3);
}

// All lanes of a cable.
size_t n_memory(uint32_t n_slot, uint8_t n_lanes) {
  return VerbsCable::n_memory(n_slot) + (n_lanes > 1 ? VerbsCable::n_memory(kSmallestSlot) : 0);
}

uint32_t slot_for(size_t n_cables, uint8_t n_lanes) {
  uint32_t n_slot = kLargestSlot;
  while (n_slot > kSmallestSlot && n_cables * n_memory(n_slot, n_lanes) > may_register()) n_slot /= 2;
  return n_slot;
}

// An offer, behind its length; with a problem, only that.
std::string encode(const CableOffer& offer) {
  std::string body(kOfferBytes, 0);
  ByteWriter(reinterpret_cast<uint8_t*>(body.data()))
      .put(static_cast<uint8_t>(offer.has_rc))
      .put(offer.n_lanes)
      .put(offer.n_slot)
      .put(offer.mtu)
      .put_bytes(offer.gid.raw, sizeof offer.gid.raw)
      .put(offer.lid);
  return body;
}

CableOffer decode(const char* bytes) {
  CableOffer offer;
  ByteReader reader(reinterpret_cast<const uint8_t*>(bytes));
  offer.has_rc = reader.get<uint8_t>() != 0;
  offer.n_lanes = reader.get<uint8_t>();
  offer.n_slot = reader.get<uint32_t>();
  offer.mtu = reader.get<uint8_t>();
  reader.get_bytes(offer.gid.raw, sizeof offer.gid.raw);
  offer.lid = reader.get<uint16_t>();
  return offer;
}

}  // namespace

Cabling::Cabling(const CableOptions& options, int rank) : options_(options), rank_(rank) {}

void Cabling::open(const std::vector<int>& peers, const std::map<int, Address>& near) {
  for (int peer : peers) {
    for (const std::string& name : options_.devices[rank_][peer]) n_cables_[name]++;
  }
  for (int peer : peers) {
    End& end = ends_[peer];
    for (size_t i = 0; i < options_.devices[rank_][peer].size(); i++)
      end.offers.push_back(open_one(peer, i, near.at(peer), end));
  }
}

uint8_t Cabling::n_lanes(const VerbsDevice& device) const {
  return !device.has_rc() && 2 * n_cables_.at(device.name()) <= kFewQueuePairs ? 2 : 1;
}

CableOffer Cabling::open_one(int peer, size_t index, const Address& near, End& end) {
  CableOffer offer;
  const std::string& name = options_.devices[rank_][peer][index];
  try {
    const VerbsLibrary* library = VerbsLibrary::load(options_.library, offer.problem);
    if (!library) return offer;
    std::shared_ptr<VerbsDevice>& device = devices_[name];
    if (!device) {
      auto made = std::make_shared<VerbsDevice>(*library, name);
      const uint8_t n = n_lanes(*made);
      made->reserve(n_cables_[name] * n_memory(slot_for(n_cables_[name], n), n));
      device = made;
    }
    const jk_ibv_port_attr port = device->active_port();
    const VerbsDevice::Gid gid = device->choose_gid(near, options_.gid);
    if (options_.queue_pair == "rc" && !device->has_rc())
      throw Error("device " + name + " has no reliable connections (JOBKIT_JACCL_QP=rc)");
    offer.has_rc = device->has_rc();
    offer.n_lanes = n_lanes(*device);
    offer.n_slot = slot_for(n_cables_[name], offer.n_lanes);
    offer.mtu = static_cast<uint8_t>(port.active_mtu);
    offer.gid = gid.gid;
    offer.lid = port.lid;
    end.devices.push_back(device);
    end.gids.push_back(gid);
  } catch (const Error& error) {
    offer.problem = error.what();
  }
  return offer;
}

// One byte, 0 and the offers, or 1 and a problem.
std::string Cabling::offer(int peer) const {
  std::string all(1, 0);
  for (const CableOffer& each : ends_.at(peer).offers) {
    if (!each.problem.empty()) return "\1" + each.problem;
    all += encode(each);
  }
  return all;
}

// Of each lane, that with the smallest slots first.
std::vector<CableTerms> Cabling::agree(const CableOffer& own, const CableOffer& theirs) const {
  CableTerms terms;
  terms.equal_frames = !own.has_rc || !theirs.has_rc;
  terms.reliable = !terms.equal_frames && options_.queue_pair != "uc";
  terms.n_slot = std::min(own.n_slot, theirs.n_slot);
  terms.mtu = std::min(own.mtu, theirs.mtu);
  terms.peer_gid = theirs.gid;
  terms.peer_lid = theirs.lid;
  if (!terms.equal_frames) return {terms};
  if (std::min(own.n_lanes, theirs.n_lanes) == 1) {
    terms.n_slot = std::min(terms.n_slot, kOnlySlot);
    return {terms};
  }
  CableTerms small = terms;
  small.n_slot = kSmallestSlot;
  return {small, terms};
}

void Cabling::make(const std::map<int, std::string>& offers) {
  for (auto& [peer, end] : ends_) {
    for (const CableOffer& own : end.offers) {
      if (!own.problem.empty()) throw Error("no cable to rank " + std::to_string(peer) + ": " + own.problem);
    }
  }
  for (auto& [peer, end] : ends_) {
    const std::string& said = offers.at(peer);
    const std::string where = "no cable to rank " + std::to_string(peer) + ": ";
    if (said.starts_with('\1')) throw Error(where + "there, " + said.substr(1), peer);
    if (said.size() != 1 + end.offers.size() * kOfferBytes)
      throw Error(where + "it counts its cables otherwise: is its matrix of devices another one?", peer);
    for (size_t i = 0; i < end.offers.size(); i++) {
      const CableOffer theirs = decode(said.data() + 1 + i * kOfferBytes);
      if (theirs.n_slot < kSmallestSlot || theirs.n_slot > kLargestSlot)
        throw Error(where + "it offers messages of " + std::to_string(theirs.n_slot) + " bytes", peer);
      try {
        for (const CableTerms& terms : agree(end.offers[i], theirs))
          end.cables.push_back(std::make_unique<VerbsCable>(end.devices[i], terms, end.gids[i].index));
      } catch (const Error& error) {
        throw Error(where + error.what());
      }
    }
  }
}

std::string Cabling::address(int peer) const {
  std::string all;
  for (auto& cable : ends_.at(peer).cables) {
    const CableAddress own = cable->address();
    std::string body(kAddressBytes, 0);
    ByteWriter(reinterpret_cast<uint8_t*>(body.data())).put(own.queue_pair).put(own.first_packet);
    all += body;
  }
  return all;
}

void Cabling::connect(const std::map<int, std::string>& addresses) {
  for (auto& [peer, end] : ends_) {
    const std::string& said = addresses.at(peer);
    if (said.size() != end.cables.size() * kAddressBytes)
      throw Error("no cable to rank " + std::to_string(peer) + ": it made another number of them", peer);
    for (size_t i = 0; i < end.cables.size(); i++) {
      ByteReader reader(reinterpret_cast<const uint8_t*>(said.data()) + i * kAddressBytes);
      CableAddress theirs;
      theirs.queue_pair = reader.get<uint32_t>();
      theirs.first_packet = reader.get<uint32_t>();
      try {
        end.cables[i]->connect(theirs);
      } catch (const Error& error) {
        throw Error("no cable to rank " + std::to_string(peer) + ": " + error.what());
      }
    }
  }
}

std::string Cabling::describe(int peer) const {
  const End& end = ends_.at(peer);
  std::string names;
  for (auto& device : end.devices) names += (names.empty() ? "" : " and ") + device->name();
  const bool reliable = end.cables[0]->terms().reliable;
  return std::to_string(end.devices.size()) + (end.devices.size() == 1 ? " cable, " : " cables, ") +
         (reliable ? "rc" : "uc") + ", over " + names;
}

}  // namespace jobkit
