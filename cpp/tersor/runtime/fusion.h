// Which residual adds may run in the epilogue of a convolution or dense layer.
#pragma once

#include <vector>

#include "tersor/graph/graph.h"

namespace tersor::runtime {

// By node id, -1 for none: the add that a conv or dense node (the host) may be fused with, and
// back.
struct Fusions {
  std::vector<graph::NodeId> add_of, host_of;
};

// An add of two activations of equal shape, one of which a conv or dense node gives to nobody else;
// `kept` edges must exist by themselves. Of two candidates the later one is the host, because the
// other operand exists by then. A fused step runs in the place of the add.
Fusions find_fusions(const graph::Graph& graph, const std::vector<bool>& needed_nodes,
                     const std::vector<bool>& kept);

}  // namespace tersor::runtime
