#include "tersor/graph/storage.h"

#include <set>

#include "tersor/base/error.h"
#include "tersor/graph/weight_codes.h"

namespace tersor::graph {

namespace {

template <class Wanted>
int narrow(Graph& graph, DType dtype, const Wanted& wanted) {
  TERSOR_CHECK(dtype == DType::bfloat16 || dtype == DType::float16,
               "narrow_weights: dtype must be bfloat16 or float16, got ", tersor::name_of(dtype));
  int count = 0;
  for (const Node& node : graph.nodes()) {
    if (!takes_weight_codes(node.op) || !wanted(node)) continue;
    Edge& edge = graph.edge(node.inputs[1]);
    if (!edge.is_constant() || edge.dtype != DType::float32) continue;
    edge.constant = edge.constant.to(dtype);
    edge.dtype = dtype;
    ++count;
  }
  return count;
}

}  // namespace

int narrow_weights(Graph& graph, DType dtype) {
  return narrow(graph, dtype, [](const Node&) { return true; });
}

int narrow_weights(Graph& graph, DType dtype, const std::vector<std::string>& nodes) {
  const std::set<std::string> names(nodes.begin(), nodes.end());
  return narrow(graph, dtype, [&](const Node& node) { return names.count(node.name) > 0; });
}

int widen_constants(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.edges().size(); ++i) {
    Edge& edge = graph.edge(static_cast<EdgeId>(i));
    if (!edge.is_constant() || (edge.dtype != DType::bfloat16 && edge.dtype != DType::float16))
      continue;
    edge.constant = edge.constant.to(DType::float32);
    edge.dtype = DType::float32;
    ++count;
  }
  return count;
}

}  // namespace tersor::graph
