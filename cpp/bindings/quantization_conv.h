// The int8 convolution part of bind_quantization.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_conv_int8(pybind11::module_& m);

}  // namespace tersor::bindings
