// A network that was quantized elsewhere arrives as float operators between dequantize and
// quantize. Here the operators move onto the codes: the edges carry the parameters and nothing is
// rounded anew.
#include <algorithm>
#include <cmath>
#include <optional>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"
#include "tersor/graph/weight_codes.h"

namespace tersor::graph {
namespace {

bool same_codes(const QParams& a, const QParams& b) {
  return a.scale == b.scale && a.zero_point == b.zero_point && a.bits == b.bits &&
         a.is_signed == b.is_signed;
}

// Operators whose result is a choice among their input's values: they may change their place with a
// dequantize.
bool only_moves(const Node& node) {
  switch (node.op) {
    case Op::max_pool:
    case Op::reduce_max:
    case Op::concat:
    case Op::slice:
    case Op::gather:
    case Op::reshape:
    case Op::transpose:
    case Op::expand:
    case Op::identity:
      return true;
    case Op::pad:
      return node.attributes.text("mode") != "constant" || node.attributes.real("value") == 0;
    case Op::resize:
      return node.attributes.text("mode") == "nearest";
    default:
      return false;
  }
}

class Folder {
 public:
  explicit Folder(Graph& graph) : graph_(graph), links_(graph) {}

  bool apply(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.op == Op::quantize) return requantize(id);
    if (node.op == Op::dequantize || node.op == Op::requantize) return false;
    if (graph_.edge(node.outputs[0]).qparams) return false;
    return onto_codes(id) || ahead_of_dequantize(id);
  }

 private:
  Edge& edge(EdgeId id) { return graph_.edge(id); }

  // The codes behind a float edge; kNoEdge when it is not dequantized.
  EdgeId codes_of(EdgeId id) const {
    const NodeId maker = links_.maker(id);
    return maker >= 0 && graph_.node(maker).op == Op::dequantize ? graph_.node(maker).inputs[0]
                                                                 : kNoEdge;
  }

  EdgeId activation_codes(EdgeId id) {
    const EdgeId codes = codes_of(id);
    return codes != kNoEdge && edge(codes).dtype == DType::int8 && edge(codes).qparams->per_tensor()
               ? codes
               : kNoEdge;
  }

  // quantize(dequantize(x)): nothing, or a change of parameters.
  bool requantize(NodeId id) {
    Node& node = graph_.node(id);
    const EdgeId codes = activation_codes(node.inputs[0]);
    if (codes == kNoEdge) return false;
    const EdgeId out = node.outputs[0];
    if (same_codes(*edge(codes).qparams, *edge(out).qparams)) {
      if (edge(codes).is_constant() || links_.is_output(out) || links_.users(out).empty())
        return false;
      graph_.replace_uses(out, codes);
    } else {
      node.op = Op::requantize;
      node.attributes = {};  // how a quantize breaks ties
      node.inputs[0] = codes;
    }
    return true;
  }

  // Inputs as codes that the quantized operator accepts for an output of parameters `q`.
  std::optional<std::vector<EdgeId>> code_inputs(const Node& node, const QParams& q) {
    const QuantConstraint constraint = spec_of(node.op).constraint;
    std::vector<EdgeId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const EdgeId id = node.inputs[i];
      if (node.op == Op::gather && i == 1) {
        inputs.push_back(id);
        continue;
      }
      if (id == kNoEdge) return std::nullopt;
      EdgeId codes = kNoEdge;
      if (constraint == QuantConstraint::affine && node.op != Op::matmul && i == 1) {
        codes = weight_codes(id, node.op == Op::conv_transpose ? 1 : 0);
      } else if (constraint == QuantConstraint::affine && i == 2) {
        codes = bias_codes(id, inputs[0], inputs[1]);
      } else {
        codes = activation_codes(id);
        if (codes != kNoEdge && constraint == QuantConstraint::same &&
            !same_codes(*edge(codes).qparams, q) && !only_moves(node)) {
          return std::nullopt;
        }
      }
      if (codes == kNoEdge) return std::nullopt;
      inputs.push_back(codes);
    }
    return inputs;
  }

