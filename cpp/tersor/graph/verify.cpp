// The verifier: what must hold for every graph before it is planned, saved or exported.
#include <algorithm>
#include <cmath>
#include <set>

#include "tersor/base/error.h"
#include "tersor/graph/graph.h"
#include "tersor/graph/weight_codes.h"
#include "tersor/quantization/codebook_codes.h"
#include "tersor/quantization/dense_dynamic.h"

namespace tersor::graph {
namespace {

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) throw GraphError(message("graph: ", parts...));
}

bool in_range(EdgeId id, size_t count) { return 0 <= id && static_cast<size_t>(id) < count; }

void check_codebook(const Edge& edge) {
  const QParams& q = *edge.qparams;
  require(edge.is_constant() && edge.dtype == DType::uint8, "edge ", edge.name,
          ": a codebook must belong to a constant of uint8, got ", name_of(edge.dtype));
  try {
    quantization::check_codebook("codebook", edge.shape, q);
  } catch (const ValueError& error) {
    throw GraphError(message("graph: edge ", edge.name, ": ", error.what()));
  }
  const auto* codes = edge.constant.as<uint8_t>();
  const auto most = std::max_element(codes, codes + edge.constant.size());
  require(edge.constant.size() == 0 || *most <= q.code_max(), "edge ", edge.name,
          ": codes must be in [0, ", q.code_max(), "], got ",
          edge.constant.size() ? static_cast<int>(*most) : 0);
}

void check_qparams(const Edge& edge) {
  const QParams& q = *edge.qparams;
  const bool is_int =
      edge.dtype == DType::int8 || edge.dtype == DType::uint8 || edge.dtype == DType::int32;
  require(is_int, "edge ", edge.name,
          " with quantization parameters must be int8, uint8 or int32, got ", name_of(edge.dtype));
  const int least_bits = q.has_codebook() ? 1 : 2;
  require(least_bits <= q.bits && q.bits <= 32, "edge ", edge.name, ": bits must be in [",
          least_bits, ", 32], got ", q.bits);
  require(!q.scale.empty() && q.scale.size() == q.zero_point.size(), "edge ", edge.name,
          ": scale and zero_point must have equal length >= 1, got ", q.scale.size(), " and ",
          q.zero_point.size());
  require(q.axis_count >= 1 && q.group_size >= 0 && (!q.per_tensor() || q.group_size == 0), "edge ",
          edge.name, ": axis must be given where group_size is, got none");
  if (q.per_tensor()) {
    require(q.scale.size() == 1, "edge ", edge.name, ": scale must have length 1, got ",
            q.scale.size());
  } else {
    const size_t first = static_cast<size_t>(q.axis), rank = edge.shape.size();
    require(first + static_cast<size_t>(q.axis_count) <= rank, "edge ", edge.name,
            ": axis must be below ", rank, ", got ", q.axis + q.axis_count - 1);
    require(q.group_size == 0 || edge.is_constant(), "edge ", edge.name,
            ": group_size must be 0 but for constants, got ", q.group_size);
    require(first > 0 || edge.shape[0] != kBatch, "edge ", edge.name,
            ": axis must not be the batch, got 0");
    require(q.group_size == 0 && q.axis_count == 1
                ? static_cast<int64_t>(q.scale.size()) == edge.shape[first]
                : q.scale.size() == q.layout(edge.shape).scales(),
            "edge ", edge.name, ": scale must have one entry per index of axis ", q.axis, ", got ",
            q.scale.size());
  }
  require(!q.has_float_zero() || (q.zero_point_float.size() == q.scale.size() &&
                                  edge.is_constant() && edge.dtype != DType::int32),
          "edge ", edge.name, ": zero_point_float must belong to weights, one per scale, got ",
          q.zero_point_float.size());
  for (float z : q.zero_point_float) {
    require(std::fabs(z) <= 0x1p21f, "edge ", edge.name,
            ": zero_point_float must be in [-2^21, 2^21], got ", z);
  }
  for (float s : q.scale) {
    require(std::isfinite(s) && s > 0, "edge ", edge.name, ": scale must be finite and > 0, got ",
            s);
  }
  if (q.has_codebook()) return check_codebook(edge);
  if (edge.dtype == DType::int32) return;  // a bias: zero point 0, no code range
  for (int32_t z : q.zero_point) {
    require(q.code_min() <= z && z <= q.code_max(), "edge ", edge.name, ": zero_point must be in [",
            q.code_min(), ", ", q.code_max(), "], got ", z);
  }
}

