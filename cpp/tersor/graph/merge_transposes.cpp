#include <algorithm>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

Ints composed(const Ints& first, const Ints& second) {
  Ints out;
  for (int64_t axis : second) out.push_back(first[static_cast<size_t>(axis)]);
  return out;
}

bool is_unary(Op op) {
  const OperatorSpec& spec = spec_of(op);
  return spec.layout == LayoutClass::elementwise && spec.most_inputs == 1;
}

// Walks from the input of a transpose upwards over element-wise operators that only it needs, to
// another transpose; then the first one can be dropped and the second one composed with it.
bool merge_at(Graph& graph, const Links& links, NodeId id) {
  EdgeId above = graph.node(id).inputs[0];
  std::vector<NodeId> between;
  while (links.only_user(above) >= 0 && links.maker(above) >= 0 &&
         is_unary(graph.node(links.maker(above)).op)) {
    between.push_back(links.maker(above));
    above = graph.node(between.back()).inputs[0];
  }
  const NodeId first = links.maker(above);
  if (first < 0 || graph.node(first).op != Op::transpose) return false;
  if (!between.empty() && links.only_user(above) < 0) return false;
  const Ints perm = composed(graph.node(first).attributes.integers("perm"),
                             graph.node(id).attributes.integers("perm"));
  const EdgeId source = graph.node(first).inputs[0];
  if (between.empty()) {
    graph.node(id).inputs[0] = source;
  } else {
    graph.node(between.back()).inputs[0] = source;
    for (NodeId node : between) {
      graph.edge(graph.node(node).outputs[0]).shape = graph.edge(source).shape;
    }
  }
  graph.node(id).attributes.set("perm", perm);
  return true;
}

}  // namespace

int merge_transposes(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    if (graph.node(static_cast<NodeId>(i)).op != Op::transpose) continue;
    const Links links(graph);
    if (merge_at(graph, links, static_cast<NodeId>(i))) ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace tersor::graph
