#include "tersor/graph/weight_codes.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/graph/name_pattern.h"
#include "tersor/quantization/codebook_codes.h"
#include "tersor/quantization/dense_dynamic.h"

namespace tersor::graph {
namespace {

using quantization::QuantScheme;
using quantization::RangeMethod;
using quantization::ScaleAxes;

bool is_code(DType dtype) { return dtype == DType::int8 || dtype == DType::uint8; }

constexpr float kMostHalf = 65504.0f;
// float16 is exact to 11 bits from 2^-14 on, to 7 from 2^-18 on: enough for a scale of codes of 4.
constexpr float kLeastHalf = 0x1p-14f, kLeastCoarseHalf = 0x1p-18f;
// Weights this much smaller than the largest of their layer count for nothing: channels that
// training left for dead reach 1e-6 of it.
constexpr float kDead = 0x1p-12f;

bool fit_half(const std::vector<float>& scale, int bits) {
  const float most = *std::max_element(scale.begin(), scale.end());
  const float least = bits <= 4 ? kLeastCoarseHalf : kLeastHalf;
  return kLeastHalf <= most && most <= kMostHalf / 2 &&
         std::all_of(scale.begin(), scale.end(),
                     [&](float s) { return s >= least || s < kDead * most; });
}

// Axis of the output channels.
int output_axis(Op op, size_t rank) {
  if (op == Op::conv_transpose) return 1;
  return op == Op::matmul ? static_cast<int>(rank) - 1 : 0;
}

// The axes along which a group runs: those that one output sums over.
ScaleAxes axes_of(Op op, size_t rank, int group_size) {
  if (group_size == 0) return {output_axis(op, rank), 1, 0};
  if (op == Op::conv_transpose) return {0, 1, group_size};
  if (op == Op::matmul) return {static_cast<int>(rank) - 2, 1, group_size};
  return {1, static_cast<int>(rank) - 1, group_size};
}

// Does every node that uses the edge read it as a weight of this kind?
bool only_weight_of(const Graph& graph, EdgeId weight, Op op) {
  for (const Node& node : graph.nodes()) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == weight && (i != 1 || node.op != op)) return false;
    }
  }
  return std::find(graph.outputs().begin(), graph.outputs().end(), weight) == graph.outputs().end();
}

std::string reason_to_leave(const Graph& graph, const Node& node) {
  const Edge& w = graph.edge(node.inputs[1]);
  if (graph.edge(node.inputs[0]).dtype != DType::float32) return "its input is not float32";
  if (!w.is_constant()) return "its weight is not constant";
  if (w.dtype != DType::float32) return "its weight is not float32";
  if (w.constant.size() == 0) return "its weight is empty";
  if (!only_weight_of(graph, node.inputs[1], node.op)) return "its weight is also used otherwise";
  const float* data = w.constant.as<float>();
  for (int64_t i = 0; i < w.constant.size(); ++i) {
    if (!std::isfinite(data[i])) return "its weight is not finite";
  }
  return "";
}

void check(const WeightFormat& f, const std::string& name) {
  TERSOR_CHECK(2 <= f.bits && f.bits <= 8, "quantize_weights_only: bits must be in [2, 8], got ",
               f.bits, " for ", name);
  TERSOR_CHECK(f.group_size >= 0, "quantize_weights_only: group_size must be >= 0, got ",
               f.group_size, " for ", name);
  TERSOR_CHECK(!f.dynamic || (f.bits == 8 && f.group_size == 0 && !f.float_zero_point),
               "quantize_weights_only: dynamic must have 8 bits, no groups and no float zero "
               "points, got ",
               f.bits, " bits for ", name);
}

Node& find_node(Graph& graph, const std::string& name) {
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    Node& node = graph.node(static_cast<NodeId>(n));
    if (node.name == name) {
      TERSOR_CHECK(takes_weight_codes(node.op),
                   "quantize_weights_only: node must be a conv, conv_transpose, dense or matmul, "
                   "got ",
                   name_of(node.op), " for ", name);
      return node;
    }
  }
  TERSOR_CHECK(false, "quantize_weights_only: node must be one of the graph, got '", name, "'");
}

