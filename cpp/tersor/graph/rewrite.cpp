#include "tersor/graph/rewrite.h"

#include <algorithm>

namespace tersor::graph {

Links::Links(const Graph& graph)
    : graph_(graph),
      makers_(graph.producers()),
      users_(graph.consumers()),
      output_(graph.edges().size(), false) {
  for (EdgeId id : graph.outputs()) output_[static_cast<size_t>(id)] = true;
}

NodeId Links::only_user(EdgeId id) const {
  const std::vector<NodeId>& users = this->users(id);
  return users.size() == 1 && !is_output(id) ? users[0] : -1;
}

NodeId Links::private_maker(EdgeId id, Op op) const {
  const NodeId node = maker(id);
  return node >= 0 && graph_.node(node).op == op && only_user(id) >= 0 ? node : -1;
}

void take_over(Graph& graph, EdgeId gone, EdgeId kept) {
  const bool returned =
      std::find(graph.outputs().begin(), graph.outputs().end(), gone) != graph.outputs().end();
  const bool already =
      std::find(graph.outputs().begin(), graph.outputs().end(), kept) != graph.outputs().end();
  const bool given =
      graph.edge(kept).is_constant() ||
      std::find(graph.inputs().begin(), graph.inputs().end(), kept) != graph.inputs().end();
  if (returned && !already && !given) {
    std::swap(graph.edge(gone).name, graph.edge(kept).name);
    std::swap(graph.edge(gone).origin, graph.edge(kept).origin);
  }
  graph.replace_uses(gone, kept);
}

bool scalar_value(const Graph& graph, EdgeId id, double* value) {
  if (id == kNoEdge) return false;
  const Edge& edge = graph.edge(id);
  if (!edge.is_constant() || edge.constant.size() != 1) return false;
  *value = edge.constant.to(DType::float64).as<double>()[0];
  return true;
}

std::vector<float> float_values(const Tensor& tensor) {
  const Tensor floats = tensor.to(DType::float32);
  return {floats.as<float>(), floats.as<float>() + floats.size()};
}

}  // namespace tersor::graph
