#include "tersor/graph/fold_scale.h"

#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

// Into the constant itself when only one node uses it, else into a new one.
EdgeId store(Graph& graph, EdgeId old, Tensor value, const std::string& name,
             const std::string& origin) {
  if (old == kNoEdge || Links(graph).users(old).size() != 1)
    return graph.add_constant(name, std::move(value), origin);
  Edge& edge = graph.edge(old);
  edge.dtype = value.dtype();
  edge.shape = value.shape();
  edge.constant = std::move(value);
  return old;
}

}  // namespace

bool is_linear(Op op) { return op == Op::conv || op == Op::conv_transpose || op == Op::dense; }

int64_t output_channels(const Graph& graph, const Node& node) {
  const Shape& w = graph.edge(node.inputs[1]).shape;
  return node.op == Op::conv_transpose ? w[1] * node.attributes.integer("groups") : w[0];
}

bool can_fold_scale(const Graph& graph, const Node& node) {
  if (!is_linear(node.op) || node.attributes.text("activation") != "none") return false;
  const bool bias = node.inputs.size() > 2 && node.inputs[2] != kNoEdge;
  const Edge& w = graph.edge(node.inputs[1]);
  if (!w.is_constant() || !is_float(w.dtype) || w.qparams) return false;
  return !bias ||
         (graph.edge(node.inputs[2]).is_constant() && is_float(graph.edge(node.inputs[2]).dtype));
}

void fold_scale(Graph& graph, NodeId id, const std::vector<float>& scale,
                const std::vector<float>& shift) {
  const Node node = graph.node(id);
  const Edge w_edge = graph.edge(node.inputs[1]);
  const Shape& shape = w_edge.shape;
  const int64_t channels = output_channels(graph, node);

  Tensor w = w_edge.constant.to(DType::float32);
  if (node.op ==
      Op::conv_transpose) {  // [I, O / groups, k...]: rows belong to group i / (I / groups)
    const int64_t per_group = shape[1];
    const int64_t inner = shape[0] && shape[1] ? w.size() / (shape[0] * shape[1]) : 0;
    const int64_t rows_per_group = shape[0] / node.attributes.integer("groups");
    for (int64_t i = 0; i < shape[0]; ++i) {
      for (int64_t o = 0; o < per_group; ++o) {
        const float s = scale[static_cast<size_t>(i / rows_per_group * per_group + o)];
        float* row = w.as<float>() + (i * per_group + o) * inner;
        for (int64_t k = 0; k < inner; ++k) row[k] *= s;
      }
    }
  } else {
    const int64_t inner = channels ? w.size() / channels : 0;
    for (int64_t c = 0; c < channels; ++c) {
      float* row = w.as<float>() + c * inner;
      for (int64_t k = 0; k < inner; ++k) row[k] *= scale[static_cast<size_t>(c)];
    }
  }

  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNoEdge;
  Tensor b = has_bias ? graph.edge(node.inputs[2]).constant.to(DType::float32)
                      : Tensor::zeros(DType::float32, {channels});
  for (int64_t c = 0; c < channels; ++c) {
    const auto i = static_cast<size_t>(c);
    b.as<float>()[c] = b.as<float>()[c] * scale[i] + shift[i];
  }
  const std::string bias_name = has_bias ? graph.edge(node.inputs[2]).name : node.name + ".bias";
  const std::string bias_origin = has_bias ? graph.edge(node.inputs[2]).origin : "";
  const EdgeId new_w = store(graph, node.inputs[1], std::move(w), w_edge.name, w_edge.origin);
  const EdgeId new_b =
      store(graph, has_bias ? node.inputs[2] : kNoEdge, std::move(b), bias_name, bias_origin);
  graph.node(id).inputs = {node.inputs[0], new_w, new_b};
}

}  // namespace tersor::graph
