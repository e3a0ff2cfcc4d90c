// Channels that go together, and networks without some of them; called by bind_graph.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_channels(pybind11::module_& m);

}  // namespace tersor::bindings
