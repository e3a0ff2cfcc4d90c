#include "tersor/runtime/conv_spec_int8.h"

#include <algorithm>

#include "tersor/runtime/operand.h"

namespace tersor::runtime {
namespace {

using quantization::ConvInt8Epilogue;
using quantization::ConvInt8Shape;

bool is_codes(const PlanEdge* edge) {
  return edge && edge->dtype == DType::int8 && edge->qparams && edge->qparams->per_tensor() &&
         edge->qparams->scale.size() == 1 && edge->qparams->zero_point.size() == 1;
}

bool weights_fit(const PlanEdge* w, int64_t outputs) {
  if (!w || w->dtype != DType::int8 || !w->constant || !w->qparams || w->qparams->group_size)
    return false;
  const QParams& q = *w->qparams;
  const bool zero =
      std::all_of(q.zero_point.begin(), q.zero_point.end(), [](int32_t z) { return z == 0; });
  return zero && (q.scale.size() == 1 || q.scale.size() == static_cast<size_t>(outputs));
}

// The window of a convolution with one or two spatial dimensions; of a dense layer: rows are pixels
// of one line.
bool read_shape(const StepSpec& spec, ConvInt8Shape* s) {
  const PlanEdge& x = *spec.inputs[0];
  const PlanEdge& y = *spec.outputs[0];
  const Shape& w = spec.inputs[1]->shape;
  if (x.size() == 0 || y.size() == 0) return false;
  s->out_channels = w.at(0);
  if (spec.op == Op::dense) {
    if (w.size() != 2) return false;
    s->channels = w[1];
    s->width = x.size() / w[1];
    return true;
  }
  const size_t rank = x.shape.size();
  if ((rank != 3 && rank != 4) || w.size() != rank) return false;
  if (x.layout != Layout::channels_last || y.layout != Layout::channels_last) return false;
  const bool two = rank == 4;
  const size_t last = rank - 3,
               count = rank - 2;  // the width among the spatial dimensions, and their number
  const graph::Ints& strides = spec.attributes.integers("strides");
  const graph::Ints& dilations = spec.attributes.integers("dilations");
  const graph::Ints& pads = spec.attributes.integers("pads");
  s->batch = x.shape[0];
  s->height = two ? x.shape[1] : 1;
  s->width = x.shape[1 + last];
  s->channels = x.shape.back();
  s->kernel_h = two ? w[2] : 1;
  s->kernel_w = w[2 + last];
  s->stride_h = two ? strides.at(0) : 1;
  s->stride_w = strides.at(last);
  s->dilation_h = two ? dilations.at(0) : 1;
  s->dilation_w = dilations.at(last);
  s->pad_top = two ? pads.at(0) : 0;
  s->pad_left = pads.at(last);
  s->pad_bottom = two ? pads.at(count) : 0;
  s->pad_right = pads.at(count + last);
  s->groups = spec.attributes.integer("groups");
  return s->out_channels == y.shape.back() && s->out_width() == y.shape[1 + last] &&
         (!two || s->out_height() == y.shape[1]);
}

ConvInt8Epilogue read_epilogue(const StepSpec& spec, int64_t outputs) {
  const PlanEdge& output = *spec.outputs[0];
  const PlanEdge& first = spec.post_add ? *spec.inner : output;
  const std::vector<float>& scales = spec.inputs[1]->qparams->scale;
  const auto range = quantization::activation_codes(activation_of(spec), *first.qparams);
  ConvInt8Epilogue e;
  e.exact = spec.options.arithmetic == Arithmetic::exact;
  for (int64_t o = 0; o < outputs; ++o) {
    const float scale = scales[scales.size() == 1 ? 0 : static_cast<size_t>(o)];
    const double multiplier = quantization::requantize_multiplier(spec.inputs[0]->qparams->scale[0],
                                                                  scale, first.qparams->scale[0]);
    e.requantizers.push_back(quantization::requantizer(multiplier, *first.qparams, range));
  }
  if (spec.post_add) {
    e.adder = quantization::code_adder(
        *first.qparams, *spec.inputs.back()->qparams, *output.qparams, false,
        quantization::activation_codes(spec.post_activation, *output.qparams));
  }
  return e;
}

}  // namespace

std::optional<ConvSpecInt8> read_conv_int8(const StepSpec& spec) {
  if (spec.op != Op::conv && spec.op != Op::dense) return std::nullopt;
  const size_t inputs = spec.inputs.size() - (spec.post_add ? 1 : 0);
  const PlanEdge* bias = inputs > 2 ? spec.inputs[2] : nullptr;
  if (!is_codes(spec.inputs.at(0)) || !is_codes(spec.outputs.at(0))) return std::nullopt;
  if (spec.inputs[0]->constant || (bias && (bias->dtype != DType::int32 || !bias->constant)))
    return std::nullopt;
  if (spec.post_add &&
      (!is_codes(spec.inner) || !is_codes(spec.inputs.back()) || spec.inputs.back()->constant)) {
    return std::nullopt;
  }
  ConvSpecInt8 conv;
  if (!spec.inputs.at(1) || spec.inputs[1]->shape.empty() || !read_shape(spec, &conv.shape))
    return std::nullopt;
  if (!weights_fit(spec.inputs[1], conv.shape.out_channels)) return std::nullopt;
  conv.weights = spec.inputs[1]->constant.as<int8_t>();
  conv.bias = bias ? bias->constant.as<int32_t>() : nullptr;
  conv.zero_point = spec.inputs[0]->qparams->zero_point[0];
  conv.epilogue = read_epilogue(spec, conv.shape.out_channels);
  conv.residual = spec.post_add ? static_cast<int>(spec.inputs.size()) - 1 : -1;
  return conv;
}

ConvShapeFloat32 shape_in_words(const ConvInt8Shape& s) {
  ConvShapeFloat32 w;
  w.batch = s.batch;
  w.input_height = s.height;
  w.input_width = s.width;
  w.input_channels = s.channels / 4;
  w.output_height = s.out_height();
  w.output_width = s.out_width();
  w.output_channels = s.out_channels;
  w.kernel_height = s.kernel_h;
  w.kernel_width = s.kernel_w;
  w.stride_y = s.stride_h;
  w.stride_x = s.stride_w;
  w.dilation_y = s.dilation_h;
  w.dilation_x = s.dilation_w;
  w.pad_top = s.pad_top;
  w.pad_left = s.pad_left;
  return w;
}

}  // namespace tersor::runtime
