// The table of schedules that the ranks of a new group use.
#pragma once

#include "group.h"

namespace jobkit {

// Gives the group rank 0's table, whatever the other ranks asked for: schedules are chosen by each rank for
// itself, so all must choose from one table. Collective: every rank, before any other call.
void agree_on_choices(Group& group, const Choices& wanted, const CallOptions& options);

}  // namespace jobkit
