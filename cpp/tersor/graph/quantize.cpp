#include "tersor/graph/quantize.h"

#include <algorithm>

#include "tersor/base/error.h"
#include "tersor/graph/quantize_weights.h"

namespace tersor::graph {
namespace {

constexpr quantization::QuantScheme kActivations{.bits = 8, .is_signed = true, .symmetric = false};

bool is_quantized_layer(const Placement& placement, const Node& node, size_t n) {
  return placement.nodes[n].quantized &&
         (node.op == Op::conv || node.op == Op::conv_transpose || node.op == Op::dense);
}

const QParams& qparams_of(const Placement& placement, const std::vector<QParams>& qparams,
                          EdgeId id) {
  return qparams[static_cast<size_t>(placement.group_of[static_cast<size_t>(id)])];
}

// Edge ids stay valid: a bias that only this node uses is replaced in place, otherwise one is
// appended.
void set_bias(Graph& graph, NodeId id, Tensor bias) {
  Node& node = graph.node(id);
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNoEdge;
  if (has_bias && graph.consumers()[static_cast<size_t>(node.inputs[2])].size() == 1) {
    graph.edge(node.inputs[2]).constant = std::move(bias);
    return;
  }
  const std::string name = has_bias ? graph.edge(node.inputs[2]).name : node.name + "/bias";
  const std::string origin = has_bias ? graph.edge(node.inputs[2]).origin : "";
  const EdgeId added = graph.add_constant(name, std::move(bias), origin);
  node.inputs.resize(3, kNoEdge);
  node.inputs[2] = added;
}

// Copies the graph node by node; every float edge may have an int8 twin.
class Builder {
 public:
  Builder(const Graph& graph, const Placement& placement, const std::vector<QParams>& qparams,
          const QuantizeOptions& options)
      : graph_(graph),
        placement_(placement),
        qparams_(qparams),
        options_(options),
        in_float_(graph.edges().size(), kNoEdge),
        in_codes_(graph.edges().size(), kNoEdge),
        is_output_(graph.edges().size(), false) {
    for (EdgeId id : graph.outputs()) is_output_[static_cast<size_t>(id)] = true;
  }

  Graph run() {
    for (EdgeId id : graph_.inputs()) {
      in_float_[static_cast<size_t>(id)] =
          out_.add_input(graph_.edge(id).name, graph_.edge(id).dtype, graph_.edge(id).shape);
    }
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      placement_.nodes[n].quantized ? add_quantized(node) : add_float(node);
    }
    std::vector<EdgeId> outputs;
    for (EdgeId id : graph_.outputs()) outputs.push_back(float_edge(id));
    out_.set_outputs(outputs);
    out_.description = graph_.description;
    out_.infer();
    out_.verify();
    return std::move(out_);
  }

 private:
  EdgeId add(Op op, std::vector<EdgeId> inputs, const Attributes& attributes,
             const std::string& name, const std::string& output_name, const std::string& origin,
             const QParams* q) {
    const EdgeId id = out_.add_node(op, std::move(inputs), attributes, name, output_name);
    out_.edge(id).origin = origin;
    if (q) {
      out_.edge(id).dtype = DType::int8;
      out_.edge(id).qparams = *q;
    }
    return id;
  }

  EdgeId add_constant(const std::string& name, Tensor value, const std::string& origin,
                      const QParams& q) {
    const EdgeId id = out_.add_constant(name, std::move(value), origin);
    out_.edge(id).qparams = q;
    return id;
  }

  EdgeId float_edge(EdgeId id) {
    EdgeId& made = in_float_[static_cast<size_t>(id)];
    if (made != kNoEdge) return made;
    const Edge& edge = graph_.edge(id);
    if (edge.is_constant()) return made = out_.add_constant(edge.name, edge.constant, edge.origin);
    const bool keeps_name = is_output_[static_cast<size_t>(id)];
    return made = add(Op::dequantize, {in_codes_[static_cast<size_t>(id)]}, {},
                      edge.name + "/dequantize", keeps_name ? edge.name : edge.name + "/float",
                      edge.origin, nullptr);
  }

  EdgeId code_edge(EdgeId id) {
    EdgeId& made = in_codes_[static_cast<size_t>(id)];
    if (made != kNoEdge) return made;
    const Edge& edge = graph_.edge(id);
    const QParams& q = qparams_of(placement_, qparams_, id);
    if (edge.is_constant()) {
      return made = add_constant(edge.name + "/int8", quantize_tensor(edge.constant, q),
                                 edge.origin, q);
    }
    return made = add(Op::quantize, {in_float_[static_cast<size_t>(id)]}, {},
                      edge.name + "/quantize", edge.name + "/int8", edge.origin, &q);
  }

  // The codes of an edge at the parameters of `wanted`.
  EdgeId code_edge_as(EdgeId id, const QParams& wanted, const std::string& node) {
    const EdgeId codes = code_edge(id);
    if (*out_.edge(codes).qparams == wanted) return codes;
    const Edge& edge = graph_.edge(id);
    return add(Op::requantize, {codes}, {}, node + "/requantize", edge.name + "/requantized",
               edge.origin, &wanted);
  }

  void add_float(const Node& node) {
    std::vector<EdgeId> inputs;
    for (EdgeId id : node.inputs) inputs.push_back(id == kNoEdge ? kNoEdge : float_edge(id));
    const Edge& edge = graph_.edge(node.outputs[0]);
    in_float_[static_cast<size_t>(node.outputs[0])] = add(
        node.op, std::move(inputs), node.attributes, node.name, edge.name, edge.origin, nullptr);
  }

