// Second-order pruning; part of bind_reconstruction.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_pruning_by_moments(pybind11::module_& m);

}  // namespace tersor::bindings
