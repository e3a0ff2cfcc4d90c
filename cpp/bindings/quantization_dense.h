// Dense layers with weight codes: part of bind_quantization.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_dense(pybind11::module_& m);

}  // namespace tersor::bindings