void set_codes(Graph& graph, EdgeId id, Tensor codes, QParams q) {
  Edge& edge = graph.edge(id);
  edge.dtype = codes.dtype();
  edge.constant = std::move(codes);
  edge.qparams = std::move(q);
}

bool can_be_dynamic(const Graph& graph, const Node& node) {
  return node.op == Op::dense &&
         graph.edge(node.inputs[1]).shape[1] <= quantization::kMostDynamicInputs;
}

}  // namespace

bool takes_weight_codes(Op op) {
  return op == Op::conv || op == Op::conv_transpose || op == Op::dense || op == Op::matmul;
}

bool has_weight_codes(const Graph& graph, const Node& node) {
  if (!takes_weight_codes(node.op) || node.inputs[0] == kNoEdge || node.inputs[1] == kNoEdge)
    return false;
  const Edge& w = graph.edge(node.inputs[1]);
  return w.is_constant() && is_code(w.dtype) && w.qparams &&
         graph.edge(node.inputs[0]).dtype == DType::float32 &&
         graph.edge(node.outputs[0]).dtype == DType::float32;
}

Tensor real_values(const Tensor& codes, const QParams& q) {
  Tensor x(DType::float32, codes.shape());
  quantization::dequantize(codes.data(), codes.shape(), q, x.as<float>());
  return x;
}

QParams weight_code_qparams(const Graph& graph, const Node& node, const WeightFormat& format) {
  check(format, node.name);
  const Tensor& w = graph.edge(node.inputs[1]).constant;
  const ScaleAxes axes = axes_of(node.op, w.shape().size(), format.group_size);
  QuantScheme scheme;
  scheme.bits = format.bits;
  scheme.symmetric = !format.float_zero_point;
  scheme.float_zero_point = format.float_zero_point;
  const RangeMethod method = format.least_squares ? RangeMethod::mse : RangeMethod::minmax;
  QParams q = quantization::choose_qparams(w.as<float>(), w.shape(), scheme, axes, method, 1.0);
  if (!fit_half(q.scale, format.bits)) return q;
  scheme.scale_dtype = DType::float16;
  return quantization::choose_qparams(w.as<float>(), w.shape(), scheme, axes, method, 1.0);
}

std::map<std::string, std::string> quantize_weights_only(
    Graph& graph, const std::map<std::string, WeightFormat>& formats) {
  std::map<std::string, std::string> left;
  for (const auto& [name, format] : formats) {
    check(format, name);
    Node& node = find_node(graph, name);
    if (has_weight_codes(graph, node)) {  // shared with a node before, or chosen elsewhere
      const QParams& q = *graph.edge(node.inputs[1]).qparams;
      const bool fits =
          q.bits == 8 && q.group_size == 0 && !q.has_float_zero() && !q.has_codebook();
      if (format.dynamic && fits && can_be_dynamic(graph, node))
        node.attributes.set("dynamic", int64_t{1});
      continue;
    }
    const std::string reason = reason_to_leave(graph, node);
    if (!reason.empty()) {
      left[name] = reason;
      continue;
    }
    if (format.dynamic && !can_be_dynamic(graph, node)) {
      left[name] = node.op == Op::dense ? "sums of so many products could overflow 32 bits"
                                        : "dynamic int8 is for dense layers";
      continue;
    }
    QParams q = weight_code_qparams(graph, node, format);
    const Tensor w = graph.edge(node.inputs[1]).constant;
    Tensor codes(q.is_signed ? DType::int8 : DType::uint8, w.shape());
    quantization::quantize(w.as<float>(), w.shape(), q, codes.data());
    set_codes(graph, node.inputs[1], std::move(codes), std::move(q));
    if (format.dynamic) node.attributes.set("dynamic", int64_t{1});
  }
  return left;
}

