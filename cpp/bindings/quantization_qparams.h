#pragma once

#include "arrays.h"

namespace tersor::bindings {

void bind_qparams(py::module_& m);

}  // namespace tersor::bindings
