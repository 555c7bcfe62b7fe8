// What a jobkit_group of capi.h is: a counted share of a Lane, which keeps the order of all that use the
// group.
#pragma once

#include <atomic>
#include <memory>

#include "capi.h"
#include "handle.h"

struct jobkit_group {
  std::shared_ptr<jobkit::Lane> lane;
  std::atomic<int> references{1};
};

namespace jobkit {

// The one table of functions.
const jobkit_api* c_api();

}  // namespace jobkit
