#include <cmath>

#include "tersor/graph/fold_scale.h"
#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

struct ScaleShift {
  std::vector<float> scale, shift;
};

// y = gamma * (x - mean) / sqrt(var + epsilon) + beta, in double: small variances cancel badly in
// float.
bool scale_shift_of(const Graph& graph, const Node& node, ScaleShift* out) {
  for (size_t i = 1; i < 5; ++i) {
    if (!graph.edge(node.inputs[i]).is_constant()) return false;
  }
  const auto values = [&](size_t i) { return float_values(graph.edge(node.inputs[i]).constant); };
  const std::vector<float> gamma = values(1), beta = values(2), mean = values(3), var = values(4);
  const double epsilon = node.attributes.real("epsilon");
  for (size_t c = 0; c < gamma.size(); ++c) {
    const double s = gamma[c] / std::sqrt(static_cast<double>(var[c]) + epsilon);
    out->scale.push_back(static_cast<float>(s));
    out->shift.push_back(static_cast<float>(beta[c] - s * mean[c]));
  }
  return true;
}

// Without a linear operator before it: a 1x1 depthwise convolution, which quantizes per channel and
// takes an activation; rank 2 becomes x * scale + shift.
EdgeId replace_alone(Graph& graph, const Node& node, const ScaleShift& s) {
  const EdgeId x = node.inputs[0];
  const auto channels = static_cast<int64_t>(s.scale.size());
  const size_t rank = graph.edge(x).shape.size();
  const auto tensor = [](const std::vector<float>& v, Shape shape) {
    return Tensor::from(DType::float32, std::move(shape), v.data());
  };
  const std::string origin = graph.edge(node.inputs[1]).origin;
  if (rank == 2) {
    const EdgeId scale =
        graph.add_constant(node.name + ".scale", tensor(s.scale, {channels}), origin);
    const EdgeId shift = graph.add_constant(node.name + ".shift", tensor(s.shift, {channels}),
                                            graph.edge(node.inputs[2]).origin);
    const EdgeId scaled = graph.add_node(Op::mul, {x, scale}, {}, node.name + ".mul");
    return graph.add_node(Op::add, {scaled, shift}, {}, node.name + ".add");
  }
  Shape shape(rank, 1);
  shape[0] = channels;
  const EdgeId w = graph.add_constant(node.name + ".scale", tensor(s.scale, shape), origin);
  const EdgeId b = graph.add_constant(node.name + ".shift", tensor(s.shift, {channels}),
                                      graph.edge(node.inputs[2]).origin);
  Attributes attributes;
  attributes.set("groups", channels);
  return graph.add_node(Op::conv, {x, w, b}, attributes, node.name + ".depthwise");
}

}  // namespace

int fold_batch_norm(Graph& graph) {
  int count = 0;
  const size_t nodes = graph.nodes().size();
  std::vector<bool> dead(nodes, false);
  for (size_t i = 0; i < nodes; ++i) {
    const Node node = graph.node(static_cast<NodeId>(i));
    ScaleShift s;
    if (node.op != Op::batch_norm || !scale_shift_of(graph, node, &s)) continue;
    const Links links(graph);
    const NodeId before = links.maker(node.inputs[0]);
    if (before >= 0 && links.only_user(node.inputs[0]) >= 0 &&
        can_fold_scale(graph, graph.node(before))) {
      fold_scale(graph, before, s.scale, s.shift);
      take_over(graph, node.outputs[0], node.inputs[0]);
    } else {
      const EdgeId y = replace_alone(graph, node, s);
      take_over(graph, node.outputs[0], y);
    }
    dead[i] = true;
    ++count;
  }
  if (count) {
    dead.resize(graph.nodes().size(), false);
    graph.remove_nodes(dead);
    graph.sort_nodes();
  }
  return count;
}

}  // namespace tersor::graph