  EdgeId weight_codes(EdgeId id, int output_axis) {
    const EdgeId codes = codes_of(id);
    if (codes == kNoEdge || !edge(codes).is_constant() || edge(codes).dtype != DType::int8)
      return kNoEdge;
    const QParams& q = *edge(codes).qparams;
    const bool symmetric =
        std::all_of(q.zero_point.begin(), q.zero_point.end(), [](int32_t z) { return z == 0; });
    const bool fits = (q.per_tensor() || q.axis == output_axis) && q.axis_count == 1;
    return symmetric && fits && q.group_size == 0 ? codes : kNoEdge;
  }

  // A bias must be int32 at input scale * weight scale; a float one is rounded to that.
  EdgeId bias_codes(EdgeId id, EdgeId input, EdgeId weight) {
    const std::vector<float>& sw = edge(weight).qparams->scale;
    const float sx = edge(input).qparams->scale[0];
    QParams q;
    for (float s : sw) q.scale.push_back(sx * s);
    q.zero_point.assign(sw.size(), 0);
    q.bits = 32;
    q.axis = sw.size() > 1 ? 0 : -1;
    const EdgeId codes = codes_of(id);
    if (codes != kNoEdge) {
      const Edge& given = edge(codes);
      if (!given.is_constant() || given.dtype != DType::int32 ||
          given.qparams->scale.size() != sw.size())
        return kNoEdge;
      for (size_t c = 0; c < sw.size(); ++c) {
        if (std::fabs(given.qparams->scale[c] - q.scale[c]) > 1e-5f * q.scale[c]) return kNoEdge;
      }
      edge(codes).qparams->bits = 32;
      return codes;
    }
    if (!edge(id).is_constant() || edge(id).dtype != DType::float32) return kNoEdge;
    const Tensor real = edge(id).constant;
    Tensor rounded(DType::int32, real.shape());
    for (int64_t c = 0; c < real.size(); ++c) {
      const double code =
          std::nearbyint(real.as<float>()[c] /
                         static_cast<double>(q.scale[q.axis < 0 ? 0 : static_cast<size_t>(c)]));
      if (!(std::fabs(code) < 2147483647.0)) return kNoEdge;
      rounded.as<int32_t>()[c] = static_cast<int32_t>(code);
    }
    const EdgeId added = graph_.add_constant(edge(id).name, std::move(rounded), edge(id).origin);
    edge(added).qparams = std::move(q);
    return added;
  }

  // dequantize -> operator -> quantize becomes the operator on codes.
  bool onto_codes(NodeId id) {
    const EdgeId out = graph_.node(id).outputs[0];
    const NodeId after = links_.only_user(out);
    if (after < 0 || graph_.node(after).op != Op::quantize) return false;
    const Op op = graph_.node(id).op;
    const QuantConstraint constraint = spec_of(op).constraint;
    if (constraint == QuantConstraint::none) return false;
    const EdgeId codes = graph_.node(after).outputs[0];
    const QParams q = *edge(codes).qparams;
    if (edge(codes).dtype != DType::int8) return false;
    if (constraint == QuantConstraint::fixed) {
      QParams expected = q;
      expected.scale = {op == Op::tanh ? 1.0f / 128 : 1.0f / 256};
      expected.zero_point = {op == Op::tanh ? 0 : -128};
      if (!same_codes(expected, q)) return false;
    }
    auto inputs = code_inputs(graph_.node(id), q);
    if (!inputs) return false;
    if (constraint == QuantConstraint::same) {
      for (size_t i = 0; i < inputs->size(); ++i) {
        if (op == Op::gather && i == 1) continue;
        if (!same_codes(*edge((*inputs)[i]).qparams, q))
          (*inputs)[i] = requantized(id, (*inputs)[i], q);
      }
    }
    NodeId self = id;  // requantized() puts nodes in front
    while (graph_.node(self).outputs[0] != out) ++self;
    graph_.node(self).inputs = std::move(*inputs);
    edge(out).dtype = DType::int8;
    edge(out).qparams = q;
    take_over(graph_, codes, out);
    return true;
  }

  EdgeId requantized(NodeId before, EdgeId codes, const QParams& q) {
    Edge changed = edge(codes);
    changed.name += ":requantized";
    changed.constant = {};
    changed.qparams = q;
    const EdgeId id = graph_.add_edge(std::move(changed));
    Node node;
    node.op = Op::requantize;
    node.name = edge(id).name;
    node.inputs = {codes};
    node.outputs = {id};
    graph_.insert_node(before, std::move(node));
    return id;
  }

