// Registers entropy-constrained rounding in the module reconstruction; called by
// bind_reconstruction.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_rate_rounding(pybind11::module_& m);

}  // namespace tersor::bindings
