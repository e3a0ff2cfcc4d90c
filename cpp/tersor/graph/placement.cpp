#include "tersor/graph/placement.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "tersor/base/error.h"
#include "tersor/graph/name_pattern.h"

namespace tersor::graph {
namespace {

constexpr int64_t kInt32Limit = int64_t{1} << 31;
constexpr int64_t kBiasLimit = int64_t{1} << 30;

// Leaky ReLU under another name, which its int8 twin is.
bool has_one_slope(const Graph& graph, const Node& node) {
  if (node.op != Op::prelu) return false;
  const Edge& slope = graph.edge(node.inputs[1]);
  return slope.is_constant() && slope.dtype == DType::float32 && slope.constant.size() == 1;
}

bool is_layer(Op op) { return op == Op::conv || op == Op::conv_transpose || op == Op::dense; }

class Placer {
 public:
  Placer(const Graph& graph, const std::vector<LayerRule>& rules)
      : graph_(graph), rules_(rules), used_(rules.size(), false), parent_(graph.edges().size()) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }

  Placement run() {
    for (const Edge& edge : graph_.edges()) {
      TERSOR_CHECK_AS(GraphError, !edge.qparams,
                      "place_quantizers: graph must be float, got quantized edge ", edge.name);
    }
    for (const LayerRule& rule : rules_) {
      TERSOR_CHECK(rule.values == "int8" || rule.values == "fp32",
                   "place_quantizers: values must be int8 or fp32, got '", rule.values, "' for ",
                   rule.pattern);
    }
    for (const Node& node : graph_.nodes()) {
      const std::string reason = reason_for_float(node);
      placement_.nodes.push_back({reason.empty(), reason});
    }
    for (size_t r = 0; r < rules_.size(); ++r) {
      TERSOR_CHECK(used_[r], "place_quantizers: pattern must match a layer, got '",
                   rules_[r].pattern, "'", hint_for(graph_, rules_[r].pattern));
    }
    drop_islands();
    group_edges();
    return std::move(placement_);
  }

 private:
  // The last rule that matches, or nullptr.
  const LayerRule* rule_for(const Node& node) {
    const LayerRule* found = nullptr;
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (!matches_node(graph_, node, rules_[r].pattern)) continue;
      used_[r] = true;
      found = &rules_[r];
    }
    return found;
  }

  std::string reason_for_float(const Node& node) {
    const LayerRule* rule = rule_for(node);
    if (rule && rule->values == "fp32") return message("the recipe says so (", rule->pattern, ")");
    const OperatorSpec& spec = spec_of(node.op);
    if (node.op == Op::prelu && !has_one_slope(graph_, node)) {
      return "prelu has no int8 form but for one constant slope";
    }
    const bool none = spec.constraint == QuantConstraint::none && node.op != Op::prelu;
    if (none || node.op == Op::quantize || node.op == Op::requantize) {
      return message(spec.name, " has no int8 form");
    }
    for (size_t i : data_inputs(node)) {
      if (graph_.edge(node.inputs[i]).dtype != DType::float32) return "its input is not float32";
    }
    if (is_layer(node.op)) {
      if (!graph_.edge(node.inputs[1]).is_constant()) return "its weight is not constant";
      if (node.inputs.size() > 2 && node.inputs[2] != kNoEdge &&
          !graph_.edge(node.inputs[2]).is_constant()) {
        return "its bias is not constant";
      }
      const int64_t taps = taps_of(graph_, node);
      if (taps > (kInt32Limit - kBiasLimit - 1) / (255 * 127)) {
        return message("sums of ", taps, " products could overflow 32 bits");
      }
      return "";
    }
    if (node.op == Op::gather && graph_.edge(node.inputs[0]).is_constant()) {
      return "it looks up a constant table";
    }
    if (node.op == Op::matmul && !rule) return "both operands are activations";
    if (node.op == Op::softmax && !rule) return "softmax needs float accuracy";
    return "";
  }

  // Quantized nodes joined through edges form islands; one without a layer is not worth its
  // borders.
  void drop_islands() {
    std::vector<int> root(graph_.nodes().size());
    std::iota(root.begin(), root.end(), 0);
    const std::function<int(int)> find = [&](int i) {
      return root[static_cast<size_t>(i)] == i
                 ? i
                 : root[static_cast<size_t>(i)] = find(root[static_cast<size_t>(i)]);
    };
    std::vector<int> someone(graph_.edges().size(), -1);  // a quantized node that touches the edge
    for (size_t n = 0; n < root.size(); ++n) {
      if (!placement_.nodes[n].quantized) continue;
      const Node& node = graph_.nodes()[n];
      std::vector<EdgeId> touched = node.outputs;
      for (size_t i : data_inputs(node)) touched.push_back(node.inputs[i]);
      for (EdgeId id : touched) {
        if (graph_.edge(id).is_constant()) continue;
        int& other = someone[static_cast<size_t>(id)];
        if (other >= 0) root[static_cast<size_t>(find(static_cast<int>(n)))] = find(other);
        other = static_cast<int>(n);
      }
    }
    std::set<int> with_layer;
    for (size_t n = 0; n < root.size(); ++n) {
      const Op op = graph_.nodes()[n].op;
      if (placement_.nodes[n].quantized && (is_layer(op) || op == Op::matmul)) {
        with_layer.insert(find(static_cast<int>(n)));
      }
    }
    for (size_t n = 0; n < root.size(); ++n) {
      if (placement_.nodes[n].quantized && !with_layer.count(find(static_cast<int>(n)))) {
        placement_.nodes[n] = {false, "no int8 layer is joined to it"};
      }
    }
  }