  // operator(dequantize(x)) = dequantize(operator(x)) where the operator only moves values.
  bool ahead_of_dequantize(NodeId id) {
    const Node node = graph_.node(id);
    if (!only_moves(node)) return false;
    const EdgeId first = activation_codes(node.inputs[0]);
    if (first == kNoEdge) return false;
    const QParams q = *edge(first).qparams;
    auto inputs = code_inputs(node, q);
    if (!inputs) return false;
    for (size_t i = 0; i < inputs->size(); ++i) {
      if (node.op == Op::gather && i == 1) continue;
      if (!same_codes(*edge((*inputs)[i]).qparams, q)) return false;
    }
    const EdgeId out = node.outputs[0];
    Edge codes = edge(out);
    codes.name += ":codes";
    codes.dtype = DType::int8;
    codes.qparams = q;
    const EdgeId moved = graph_.add_edge(std::move(codes));
    graph_.node(id).inputs = std::move(*inputs);
    graph_.node(id).outputs = {moved};
    Node dequantize;
    dequantize.op = Op::dequantize;
    dequantize.name = edge(moved).name + ":real";
    dequantize.inputs = {moved};
    dequantize.outputs = {out};
    graph_.insert_node(id + 1, std::move(dequantize));
    return true;
  }

  Graph& graph_;
  Links links_;
};

// The reals of int32 codes.
Tensor wide_values(const Edge& codes) {
  const QParams& q = *codes.qparams;
  Tensor real = codes.constant.to(DType::float32);
  const quantization::AffineShape layout = q.layout(codes.shape);
  for (int64_t k = 0; k < real.size(); ++k) {
    const size_t s = layout.scale_of(static_cast<size_t>(k));
    real.as<float>()[k] = (real.as<float>()[k] - static_cast<float>(q.zero_point[s])) * q.scale[s];
  }
  return real;
}

// Is `real`, the dequantized form of a constant, nothing but the weight of float operators?
bool only_weight(const Graph& graph, const Links& links, EdgeId real) {
  if (links.is_output(real) || links.users(real).empty()) return false;
  for (const NodeId id : links.users(real)) {
    const Node& node = graph.node(id);
    if (!takes_weight_codes(node.op) || node.inputs[1] != real || node.inputs[0] == real ||
        (node.inputs.size() > 2 && node.inputs[2] == real) ||
        graph.edge(node.inputs[0]).dtype != DType::float32 ||
        graph.edge(node.outputs[0]).dtype != DType::float32) {
      return false;
    }
  }
  return true;
}

// Codes of a constant that stayed between float operators: those of a weight stay codes
// (weight_codes.h), others become the reals that they stand for.
int unfold_constants(Graph& graph) {
  int count = 0;
  const Links links(graph);
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node node = graph.node(static_cast<NodeId>(i));
    if (node.op != Op::dequantize || !graph.edge(node.inputs[0]).is_constant()) continue;
    const Edge& codes = graph.edge(node.inputs[0]);
    const bool small = codes.dtype == DType::int8 || codes.dtype == DType::uint8;
    if (small && codes.qparams->bits <= 8 && only_weight(graph, links, node.outputs[0])) {
      graph.replace_uses(node.outputs[0], node.inputs[0]);
      ++count;
      continue;
    }
    Tensor real = small ? real_values(codes.constant, *codes.qparams) : wide_values(codes);
    const std::string name = graph.edge(node.outputs[0]).name, origin = codes.origin;
    graph.replace_uses(node.outputs[0], graph.add_constant(name, std::move(real), origin));
    ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace

int fold_quantization(Graph& graph) {
  int count = 0;
  for (bool changed = true; changed;) {
    changed = false;
    std::optional<Folder> folder;
    for (size_t i = 0; i < graph.nodes().size(); ++i) {
      if (!folder) folder.emplace(graph);
      if (!folder->apply(static_cast<NodeId>(i))) continue;
      folder.reset();  // its links are old now
      changed = true;
      ++count;
    }
  }
  if (count) remove_dead_nodes(graph);
  return count + unfold_constants(graph);
}

}  // namespace tersor::graph
