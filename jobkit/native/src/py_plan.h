// Python's view of the schedules, for tests and tables: nothing here runs one.
#pragma once

#include <nanobind/nanobind.h>

namespace jobkit {

// Defines `plan`, `schedule_table` and `measured_table` in the module.
void define_plan(nanobind::module_& m);

}  // namespace jobkit
