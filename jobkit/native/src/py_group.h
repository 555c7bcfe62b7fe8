// Groups and handles as Python has them: buffers and codes in, nothing decided.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "handle.h"

namespace jobkit {

// A new core.Group on the only share of `group`. `checks`: compare all calls first.
nanobind::object new_group(std::shared_ptr<Group> group, bool checks);

// Adds the classes Group and Handle, and c_api.
void define_group(nanobind::module_& m);

}  // namespace jobkit
