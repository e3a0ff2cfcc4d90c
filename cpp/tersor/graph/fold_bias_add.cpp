// A constant added to, or multiplied with, the output channels of a linear operator goes into it.
#include <algorithm>

#include "tersor/graph/fold_scale.h"
#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

// The constant as one value per channel when it broadcasts along nothing but the channel axis.
bool channel_values(const Graph& graph, const Node& linear, EdgeId constant,
                    std::vector<float>* out) {
  const Edge& edge = graph.edge(constant);
  if (!edge.is_constant() || !is_float(edge.dtype)) return false;
  const int64_t channels = output_channels(graph, linear);
  const Shape& y = graph.edge(linear.outputs[0]).shape;
  const size_t axis = linear.op == Op::dense ? y.size() - 1 : 1;
  if (edge.shape.size() > y.size()) return false;
  for (size_t i = 0; i < edge.shape.size(); ++i) {
    const size_t at = i + y.size() - edge.shape.size();
    if (edge.shape[i] != 1 && !(at == axis && edge.shape[i] == channels)) return false;
  }
  *out = float_values(edge.constant);
  if (out->size() == 1) out->assign(static_cast<size_t>(channels), (*out)[0]);
  return static_cast<int64_t>(out->size()) == channels;
}

}  // namespace

int fold_bias_add(Graph& graph) {
  int count = 0;
  const size_t nodes = graph.nodes().size();
  std::vector<bool> dead(nodes, false);
  for (size_t i = 0; i < nodes; ++i) {
    const Node node = graph.node(static_cast<NodeId>(i));
    if (node.op != Op::add && node.op != Op::mul && node.op != Op::sub) continue;
    const Links links(graph);
    for (size_t side = 0; side < (node.op == Op::sub ? 1u : 2u); ++side) {
      const EdgeId x = node.inputs[side];
      const NodeId before = links.maker(x);
      if (before < 0 || links.only_user(x) < 0 || node.inputs[0] == node.inputs[1]) continue;
      const Node linear = graph.node(before);
      std::vector<float> values;
      if (!can_fold_scale(graph, linear) ||
          graph.edge(x).shape != graph.edge(node.outputs[0]).shape ||
          !channel_values(graph, linear, node.inputs[1 - side], &values)) {
        continue;
      }
      const std::vector<float> ones(values.size(), 1.0f), zeros(values.size(), 0.0f);
      if (node.op == Op::sub) {
        for (float& v : values) v = -v;
      }
      if (node.op == Op::mul) {
        fold_scale(graph, before, values, zeros);
      } else {
        fold_scale(graph, before, ones, values);
      }
      graph.node(before).attributes.set("activation", node.attributes.text("activation"));
      take_over(graph, node.outputs[0], x);
      dead[i] = true;
      ++count;
      break;
    }
  }
  if (count) graph.remove_nodes(dead);
  return count;
}

}  // namespace tersor::graph
