// Rewrites of a graph. Each keeps the function that the graph computes and returns how often it
// applied.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

TERSOR_API int remove_dead_nodes(Graph& graph);
TERSOR_API int remove_identities(
    Graph& graph);  // identity, no-op reshape/transpose/cast/pad/slice/expand
TERSOR_API int merge_reshapes(
    Graph& graph);  // reshape(reshape(x)); reshape of a transpose that moves unit axes only
TERSOR_API int merge_transposes(
    Graph& graph);  // transpose(transpose(x)); sinks through element-wise
TERSOR_API int fold_batch_norm(
    Graph& graph);  // into conv, conv_transpose, dense before it; else a scale + shift
TERSOR_API int fold_bias_add(Graph& graph);    // matmul/dense/conv + constant add into the bias
TERSOR_API int fold_pad(Graph& graph);         // zero padding into the conv / pool after it
TERSOR_API int fuse_activation(Graph& graph);  // relu, clip(0, 6) into the operator before it
TERSOR_API int recognize_patterns(
    Graph& graph);  // x * sigmoid(x), h-swish, erf-gelu, layer norm, matmul -> dense
TERSOR_API int fold_constants(
    Graph& graph);  // nodes whose inputs are all constant (reference provider's job is
                    // above this room: only shape-like operators and arithmetic)

TERSOR_API int fold_quantization(
    Graph& graph);  // dequantize -> operator -> quantize: onto the codes, exactly; left-over
                    // dequantized weights stay codes, other constants become float

// All of the above until nothing changes, then verify(). Returns (pass, count) in the order
// applied.
TERSOR_API std::vector<std::pair<std::string, int>> canonicalize(Graph& graph);

}  // namespace tersor::graph