void set_weight_codes(Graph& graph, const std::string& name, Tensor codes, QParams q) {
  Node& node = find_node(graph, name);
  const EdgeId id = node.inputs[1];
  TERSOR_CHECK(graph.edge(id).is_constant() && codes.shape() == graph.edge(id).shape &&
                   is_code(codes.dtype()),
               "set_weight_codes: codes must be int8 or uint8 of shape ",
               to_string(graph.edge(id).shape), ", got ", tersor::name_of(codes.dtype()), " ",
               to_string(codes.shape()));
  TERSOR_CHECK((codes.dtype() == DType::int8) == q.is_signed, "set_weight_codes: codes must be ",
               q.is_signed ? "int8" : "uint8", ", got ", tersor::name_of(codes.dtype()));
  if (q.has_codebook()) quantization::check_codebook("set_weight_codes", codes.shape(), q);
  const size_t scales = q.per_tensor() ? 1 : q.layout(codes.shape()).scales();
  TERSOR_CHECK(q.scale.size() == scales, "set_weight_codes: qparams must have ", scales,
               " scales, got ", q.scale.size());
  for (int64_t i = 0; i < codes.size(); ++i) {
    const int code = q.is_signed ? codes.as<int8_t>()[i] : codes.as<uint8_t>()[i];
    TERSOR_CHECK(q.code_min() <= code && code <= q.code_max(),
                 "set_weight_codes: codes must be in [", q.code_min(), ", ", q.code_max(),
                 "], got ", code);
  }
  set_codes(graph, id, std::move(codes), std::move(q));
}

int decode_weights(Graph& graph) {
  int count = 0;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    Node& node = graph.node(static_cast<NodeId>(n));
    if (node.attributes.has("dynamic")) node.attributes.set("dynamic", int64_t{0});
    if (!has_weight_codes(graph, node)) continue;
    Edge& edge = graph.edge(node.inputs[1]);
    edge.constant = real_values(edge.constant, *edge.qparams);
    edge.dtype = DType::float32;
    edge.qparams.reset();
    ++count;
  }
  return count;
}

int decode_codebooks(Graph& graph, bool only_int8) {
  int count = 0;
  for (const Node& node : graph.nodes()) {
    for (const EdgeId id : node.inputs) {
      if (id == kNoEdge || !graph.edge(id).qparams || !graph.edge(id).qparams->has_codebook())
        continue;
      Edge& edge = graph.edge(id);
      const bool float_layer = has_weight_codes(graph, node);
      if (float_layer && only_int8) continue;
      QParams q = *edge.qparams;
      if (!float_layer) {  // the values are the int8 codes
        q.scale = {1.0f};
        q.zero_point = {0};
        q.axis = -1;
        q.group_size = 0;
      }
      Tensor values = real_values(edge.constant, q);
      if (!float_layer) {
        Tensor codes(DType::int8, edge.shape);
        for (int64_t i = 0; i < codes.size(); ++i)
          codes.as<int8_t>()[i] = static_cast<int8_t>(values.as<float>()[i]);
        q = *edge.qparams;
        q.codebook.clear();
        q.codebook_tables = 1;
        q.bits = 8;
        q.is_signed = q.narrow = true;
        set_codes(graph, id, std::move(codes), std::move(q));
      } else {
        edge.constant = std::move(values);
        edge.dtype = DType::float32;
        edge.qparams.reset();
      }
      ++count;
    }
  }
  return count;
}

std::vector<int> match_layers(const Graph& graph, const std::vector<std::string>& patterns) {
  std::vector<int> found(graph.nodes().size(), -1);
  for (size_t p = 0; p < patterns.size(); ++p) {
    bool used = false;
    for (size_t n = 0; n < found.size(); ++n) {
      if (!matches_node(graph, graph.nodes()[n], patterns[p])) continue;
      found[n] = static_cast<int>(p);
      used = true;
    }
    TERSOR_CHECK(used, "recipe: pattern must match a layer, got '", patterns[p], "'",
                 hint_for(graph, patterns[p]));
  }
  return found;
}

}  // namespace tersor::graph
