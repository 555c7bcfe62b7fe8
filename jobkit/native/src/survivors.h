// What the survivors of a failure tell each other until they agree on who they are.
//
// Each proposes the ranks that it believes to be there; of two proposals what both contain holds. Who has
// heard the same set from all of its ranks has decided, and says so from then on, also to ranks that ask
// later: nobody can decide otherwise, because that would need this rank's word.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace jobkit {

struct Proposal {
  uint64_t key = 0;  // which group it is about
  bool decided = false;
  std::map<int, uint32_t>
      ages;  // of every rank in it; of others than the one that proposes 0 until it is decided
};

std::string encode(const Proposal& proposal);
std::optional<Proposal> decode_proposal(const std::string& bytes);

}  // namespace jobkit
