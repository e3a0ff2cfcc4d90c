#include <cmath>
#include <functional>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

// A folded constant may not grow the network beyond this many bytes more than its operands held.
constexpr int64_t kMostGrowthBytes = 1 << 20;

Tensor binary(const Tensor& a, const Tensor& b, const Shape& shape,
              const std::function<float(float, float)>& f) {
  const Tensor fa = a.to(DType::float32), fb = b.to(DType::float32);
  Tensor y(DType::float32, shape);
  const auto offset_steps = [&](const Shape& s) {
    Shape steps(shape.size(), 0);
    const Shape strides = row_major_strides(s);
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] != 1) steps[i + shape.size() - s.size()] = strides[i];
    }
    return steps;
  };
  const Shape sa = offset_steps(a.shape()), sb = offset_steps(b.shape());
  Shape index(shape.size(), 0);
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t ia = 0, ib = 0;
    for (size_t d = 0; d < index.size(); ++d) {
      ia += index[d] * sa[d];
      ib += index[d] * sb[d];
    }
    y.as<float>()[i] = f(fa.as<float>()[ia], fb.as<float>()[ib]);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return y;
}

Tensor unary(const Tensor& x, const std::function<float(float)>& f) {
  Tensor y = x.to(DType::float32);
  for (int64_t i = 0; i < y.size(); ++i) y.as<float>()[i] = f(y.as<float>()[i]);
  return y;
}

Tensor evaluate(const Graph& graph, const Node& node) {
  const Tensor& x = graph.edge(node.inputs[0]).constant;
  const Shape& shape = graph.edge(node.outputs[0]).shape;
  switch (node.op) {
    case Op::identity:
      return x;
    case Op::reshape:
      return x.reshaped(shape);
    case Op::transpose:
      return x.transposed(node.attributes.integers("perm"));
    case Op::cast:
      return x.to(dtype_from_name(node.attributes.text("to")));
    default:
      break;
  }
  if (x.dtype() != DType::float32) return {};
  if (node.op == Op::neg) return unary(x, [](float v) { return -v; });
  if (node.op == Op::sqrt) return unary(x, [](float v) { return std::sqrt(v); });
  if (node.op == Op::exp) return unary(x, [](float v) { return std::exp(v); });
  if (node.inputs.size() != 2 || graph.edge(node.inputs[1]).dtype != DType::float32) return {};
  if (node.attributes.has("activation") && node.attributes.text("activation") != "none") return {};
  const Tensor& b = graph.edge(node.inputs[1]).constant;
  switch (node.op) {
    case Op::add:
      return binary(x, b, shape, [](float p, float q) { return p + q; });
    case Op::sub:
      return binary(x, b, shape, [](float p, float q) { return p - q; });
    case Op::mul:
      return binary(x, b, shape, [](float p, float q) { return p * q; });
    case Op::div:
      return binary(x, b, shape, [](float p, float q) { return p / q; });
    case Op::pow:
      return binary(x, b, shape, [](float p, float q) { return std::pow(p, q); });
    default:
      return {};
  }
}

}  // namespace

int fold_constants(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.node(static_cast<NodeId>(i));
    int64_t operand_bytes = 0;
    bool constant = true;
    for (EdgeId id : node.inputs) {
      constant =
          constant && id != kNoEdge && graph.edge(id).is_constant() && !graph.edge(id).qparams;
      if (constant) operand_bytes += static_cast<int64_t>(graph.edge(id).constant.size_bytes());
    }
    Edge& out = graph.edge(node.outputs[0]);
    // An expand to the open batch stays: its result is known only in a plan.
    if (!constant || out.is_constant() || (!out.shape.empty() && out.shape[0] == kBatch)) continue;
    const int64_t bytes = element_count(out.shape) * static_cast<int64_t>(size_of(out.dtype));
    if (bytes > operand_bytes + kMostGrowthBytes) continue;
    Tensor value = evaluate(graph, node);
    if (!value) continue;
    const EdgeId folded =
        graph.add_constant(out.name, std::move(value), graph.edge(node.inputs[0]).origin);
    take_over(graph, graph.node(static_cast<NodeId>(i)).outputs[0], folded);
    ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace tersor::graph
