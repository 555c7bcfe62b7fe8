// What a jobkit_group of capi.h is: a counted share of a Group.
#pragma once

#include <atomic>
#include <memory>

#include "capi.h"
#include "group.h"

struct jobkit_group {
  std::shared_ptr<jobkit::Group> group;
  std::atomic<int> references{1};
};

namespace jobkit {

// The one table of functions.
const jobkit_api* c_api();

}  // namespace jobkit
