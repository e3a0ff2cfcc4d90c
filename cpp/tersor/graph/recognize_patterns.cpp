// Frameworks write some operators as several: these matchers put them together again.
#include <cmath>
#include <optional>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

bool close(double a, double b) { return std::fabs(a - b) <= 1e-5 * std::fabs(b); }

// The other operand of a binary node with one scalar constant: op(x, value) in either order.
std::optional<EdgeId> with_scalar(const Graph& graph, const Node& node, double value) {
  if (node.inputs.size() != 2) return std::nullopt;
  for (size_t side = 0; side < 2; ++side) {
    double v;
    if (scalar_value(graph, node.inputs[1 - side], &v) && close(v, value) &&
        (node.op == Op::add || node.op == Op::mul || side == 0)) {
      return node.inputs[side];
    }
  }
  return std::nullopt;
}

bool plain(const Node& node) {
  return !node.attributes.has("activation") || node.attributes.text("activation") == "none";
}

// x / value or x * (1 / value).
std::optional<EdgeId> divided_by(const Graph& graph, const Node& node, double value) {
  if (!plain(node)) return std::nullopt;
  if (node.op == Op::div) return with_scalar(graph, node, value);
  if (node.op == Op::mul) return with_scalar(graph, node, 1 / value);
  return std::nullopt;
}

class Matcher {
 public:
  explicit Matcher(Graph& graph) : graph_(graph), links_(graph) {}

  // Rewrites the first pattern that ends in `node`; the caller makes a new matcher after each
  // success.
  bool apply(NodeId id) {
    return matmul_to_dense(id) || hard_sigmoid(id) || hard_swish(id) || silu(id) || gelu(id);
  }

 private:
  const Node* maker(EdgeId edge) const {
    const NodeId id = links_.maker(edge);
    return id < 0 ? nullptr : &graph_.node(id);
  }

  void replace(NodeId id, Op op, std::vector<EdgeId> inputs, Attributes attributes) {
    Node node = graph_.node(id);
    node.op = op;
    node.inputs = std::move(inputs);
    std::vector<EdgeType> types;
    for (EdgeId e : node.inputs) types.push_back({graph_.edge(e).dtype, graph_.edge(e).shape});
    complete_attributes(op, attributes, types);
    node.attributes = std::move(attributes);
    graph_.node(id) = std::move(node);
  }

  bool matmul_to_dense(NodeId id) {
    const Node node = graph_.node(id);
    if (node.op != Op::matmul) return false;
    const Edge b = graph_.edge(node.inputs[1]);
    if (!b.is_constant() || b.shape.size() != 2 || b.qparams) return false;
    const EdgeId w = graph_.add_constant(b.name, b.constant.transposed({1, 0}), b.origin);
    replace(id, Op::dense, {node.inputs[0], w}, {});
    return true;
  }

  // clip(x + 3, 0, 6), as clip or fused into the add.
  std::optional<EdgeId> shifted_relu6(EdgeId edge) const {
    const Node* top = maker(edge);
    if (!top) return std::nullopt;
    if (top->op == Op::add && top->attributes.text("activation") == "relu6")
      return with_scalar(graph_, *top, 3);
    if (top->op != Op::clip || top->attributes.real("min") != 0 ||
        top->attributes.real("max") != 6) {
      return std::nullopt;
    }
    const Node* add = maker(top->inputs[0]);
    return add && add->op == Op::add && plain(*add) ? with_scalar(graph_, *add, 3) : std::nullopt;
  }

  bool hard_sigmoid(NodeId id) {
    const auto top = divided_by(graph_, graph_.node(id), 6);
    const auto x = top ? shifted_relu6(*top) : std::nullopt;
    if (!x) return false;
    replace(id, Op::hard_sigmoid, {*x}, {});
    return true;
  }

  bool hard_swish(NodeId id) {
    const Node node = graph_.node(id);
    // x * relu6(x + 3) / 6
    if (const auto product = divided_by(graph_, node, 6)) {
      const Node* mul = maker(*product);
      if (mul && mul->op == Op::mul && plain(*mul)) {
        for (size_t side = 0; side < 2; ++side) {
          const auto x = shifted_relu6(mul->inputs[side]);
          if (x && *x == mul->inputs[1 - side]) {
            replace(id, Op::hard_swish, {*x}, {});
            return true;
          }
        }
      }
    }
    if (node.op != Op::mul || !plain(node)) return false;
    for (size_t side = 0; side < 2; ++side) {  // x * hard_sigmoid(x)
      const Node* gate = maker(node.inputs[side]);
      if (gate && gate->op == Op::hard_sigmoid && gate->inputs[0] == node.inputs[1 - side] &&
          close(gate->attributes.real("alpha"), 1.0 / 6) &&
          close(gate->attributes.real("beta"), 0.5)) {
        replace(id, Op::hard_swish, {gate->inputs[0]}, {});
        return true;
      }
    }
    return false;
  }

  bool silu(NodeId id) {
    const Node node = graph_.node(id);
    if (node.op != Op::mul || !plain(node)) return false;
    for (size_t side = 0; side < 2; ++side) {
      const Node* gate = maker(node.inputs[side]);
      if (gate && gate->op == Op::sigmoid && gate->inputs[0] == node.inputs[1 - side]) {
        replace(id, Op::silu, {gate->inputs[0]}, {});
        return true;
      }
    }
    return false;
  }

  // Factors of a product of scalars and edges, through nested multiplications that nobody else
  // uses.
  void factors(EdgeId edge, bool top, double* scalar, std::vector<EdgeId>* edges) const {
    const Node* node = maker(edge);
    double v;
    if (scalar_value(graph_, edge, &v)) {
      *scalar *= v;
    } else if (node && node->op == Op::mul && plain(*node) &&
               (top || links_.only_user(edge) >= 0)) {
      factors(node->inputs[0], false, scalar, edges);
      factors(node->inputs[1], false, scalar, edges);
    } else {
      edges->push_back(edge);
    }
  }

  // 0.5 * x * (1 + erf(x / sqrt(2))), factors in any order.
  bool gelu(NodeId id) {
    const Node node = graph_.node(id);
    if (node.op != Op::mul || !plain(node)) return false;
    double scalar = 1;
    std::vector<EdgeId> edges;
    factors(node.outputs[0], true, &scalar, &edges);
    if (edges.size() != 2 || !close(scalar, 0.5)) return false;
    for (size_t side = 0; side < 2; ++side) {
      const Node* add = maker(edges[side]);
      if (!add || add->op != Op::add || !plain(*add)) continue;
      const auto inside = with_scalar(graph_, *add, 1);
      const Node* erf = inside ? maker(*inside) : nullptr;
      const Node* scaled = erf && erf->op == Op::erf ? maker(erf->inputs[0]) : nullptr;
      const auto x = scaled ? divided_by(graph_, *scaled, std::sqrt(2.0)) : std::nullopt;
      if (x && *x == edges[1 - side]) {
        replace(id, Op::gelu, {*x}, {});
        return true;
      }
    }
    return false;
  }

  Graph& graph_;
  Links links_;
};

}  // namespace

int recognize_patterns(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    if (Matcher(graph).apply(static_cast<NodeId>(i))) ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace tersor::graph
