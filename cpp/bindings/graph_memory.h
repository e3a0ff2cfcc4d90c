// The memory planner; called by bind_graph.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_memory_planner(pybind11::module_& m);

}  // namespace tersor::bindings
