// Casts to narrow floats and packed codes; called by bind_quantization.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_formats(pybind11::module_& m);

}  // namespace tersor::bindings
