// Observers and the choice of parameters; called by bind_quantization.
#pragma once

#include "arrays.h"

namespace tersor::bindings {

void bind_observers(py::module_& m);

}  // namespace tersor::bindings
