// Element types in which float weights are stored; a session computes with float32.
#pragma once

#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

// Rounds the float32 weights (not biases) of conv, conv_transpose, dense and matmul to `dtype`
// (bfloat16 or float16), ties to even, and stores them so. Returns how many. ValueError on another
// dtype.
TERSOR_API int narrow_weights(Graph& graph, DType dtype);
// Of the nodes of these names alone.
TERSOR_API int narrow_weights(Graph& graph, DType dtype, const std::vector<std::string>& nodes);

// Constants of bfloat16 and float16 become float32; exact. Returns how many.
TERSOR_API int widen_constants(Graph& graph);

}  // namespace tersor::graph
