// Fake quantization and learned step sizes; called by bind_quantization.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_fake_quantize(pybind11::module_& m);

}  // namespace tersor::bindings
