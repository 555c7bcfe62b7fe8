// The table of schedules that the ranks of a new group use: asked for, remembered, measured, or none.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "group.h"

namespace jobkit {

// Where measured tables are kept, as text, by the conditions that they were measured under.
struct Memory {
  // What was kept, nullopt if nothing was. Not set: nothing is measured.
  std::function<std::optional<std::string>(const std::string& conditions)> recall;
  std::function<void(const std::string& conditions, const std::string& table)> keep;
};

// Gives the group one table, whatever the other ranks asked for: schedules are chosen by each rank for
// itself, so all must choose from the same. It is what rank 0 wants; where that is nothing and it has a
// memory, what is kept there; where that is nothing, too, and each rank has a processor, what all ranks
// measure now, for 50 ms at most unless a rank is held up. Collective: every rank, before any other call.
void agree_on_choices(Group& group, const Choices& wanted, const Memory& memory, const CallOptions& options);

}  // namespace jobkit