bool same_parameters(const Edge& a, const Edge& b) {
  return a.qparams && b.qparams && a.qparams->scale == b.qparams->scale &&
         a.qparams->zero_point == b.qparams->zero_point;
}

bool is_code(const Edge& edge) { return edge.dtype == DType::int8 || edge.dtype == DType::uint8; }

void check_fixed(const Node& node, const Edge& out) {
  const float scale = node.op == Op::tanh ? 1.0f / 128 : 1.0f / 256;
  const int32_t zero_point = node.op == Op::tanh ? 0 : -128;
  require(out.qparams->scale == std::vector<float>{scale} &&
              out.qparams->zero_point == std::vector<int32_t>{zero_point},
          "node ", node.name, " (", name_of(node.op), "): output must have scale ", scale,
          " and zero_point ", zero_point);
}

void check_affine(const Graph& graph, const Node& node) {
  const Edge& x = graph.edge(node.inputs[0]);
  const Edge& w = graph.edge(node.inputs[1]);
  require(w.qparams && is_code(w), "node ", node.name, ": weight must be quantized like the input");
  require(w.qparams->group_size == 0 && !w.qparams->has_float_zero(), "node ", node.name,
          ": groups and float zero points of weights need a float input, got codes");
  for (float v : w.qparams->codebook) {
    require(v == std::nearbyint(v) && std::fabs(v) <= 127, "node ", node.name,
            ": the codebook of an int8 layer must hold integers in [-127, 127], got ", v);
  }
  if (node.op == Op::matmul) return;
  for (int32_t z : w.qparams->zero_point) {
    require(z == 0, "node ", node.name, ": weight zero_point must be 0, got ", z);
  }
  if (node.inputs.size() < 3 || node.inputs[2] == kNoEdge) return;
  const Edge& b = graph.edge(node.inputs[2]);
  require(b.dtype == DType::int32 && b.qparams, "node ", node.name,
          ": bias must be int32 with parameters");
  require(b.qparams->scale.size() == w.qparams->scale.size() || b.qparams->scale.size() == 1,
          "node ", node.name, ": bias must have as many scales as the weight, got ",
          b.qparams->scale.size());
  for (size_t c = 0; c < b.qparams->scale.size(); ++c) {
    const float expected = x.qparams->scale[0] * w.qparams->scale[c];
    require(std::fabs(b.qparams->scale[c] - expected) <= 1e-5f * expected, "node ", node.name,
            ": bias scale must be input scale times weight scale, ", expected, ", got ",
            b.qparams->scale[c]);
  }
}

// A float operator: codes may only be its weight (weight_codes.h).
void check_float_node(const Graph& graph, const Node& node) {
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == kNoEdge) continue;
    const Edge& edge = graph.edge(node.inputs[i]);
    if (!edge.qparams) continue;
    require(i == 1 && has_weight_codes(graph, node), "node ", node.name, " (", name_of(node.op),
            "): codes must be its constant weight, or all of it be quantized, got ", edge.name);
  }
  if (!node.attributes.has("dynamic") || node.attributes.integer("dynamic") == 0) return;
  require(has_weight_codes(graph, node), "node ", node.name,
          ": a dynamic layer must have weight codes");
  const Edge& w = graph.edge(node.inputs[1]);
  const QParams& q = *w.qparams;
  require(
      w.dtype == DType::int8 && !q.has_float_zero() && !q.has_codebook() && q.group_size == 0 &&
          (q.per_tensor() || (q.axis == 0 && q.axis_count == 1)) &&
          std::all_of(q.zero_point.begin(), q.zero_point.end(), [](int32_t z) { return z == 0; }),
      "node ", node.name, ": a dynamic layer must have symmetric codes per tensor or output");
  require(w.shape[1] <= quantization::kMostDynamicInputs, "node ", node.name,
          ": a dynamic layer must have at most ", quantization::kMostDynamicInputs, " inputs, got ",
          w.shape[1]);
}

