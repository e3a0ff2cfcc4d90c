#include "tersor/runtime/operand.h"

#include <algorithm>
#include <limits>

#include "tersor/base/error.h"

namespace tersor::runtime {

Operand operand(const StepSpec& spec, size_t index) {
  if (index >= spec.inputs.size() || !spec.inputs[index]) return {};
  return {*spec.inputs[index], static_cast<int>(index)};
}

std::vector<Operand> operands(const StepSpec& spec) {
  std::vector<Operand> out;
  for (size_t i = 0; i < spec.inputs.size(); ++i) out.push_back(operand(spec, i));
  return out;
}

Values values_of(const StepSpec& spec, size_t count) {
  std::vector<const PlanEdge*> edges(spec.outputs);
  for (size_t i = 0; i < std::min(count, spec.inputs.size()); ++i) {
    if (spec.inputs[i]) edges.push_back(spec.inputs[i]);
  }
  const auto all = [&](auto&& test) {
    return std::all_of(edges.begin(), edges.end(), [&](const PlanEdge* e) { return test(*e); });
  };
  const DType first = edges.front()->dtype;
  if (!all([&](const PlanEdge& e) { return e.dtype == first; })) return Values::mixed;
  if (first == DType::float32) return Values::float32;
  if (first == DType::int8 && all([](const PlanEdge& e) { return e.qparams.has_value(); })) {
    return Values::int8;
  }
  return Values::other;
}

void refuse(const StepSpec& spec, const std::string& why) {
  throw UnsupportedError(message(graph::name_of(spec.op), " (", spec.name, "): ", why));
}

void refuse_types(const StepSpec& spec) {
  std::string types;
  const auto append = [&](const PlanEdge* edge) {
    if (!edge) return;
    types += std::string(types.empty() ? "" : ", ") + name_of(edge->dtype);
    if (edge->qparams) types += " quantized";
  };
  for (const PlanEdge* edge : spec.inputs) append(edge);
  types += " ->";
  for (const PlanEdge* edge : spec.outputs)
    types += std::string(" ") + name_of(edge->dtype) + (edge->qparams ? " quantized" : "");
  const bool float_only = graph::spec_of(spec.op).constraint == graph::QuantConstraint::none;
  refuse(spec, message("edges must be all float32", float_only ? "" : " or all quantized int8",
                       ", got ", types));
}

Affine affine_of(const StepSpec& spec, const PlanEdge& edge) {
  if (!edge.qparams || edge.qparams->scale.size() != 1 || edge.qparams->zero_point.size() != 1) {
    refuse(spec, "edge " + edge.name + " must be quantized per tensor");
  }
  return {edge.qparams->scale[0], edge.qparams->zero_point[0]};
}

void check_same_parameters(const StepSpec& spec, size_t count) {
  const PlanEdge& y = *spec.outputs[0];
  for (size_t i = 0; i < std::min(count, spec.inputs.size()); ++i) {
    const PlanEdge& x = *spec.inputs[i];
    if (x.dtype != y.dtype || x.qparams.has_value() != y.qparams.has_value()) refuse_types(spec);
    if (x.qparams &&
        (x.qparams->scale != y.qparams->scale || x.qparams->zero_point != y.qparams->zero_point)) {
      refuse(spec,
             "edges " + x.name + " and " + y.name + " must have the same scale and zero point");
    }
  }
}

SpatialView spatial_view(const StepSpec& spec, const PlanEdge& edge) {
  const size_t rank = edge.shape.size();
  if (rank < 2 || rank > 5) {
    refuse(spec,
           "edge " + edge.name + " must have rank 2 to 5, got shape " + to_string(edge.shape));
  }
  const Shape strides = row_major_strides(edge.shape);
  const bool last = edge.layout == Layout::channels_last && rank > 2;
  const size_t channel = last ? rank - 1 : 1;
  const size_t first = last ? 1 : 2;
  SpatialView view{edge.shape[0], edge.shape[channel], {1, 1, 1},
                   strides[0],    strides[channel],    {0, 0, 0}};
  for (size_t i = 0; i + 2 < rank; ++i) {
    view.size[i + 5 - rank] = edge.shape[first + i];
    view.stride[i + 5 - rank] = strides[first + i];
  }
  return view;
}

namespace {

// Right-aligns the last `count` entries of `values` from `offset` on into three.
void fill(int64_t* out, const Shape& values, size_t offset, size_t count) {
  for (size_t i = 0; i < count; ++i) out[3 - count + i] = values.at(offset + i);
}

}  // namespace

Window window_of(const StepSpec& spec, const Shape& kernel) {
  const size_t count = kernel.size();
  if (count > 3) refuse(spec, "windows must have at most 3 dimensions, got " + to_string(kernel));
  Window window{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}};
  fill(window.kernel, kernel, 0, count);
  fill(window.stride, spec.attributes.integers("strides"), 0, count);
  fill(window.pad_begin, spec.attributes.integers("pads"), 0, count);
  fill(window.pad_end, spec.attributes.integers("pads"), count, count);
  if (spec.attributes.has("dilations"))
    fill(window.dilation, spec.attributes.integers("dilations"), 0, count);
  return window;
}

Shape broadcast_strides(const Shape& shape, const Shape& output) {
  Shape strides(output.size(), 0);
  const Shape dense = row_major_strides(shape);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1) strides[i + output.size() - shape.size()] = dense[i];
  }
  return strides;
}

std::string activation_of(const StepSpec& spec) {
  return spec.attributes.has("activation") ? spec.attributes.text("activation") : "none";
}

Range activation_range(const StepSpec& spec, const std::string& activation) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (activation == "none") return {-infinity, infinity};
  if (activation == "relu") return {0, infinity};
  if (activation == "relu6") return {0, 6};
  refuse(spec, "activation must be none, relu or relu6, got " + activation);
}

}  // namespace tersor::runtime
