// The note that lets an agent tell the rank that failed from those that failed because of it.
#pragma once

#include <string>

namespace jobkit {

// Writes `{"victim_of": culprit}` to `path`, whole or not at all, readable by its owner only. Returns "" or
// what kept it from being written.
std::string write_victim(const std::string& path, int culprit);

}  // namespace jobkit
