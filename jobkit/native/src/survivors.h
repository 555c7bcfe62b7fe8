// What the survivors of a failure tell each other until they agree on who they are.
//
// Each proposes the ranks that it believes to be there and says which of them it has heard; of two proposals
// what both contain holds. Who has heard the same set from all of its ranks, each of which had heard it, has
// decided, and says so from then on, also to ranks that ask later. Nobody can decide otherwise: that would
// need the word of a rank of this set, and a word from before it left somebody out does not count for the
// one left out, whom it had not heard.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace jobkit {

struct Proposal {
  uint64_t key = 0;  // which group it is about
  bool decided = false;
  std::map<int, uint32_t> ages;  // of every rank in it; 0 of one that has not been heard
};

std::string encode(const Proposal& proposal);
std::optional<Proposal> decode_proposal(const std::string& bytes);

}  // namespace jobkit