  void add_quantized(const Node& node) {
    const EdgeId out = node.outputs[0];
    const QParams& q = qparams_of(placement_, qparams_, out);
    const bool copies = spec_of(node.op).constraint == QuantConstraint::same;
    std::vector<EdgeId> inputs;
    const std::vector<size_t> data = data_inputs(node);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const EdgeId id = node.inputs[i];
      if (std::find(data.begin(), data.end(), i) != data.end()) {
        inputs.push_back(copies ? code_edge_as(id, q, node.name) : code_edge(id));
      } else if (i == 1 && node.op == Op::gather) {
        inputs.push_back(float_edge(id));  // indices
      } else if (i == 1 && node.op != Op::prelu) {
        add_weight_and_bias(node, inputs);
      }
    }
    Attributes attributes = node.attributes;
    if (node.op == Op::prelu) {
      attributes = {};
      attributes.set("alpha", double{graph_.edge(node.inputs[1]).constant.as<float>()[0]});
    }
    const Edge& edge = graph_.edge(out);
    const std::string name = is_output_[static_cast<size_t>(out)] ? edge.name + "/int8" : edge.name;
    in_codes_[static_cast<size_t>(out)] =
        add(node.op == Op::prelu ? Op::leaky_relu : node.op, std::move(inputs), attributes,
            node.name, name, edge.origin, &q);
  }

  void add_weight_and_bias(const Node& node, std::vector<EdgeId>& inputs) {
    const float input_scale = out_.edge(inputs[0]).qparams->scale[0];
    const QParams q = weight_qparams(graph_, node, input_scale, options_);
    const Edge& weight = graph_.edge(node.inputs[1]);
    inputs.push_back(
        add_constant(weight.name, quantize_tensor(weight.constant, q), weight.origin, q));
    if (node.inputs.size() < 3 || node.inputs[2] == kNoEdge) return;
    const Edge& bias = graph_.edge(node.inputs[2]);
    QuantizedBias b = quantize_bias(graph_, node, input_scale, q);
    inputs.push_back(add_constant(bias.name, std::move(b.codes), bias.origin, b.qparams));
  }

  const Graph& graph_;
  const Placement& placement_;
  const std::vector<QParams>& qparams_;
  const QuantizeOptions& options_;
  std::vector<EdgeId> in_float_, in_codes_;
  std::vector<bool> is_output_;
  Graph out_;
};

}  // namespace

std::vector<QParams> group_qparams(const Graph& graph, const Placement& placement,
                                   const std::vector<Range>& ranges) {
  TERSOR_CHECK(ranges.size() == placement.groups.size(),
               "group_qparams: ranges must have one entry per group, ", placement.groups.size(),
               ", got ", ranges.size());
  std::vector<QParams> out;
  for (size_t g = 0; g < ranges.size(); ++g) {
    const EdgeGroup& group = placement.groups[g];
    if (group.fixed) {
      out.push_back(*group.fixed);
      continue;
    }
    std::optional<Range> range;
    const auto widen = [&](Range r) {
      range = range ? Range{std::min(range->lo, r.lo), std::max(range->hi, r.hi)} : r;
    };
    for (EdgeId id : group.sources) {
      const Edge& edge = graph.edge(id);
      if (edge.is_constant()) {
        widen(quantization::min_max(edge.constant.as<float>(),
                                    static_cast<size_t>(edge.constant.size()), edge.name.c_str()));
      } else {
        widen(ranges[g]);
      }
    }
    out.push_back(quantization::choose_qparams({range.value_or(Range{})}, kActivations));
  }
  return out;
}

Graph apply_quantization(const Graph& graph, const Placement& placement,
                         const std::vector<QParams>& qparams, const QuantizeOptions& options) {
  return Builder(graph, placement, qparams, options).run();
}

std::vector<std::optional<Tensor>> rounded_weights(const Graph& graph, const Placement& placement,
                                                   const std::vector<QParams>& qparams,
                                                   const QuantizeOptions& options) {
  std::vector<std::optional<Tensor>> out(graph.nodes().size());
  for (size_t n = 0; n < out.size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (!is_quantized_layer(placement, node, n)) continue;
    const float input_scale = qparams_of(placement, qparams, node.inputs[0]).scale[0];
    const QParams q = weight_qparams(graph, node, input_scale, options);
    out[n] = dequantize_tensor(quantize_tensor(graph.edge(node.inputs[1]).constant, q), q);
  }
  return out;
}

int correct_biases(Graph& graph, const Placement& placement, const std::vector<QParams>& qparams,
                   const std::map<EdgeId, Tensor>& means, const QuantizeOptions& options) {
  const auto rounded = rounded_weights(graph, placement, qparams, options);
  int corrected = 0;
  for (size_t n = 0; n < rounded.size(); ++n) {
    if (!rounded[n]) continue;
    const Node node = graph.nodes()[n];
    const auto mean = means.find(node.inputs[0]);
    if (mean == means.end()) continue;
    const Tensor& w = graph.edge(node.inputs[1]).constant;
    Tensor lost(DType::float32, w.shape());
    for (int64_t i = 0; i < w.size(); ++i)
      lost.as<float>()[i] = w.as<float>()[i] - rounded[n]->as<float>()[i];
    const std::vector<double> shift = mean_output(graph, node, mean->second, lost);
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNoEdge;
    Tensor bias = Tensor::zeros(DType::float32, {static_cast<int64_t>(shift.size())});
    for (size_t c = 0; c < shift.size(); ++c) {
      const double old =
          has_bias ? static_cast<double>(graph.edge(node.inputs[2]).constant.as<float>()[c]) : 0.0;
      bias.as<float>()[c] = static_cast<float>(old + shift[c]);
    }
    set_bias(graph, static_cast<NodeId>(n), std::move(bias));
    ++corrected;
  }
  return corrected;
}

}  // namespace tersor::graph
