#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

// A transpose that moves only axes of size 1 keeps the numbers in their order.
bool keeps_order(const Graph& graph, const Node& node) {
  const Shape& x = graph.edge(node.inputs[0]).shape;
  int64_t last = -1;
  for (int64_t axis : node.attributes.integers("perm")) {
    if (x[static_cast<size_t>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

}  // namespace

int merge_reshapes(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    Node& node = graph.node(static_cast<NodeId>(i));
    if (node.op == Op::transpose && keeps_order(graph, node)) {
      const Ints shape = graph.edge(node.outputs[0]).shape;
      node.op = Op::reshape;
      node.attributes = {};
      node.attributes.set("shape", shape);
      ++count;
    }
    if (node.op != Op::reshape) continue;
    const NodeId above = Links(graph).maker(node.inputs[0]);
    if (above < 0 || graph.node(above).op != Op::reshape) continue;
    node.inputs[0] = graph.node(above).inputs[0];
    ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace tersor::graph
