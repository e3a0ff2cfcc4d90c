#include "tersor/graph/storage.h"

#include "tersor/base/error.h"

namespace tersor::graph {

int narrow_weights(Graph& graph, DType dtype) {
  TERSOR_CHECK(dtype == DType::bfloat16 || dtype == DType::float16,
               "narrow_weights: dtype must be bfloat16 or float16, got ", tersor::name_of(dtype));
  int count = 0;
  for (const Node& node : graph.nodes()) {
    const bool has_weight = node.op == Op::conv || node.op == Op::conv_transpose ||
                            node.op == Op::dense || node.op == Op::matmul;
    if (!has_weight) continue;
    Edge& edge = graph.edge(node.inputs[1]);
    if (!edge.is_constant() || edge.dtype != DType::float32) continue;
    edge.constant = edge.constant.to(dtype);
    edge.dtype = dtype;
    ++count;
  }
  return count;
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