void check_quantized_node(const Graph& graph, const Node& node) {
  const Edge& out = graph.edge(node.outputs[0]);
  const Edge& first = graph.edge(node.inputs[0]);
  if (node.op == Op::quantize) {
    require(is_float(first.dtype) && out.qparams, "node ", node.name,
            ": quantize must go from float to codes");
    const std::string& ties = node.attributes.text("ties");
    require(ties == "even" || ties == "away", "node ", node.name,
            ": ties must be even or away, got ", ties);
    return;
  }
  if (node.op == Op::dequantize) {
    require(first.qparams.has_value(), "node ", node.name,
            ": dequantize must go from codes to float");
    return;
  }
  const bool quantized = is_code(first) && first.qparams;
  if (!quantized && !out.qparams) return check_float_node(graph, node);
  require(!quantized || !first.qparams->has_codebook(), "node ", node.name,
          ": codes of a codebook must be weights, got an input");
  require(quantized && out.qparams, "node ", node.name, " (", name_of(node.op),
          "): input and output must both be quantized or both be float");
  require(first.qparams->per_tensor() && out.qparams->per_tensor(), "node ", node.name,
          ": activations must be quantized per tensor");
  switch (spec_of(node.op).constraint) {
    case QuantConstraint::none:
      throw GraphError(
          message("graph: node ", node.name, " (", name_of(node.op), ") must be float, got codes"));
    case QuantConstraint::affine:
      check_affine(graph, node);
      break;
    case QuantConstraint::fixed:
      check_fixed(node, out);
      break;
    case QuantConstraint::same:
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.op == Op::gather && i == 1) continue;
        require(same_parameters(graph.edge(node.inputs[i]), out), "node ", node.name, " (",
                name_of(node.op), "): inputs and output must share scale and zero_point");
      }
      break;
    case QuantConstraint::free:
      for (EdgeId id : node.inputs) {
        require(is_code(graph.edge(id)) && graph.edge(id).qparams, "node ", node.name,
                ": every input must be quantized");
      }
      break;
  }
}

}  // namespace

void Graph::verify() const {
  const size_t count = edges_.size();
  std::vector<int> made(count, 0);
  const auto check_ids = [&](const std::vector<EdgeId>& ids, const std::string& who,
                             bool optional) {
    for (EdgeId id : ids) {
      require((optional && id == kNoEdge) || in_range(id, count), who,
              " must name edges that exist, got ", id);
    }
  };
  check_ids(inputs_, "inputs", false);
  check_ids(outputs_, "outputs", false);
  require(!outputs_.empty(), "outputs must name at least one edge");
  for (EdgeId id : inputs_) ++made[static_cast<size_t>(id)];
  std::set<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    const Edge& edge = edges_[i];
    require(!edge.name.empty() && names.insert(edge.name).second,
            "edge names must be unique and not empty, got '", edge.name, "'");
    if (edge.is_constant()) {
      ++made[i];
      require(edge.constant.dtype() == edge.dtype && edge.constant.shape() == edge.shape,
              "constant ", edge.name, " must have the dtype and shape of its edge");
    }
    for (size_t d = 0; d < edge.shape.size(); ++d) {
      require(edge.shape[d] >= 0 || (d == 0 && edge.shape[d] == kBatch), "edge ", edge.name,
              " must have dimensions >= 0 or a leading batch, got ", to_string(edge.shape));
    }
    if (edge.qparams) check_qparams(edge);
  }
  std::set<std::string> node_names;
  for (const Node& node : nodes_) {
    require(!node.name.empty() && node_names.insert(node.name).second,
            "node names must be unique, got '", node.name, "'");
    const OperatorSpec& spec = spec_of(node.op);
    check_ids(node.inputs, "node " + node.name, true);
    check_ids(node.outputs, "node " + node.name, false);
    require(static_cast<int>(node.outputs.size()) == spec.outputs, "node ", node.name,
            " must have ", spec.outputs, " outputs, got ", node.outputs.size());
    for (EdgeId id : node.inputs) {
      require(id == kNoEdge || made[static_cast<size_t>(id)] == 1, "node ", node.name,
              " must use edges made before it");
    }
    for (EdgeId id : node.outputs) ++made[static_cast<size_t>(id)];
  }
  for (size_t i = 0; i < count; ++i) {
    require(made[i] <= 1, "edge ", edges_[i].name, " must be made once, got ", made[i], " makers");
  }
  for (EdgeId id : outputs_) {
    require(made[static_cast<size_t>(id)] == 1, "output ", edge(id).name,
            " must be made by a node");
  }
  Graph again = *this;  // types must be what inference gives
  again.infer();
  for (size_t i = 0; i < count; ++i) {
    require(again.edges_[i].dtype == edges_[i].dtype && again.edges_[i].shape == edges_[i].shape,
            "edge ", edges_[i].name, " must be ", tersor::name_of(again.edges_[i].dtype), " ",
            to_string(again.edges_[i].shape), ", got ", tersor::name_of(edges_[i].dtype), " ",
            to_string(edges_[i].shape));
  }
  for (const Node& node : nodes_) check_quantized_node(*this, node);
}

}  // namespace tersor::graph
