#include "tersor/runtime/conv_spec_float32.h"

#include <limits>

#include "tersor/runtime/conv_float32.h"

namespace tersor::runtime {
namespace {

bool limits_of(const std::string& activation, float* low, float* high) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  *low = activation == "none" ? -kInfinity : 0.0f;
  *high = activation == "relu6" ? 6.0f : kInfinity;
  return activation == "none" || activation == "relu" || activation == "relu6";
}

bool plain_float(const PlanEdge* edge) {
  return edge && edge->dtype == DType::float32 && !edge->qparams;
}

bool read_window(const StepSpec& spec, ConvShapeFloat32* s) {
  const PlanEdge& x = *spec.inputs[0];
  const PlanEdge& y = *spec.outputs[0];
  const Shape& w = spec.inputs[1]->shape;
  const size_t rank = x.shape.size();
  if ((rank != 3 && rank != 4) || w.size() != rank || y.shape.size() != rank) return false;
  if (x.layout != Layout::channels_last || y.layout != Layout::channels_last) return false;
  const bool two = rank == 4;
  const size_t last = rank - 3;  // index of the width among the spatial dimensions
  const graph::Ints& strides = spec.attributes.integers("strides");
  const graph::Ints& dilations = spec.attributes.integers("dilations");
  const graph::Ints& pads = spec.attributes.integers("pads");
  s->batch = x.shape[0];
  s->input_height = two ? x.shape[1] : 1;
  s->input_width = x.shape[1 + last];
  s->input_channels = x.shape.back();
  s->output_height = two ? y.shape[1] : 1;
  s->output_width = y.shape[1 + last];
  s->output_channels = y.shape.back();
  s->kernel_height = two ? w[2] : 1;
  s->kernel_width = w[2 + last];
  s->stride_y = two ? strides.at(0) : 1;
  s->stride_x = strides.at(last);
  s->dilation_y = two ? dilations.at(0) : 1;
  s->dilation_x = dilations.at(last);
  s->pad_top = two ? pads.at(0) : 0;
  s->pad_left = pads.at(last);
  s->groups = spec.attributes.integer("groups");
  s->transposed = spec.op == Op::conv_transpose;
  return true;
}

}  // namespace

std::optional<EpilogueFloat32> read_epilogue_float32(const StepSpec& spec) {
  EpilogueFloat32 e{};
  const bool has = spec.attributes.has("activation");
  if (!limits_of(has ? spec.attributes.text("activation") : "none", &e.low, &e.high))
    return std::nullopt;
  if (!limits_of(spec.post_activation, &e.post_low, &e.post_high)) return std::nullopt;
  e.residual = spec.post_add ? static_cast<int>(spec.inputs.size()) - 1 : -1;
  return e;
}

std::optional<ConvSpecFloat32> read_conv_float32(const StepSpec& spec) {
  if (spec.op != Op::conv && spec.op != Op::conv_transpose && spec.op != Op::dense)
    return std::nullopt;
  const size_t inputs = spec.inputs.size() - (spec.post_add ? 1 : 0);
  const PlanEdge* bias = inputs > 2 ? spec.inputs[2] : nullptr;
  if (!plain_float(spec.inputs.at(0)) || !plain_float(spec.inputs.at(1)) ||
      !plain_float(spec.outputs.at(0))) {
    return std::nullopt;
  }
  if (!spec.inputs[1]->constant || (bias && (!plain_float(bias) || !bias->constant)))
    return std::nullopt;
  // A residual that is constant would have no buffer.
  if (spec.post_add && (!plain_float(spec.inputs.back()) || spec.inputs.back()->constant))
    return std::nullopt;
  const auto epilogue = read_epilogue_float32(spec);
  if (!epilogue) return std::nullopt;
  ConvSpecFloat32 out;
  out.epilogue = *epilogue;
  out.weights = spec.inputs[1]->constant;
  if (bias) out.bias = bias->constant;
  if (spec.op == Op::dense) {
    const Shape& w = spec.inputs[1]->shape;
    if (w.size() != 2 || spec.inputs[0]->shape.empty()) return std::nullopt;
    out.shape.input_channels = w[1];
    out.shape.output_channels = w[0];
    // Rows are pixels of one line.
    out.shape.input_width = out.shape.output_width = w[1] ? spec.inputs[0]->size() / w[1] : 0;
  } else if (!read_window(spec, &out.shape)) {
    return std::nullopt;
  }
  if (spec.outputs[0]->size() == 0 || spec.inputs[0]->size() == 0) return std::nullopt;
  return out;
}

PackedConvFloat32 pack_conv_float32(const ConvSpecFloat32& spec) {
  const ConvShapeFloat32& s = spec.shape;
  const int64_t inputs = s.group_inputs(), outputs = s.group_outputs();
  const int64_t taps = s.kernel_height * s.kernel_width;
  PackedConvFloat32 packed;
  packed.panels = (outputs + kPanel - 1) / kPanel;
  packed.panel_floats = taps * inputs * kPanel;
  packed.weights =
      Buffer(static_cast<size_t>(s.groups * packed.panels * packed.panel_floats) * sizeof(float));
  packed.bias = Buffer(static_cast<size_t>(s.groups * packed.panels * kPanel) * sizeof(float));
  const float* w = spec.weights.as<float>();
  const float* bias = spec.bias ? spec.bias.as<float>() : nullptr;
  float* to = packed.weights.as<float>();
  float* to_bias = packed.bias.as<float>();
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t p = 0; p < packed.panels; ++p) {
      for (int64_t e = 0; e < kPanel; ++e) {
        const int64_t o = p * kPanel + e;
        *to_bias++ = bias && o < outputs ? bias[g * outputs + o] : 0.0f;
      }
      for (int64_t t = 0; t < taps; ++t) {
        for (int64_t c = 0; c < inputs; ++c) {
          for (int64_t e = 0; e < kPanel; ++e) {
            const int64_t o = p * kPanel + e;
            const int64_t row =
                s.transposed ? (g * inputs + c) * outputs + o : (g * outputs + o) * inputs + c;
            *to++ = o < outputs ? w[row * taps + t] : 0.0f;
          }
        }
      }
    }
  }
  return packed;
}

std::string kernel_name_float32(const char* op, const std::string& variant, const char* form,
                                const StepSpec& spec) {
  std::string name = std::string("native ") + op;
  if (!variant.empty()) name += " " + variant;
  name += std::string(" ") + form;
  if (spec.options.precision == Precision::bfloat16) name += " (bf16 computed in fp32)";
  return name;
}

}  // namespace tersor::runtime
