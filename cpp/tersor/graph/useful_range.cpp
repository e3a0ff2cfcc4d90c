#include "tersor/graph/useful_range.h"

#include <algorithm>
#include <limits>

namespace tersor::graph {
namespace {

using quantization::Range;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Range kAll{-kInfinity, kInfinity};

// Operators whose result holds values of their inputs and nothing between them: clamping before is
// clamping after. Averages and interpolations share parameters with their inputs, too, but mix.
bool copies(Op op) {
  return op == Op::reshape || op == Op::transpose || op == Op::slice || op == Op::concat ||
         op == Op::pad || op == Op::max_pool || op == Op::gather;
}

Range hard_sigmoid_range(const Attributes& attributes) {
  const double alpha = attributes.real("alpha"), beta = attributes.real("beta");
  if (!(alpha > 0)) return kAll;
  return {static_cast<float>(-beta / alpha), static_cast<float>((1 - beta) / alpha)};
}

Range read_by(const Node& node) {
  switch (node.op) {
    case Op::hard_sigmoid:
      return hard_sigmoid_range(node.attributes);
    case Op::hard_swish:
      return {-3, kInfinity};
    case Op::relu:
      return {0, kInfinity};
    case Op::clip:
      return {static_cast<float>(node.attributes.real("min")),
              static_cast<float>(node.attributes.real("max"))};
    case Op::sigmoid:
      return {-6.25f, 6.25f};
    case Op::tanh:
      return {-3.13f, 3.13f};
    case Op::silu:
      return {-8, kInfinity};
    default:
      return kAll;
  }
}

}  // namespace

Range useful_range(const Graph& graph, const Placement& placement, const EdgeGroup& group) {
  const auto consumers = graph.consumers();
  const auto in_group = [&](EdgeId id) {
    return std::find(group.edges.begin(), group.edges.end(), id) != group.edges.end();
  };
  Range needed{kInfinity, -kInfinity};
  for (EdgeId id : group.edges) {
    if (std::find(graph.outputs().begin(), graph.outputs().end(), id) != graph.outputs().end()) {
      return kAll;
    }
    for (NodeId n : consumers[static_cast<size_t>(id)]) {
      const Node& node = graph.node(n);
      if (copies(node.op) && in_group(node.outputs[0])) continue;
      if (!placement.nodes[static_cast<size_t>(n)].quantized) return kAll;
      const Range range = read_by(node);
      needed = {std::min(needed.lo, range.lo), std::max(needed.hi, range.hi)};
    }
  }
  return needed.lo <= needed.hi ? needed : kAll;
}

}  // namespace tersor::graph
