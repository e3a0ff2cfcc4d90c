// Calibration; called by bind_runtime.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_calibrate(pybind11::module_& m);

}  // namespace tersor::bindings
