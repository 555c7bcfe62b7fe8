// Who waits for whom: what ranks tell each other of their calls, and where the waiting ends.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "error.h"

namespace jobkit {

// A call that has waited for a while, as other ranks are told of it.
struct LongWait {
  std::string text;               // "all_sum #12"
  std::vector<std::string> keys;  // two waits belong to one operation when they share a key
  std::vector<int> missing;       // the ranks of the whole job that it waits for
};

// How far a rank is in the collectives of a group.
struct Progress {
  uint32_t context = 0;
  uint32_t seq = 0;  // of the call that it is in, or was in last
};

// What a rank said when it was asked.
struct Answer {
  bool silent = true;
  std::string gone;  // not empty: why it is not there any more: "is gone: ..."
  std::vector<LongWait> waits;
  std::vector<Progress> progress;
};

// What takes part in operation `seq` of a group; in a message between two ranks.
std::string collective_key(uint32_t context, uint32_t seq);
std::string message_key(uint32_t context, int from, int to, int tag, uint32_t seq);

// An answer as it travels: a line for each group and for each wait.
std::string encode_answer(const Answer& answer);
Answer decode_answer(const std::string& text);

// A rank on the way from a call to what it waits for, and what is the matter with it.
struct Hop {
  int rank = kNobody;
  std::string state;  // "waits in barrier #3", "does not answer"
};

// From the ranks that a call waits for to one at which the waiting ends.
struct Chain {
  std::vector<Hop> hops;
  bool hopeless = false;  // the last rank is gone or silent; otherwise it computes, and may come yet
};

struct Diagnosis {
  std::vector<Chain> chains;  // the hopeless ones first
  std::vector<Hop> cycle;     // ranks each of which waits for the next, and the last for the first

  bool is_hopeless() const { return !chains.empty() && chains[0].hopeless; }
  // Nobody in particular is to blame.
  bool is_deadlock() const { return !cycle.empty() && !is_hopeless(); }
  // Whether this will never end by itself.
  bool is_stuck() const { return is_hopeless() || is_deadlock(); }
  // The rank that all wait for in the end, if there is one.
  int culprit() const { return chains.empty() || is_deadlock() ? kNobody : chains[0].hops.back().rank; }
};

// Follows `own`, a wait of rank `self`, through what the others answered.
Diagnosis diagnose(int self, const LongWait& own, const std::map<int, Answer>& answers);

}  // namespace jobkit
