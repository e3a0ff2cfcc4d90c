// Multiplying the output channels of a conv, conv_transpose or dense by constants, and shifting
// them.
#pragma once

#include <vector>

#include "tersor/graph/graph.h"

namespace tersor::graph {

bool is_linear(
    Op op);  // conv, conv_transpose, dense: has weight, optional bias and output channels
int64_t output_channels(const Graph& graph, const Node& node);

// y[c] = scale[c] * (w[c] x + b[c]) + shift[c], into the node's own constants (copied if shared).
// The node must be linear, without activation, with float constants.
void fold_scale(Graph& graph, NodeId node, const std::vector<float>& scale,
                const std::vector<float>& shift);
bool can_fold_scale(const Graph& graph, const Node& node);

}  // namespace tersor::graph
