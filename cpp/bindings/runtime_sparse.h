// The break-even table of sparse layers; called by bind_runtime.
#pragma once

#include <pybind11/pybind11.h>

namespace tersor::bindings {

void bind_sparse_pays(pybind11::module_& m);

}  // namespace tersor::bindings