  EdgeId find(EdgeId id) {
    auto& parent = parent_[static_cast<size_t>(id)];
    return parent == id ? id : parent = find(parent);
  }

  const std::optional<QParams>& fixed_of(EdgeId id) {
    return fixed_[static_cast<size_t>(find(id))];
  }

  void unite(EdgeId a, EdgeId b) {
    a = find(a);
    b = find(b);
    if (a == b) return;
    if (b < a) std::swap(a, b);
    if (!fixed_[static_cast<size_t>(a)])
      fixed_[static_cast<size_t>(a)] = fixed_[static_cast<size_t>(b)];
    parent_[static_cast<size_t>(b)] = a;
  }

  // Unites the output with its inputs; true when it holds nothing but values of theirs.
  bool unite_copies(const Node& node) {
    std::vector<EdgeId> inputs;
    for (size_t i : data_inputs(node)) inputs.push_back(node.inputs[i]);
    const EdgeId out = node.outputs[0];
    const bool all_equal = std::all_of(inputs.begin(), inputs.end(), [&](EdgeId id) {
      return fixed_of(id) == fixed_of(inputs[0]);
    });
    for (EdgeId id : inputs) {
      if (all_equal || !fixed_of(id)) unite(out, id);
    }
    return all_equal && (node.op != Op::pad || node.attributes.real("value") == 0);
  }

  void group_edges() {
    const size_t count = graph_.edges().size();
    fixed_.resize(count);
    std::vector<bool> coded(count, false), copied(count, false);
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      if (!placement_.nodes[n].quantized) continue;
      const Node& node = graph_.nodes()[n];
      const EdgeId out = node.outputs[0];
      coded[static_cast<size_t>(out)] = true;
      for (size_t i : data_inputs(node)) coded[static_cast<size_t>(node.inputs[i])] = true;
      const QuantConstraint constraint = spec_of(node.op).constraint;
      if (constraint == QuantConstraint::fixed) {
        QParams q;
        q.scale = {node.op == Op::tanh ? 1.0f / 128 : 1.0f / 256};
        q.zero_point = {node.op == Op::tanh ? 0 : -128};
        fixed_[static_cast<size_t>(out)] = q;
      } else if (constraint == QuantConstraint::same) {
        copied[static_cast<size_t>(out)] = unite_copies(node);
      }
    }
    placement_.group_of.assign(count, -1);
    for (size_t e = 0; e < count; ++e) {
      if (!coded[e]) continue;
      const EdgeId root = find(static_cast<EdgeId>(e));
      int& group = placement_.group_of[static_cast<size_t>(root)];
      if (group < 0) {
        group = static_cast<int>(placement_.groups.size());
        placement_.groups.push_back({{}, {}, fixed_of(root)});
      }
      placement_.group_of[e] = group;
      EdgeGroup& members = placement_.groups[static_cast<size_t>(group)];
      members.edges.push_back(static_cast<EdgeId>(e));
      if (!copied[e]) members.sources.push_back(static_cast<EdgeId>(e));
    }
  }

  const Graph& graph_;
  const std::vector<LayerRule>& rules_;
  std::vector<bool> used_;
  std::vector<EdgeId> parent_;
  std::vector<std::optional<QParams>> fixed_;
  Placement placement_;
};

}  // namespace

std::vector<size_t> data_inputs(const Node& node) {
  size_t count = node.inputs.size();
  if (is_layer(node.op) || node.op == Op::gather || node.op == Op::prelu) count = 1;
  std::vector<size_t> indices;
  for (size_t i = 0; i < count; ++i) {
    if (node.inputs[i] != kNoEdge) indices.push_back(i);
  }
  return indices;
}

int64_t taps_of(const Graph& graph, const Node& node) {
  const Shape& w = graph.edge(node.inputs[1]).shape;
  const int64_t all = element_count(w);
  if (node.op != Op::conv_transpose) return all / std::max<int64_t>(1, w[0]);
  return all / std::max<int64_t>(1, w[1]) / std::max<int64_t>(1, node.attributes.integer("groups"));
}

Placement place_quantizers(const Graph& graph, const std::vector<LayerRule>& rules) {
  return Placer(graph, rules).run();
}

std::vector<EdgeId> calibration_edges(const Graph& graph, const Placement& placement) {
  std::vector<EdgeId> edges;
  for (const EdgeGroup& group : placement.groups) {
    if (group.fixed) continue;
    for (EdgeId id : group.sources) {
      if (!graph.edge(id).is_constant()) edges.push_back(id);
    }
  }
  return edges;
}

std::vector<EdgeId> layer_inputs(const Graph& graph, const Placement& placement) {
  std::set<EdgeId> edges;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (placement.nodes[n].quantized && is_layer(node.op)) edges.insert(node.inputs[0]);
  }
  return {edges.begin(), edges.end()};
}

}  // namespace tersor::graph
