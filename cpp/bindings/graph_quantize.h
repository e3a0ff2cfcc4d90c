// Quantization passes of a graph; called by bind_graph.
#pragma once

#include "graph_rewrites.h"

namespace tersor::bindings {

void bind_graph_quantize(pybind11::module_& m, GraphClass& graph);

}  // namespace tersor::bindings
