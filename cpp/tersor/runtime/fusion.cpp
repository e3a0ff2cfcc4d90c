#include "tersor/runtime/fusion.h"

#include <algorithm>

namespace tersor::runtime {

using graph::EdgeId;
using graph::Graph;
using graph::NodeId;
using graph::Op;

Fusions find_fusions(const Graph& graph, const std::vector<bool>& needed_nodes,
                     const std::vector<bool>& kept) {
  const std::vector<NodeId> producers = graph.producers();
  const std::vector<std::vector<NodeId>> consumers = graph.consumers();
  const size_t count = graph.nodes().size();
  Fusions fusions{std::vector<NodeId>(count, -1), std::vector<NodeId>(count, -1)};

  const auto may_host = [&](EdgeId e) {
    const auto at = static_cast<size_t>(e);
    if (producers[at] < 0 || kept[at] || consumers[at].size() != 1) return false;
    const Op op = graph.node(producers[at]).op;
    return op == Op::conv || op == Op::dense;
  };
  for (size_t add = 0; add < count; ++add) {
    const graph::Node& node = graph.nodes()[add];
    if (!needed_nodes[add] || node.op != Op::add) continue;
    const Shape& shape = graph.edge(node.outputs[0]).shape;
    const bool residual = std::all_of(node.inputs.begin(), node.inputs.end(), [&](EdgeId e) {
      return !graph.edge(e).is_constant() && graph.edge(e).shape == shape;
    });
    if (!residual) continue;
    NodeId host = -1;
    for (const EdgeId e : node.inputs) {
      if (may_host(e)) host = std::max(host, producers[static_cast<size_t>(e)]);
    }
    if (host < 0) continue;
    fusions.host_of[add] = host;
    fusions.add_of[static_cast<size_t>(host)] = static_cast<NodeId>(add);
  }
  return fusions;
}

}  // namespace tersor::runtime
