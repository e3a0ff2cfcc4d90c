#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

const char* activation_of(const Node& node) {
  if (node.op == Op::relu) return "relu";
  if (node.op == Op::clip && node.attributes.real("min") == 0 && node.attributes.real("max") == 6)
    return "relu6";
  return nullptr;
}

}  // namespace

int fuse_activation(Graph& graph) {
  int count = 0;
  std::vector<bool> dead(graph.nodes().size(), false);
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node node = graph.node(static_cast<NodeId>(i));
    const char* activation = activation_of(node);
    if (!activation) continue;
    const Links links(graph);
    const NodeId before = links.maker(node.inputs[0]);
    if (before < 0 || links.only_user(node.inputs[0]) < 0) continue;
    Node& target = graph.node(before);
    // A quantized edge between the two is a rounding point; fusing would skip it.
    if (!target.attributes.has("activation") || target.attributes.text("activation") != "none" ||
        graph.edge(node.inputs[0]).qparams) {
      continue;
    }
    target.attributes.set("activation", std::string(activation));
    take_over(graph, node.outputs[0], node.inputs[0]);
    dead[i] = true;
    ++count;
  }
  if (count) graph.remove_nodes(dead);
  return count;
}

}  // namespace tersor::graph
