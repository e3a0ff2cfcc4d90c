#include "tersor/runtime/reference_epilogue.h"

#include <cstring>

namespace tersor::runtime {

AffineOperands affine_operands(const StepSpec& spec) {
  const size_t count = spec.inputs.size() - (spec.post_add ? 1 : 0);
  AffineOperands out{operand(spec, 0), operand(spec, 1), {}, {}};
  if (count > 2) out.bias = operand(spec, 2);
  if (spec.post_add) out.residual = operand(spec, count);
  return out;
}

FloatEpilogue::FloatEpilogue(const StepSpec& spec)
    : activation_(activation_range(spec, activation_of(spec))),
      post_activation_(activation_range(spec, spec.post_activation)) {}

CodeEpilogue::CodeEpilogue(const StepSpec& spec)
    : exact_(spec.options.arithmetic == Arithmetic::exact) {
  const PlanEdge& output = *spec.outputs[0];
  const PlanEdge& first = spec.post_add ? *spec.inner : output;
  const QParams& weights = *spec.inputs.at(1)->qparams;
  const float scale = affine_of(spec, *spec.inputs[0]).scale;
  const float scale_out = affine_of(spec, first).scale;
  if (weights.group_size)
    refuse(spec, "weights must be quantized per tensor or channel, got groups");
  for (float scale_weight : weights.scale) {
    requantizers_.push_back(quantization::requantizer(
        quantization::requantize_multiplier(scale, scale_weight, scale_out), *first.qparams,
        quantization::activation_codes(activation_of(spec), *first.qparams)));
  }
  if (spec.post_add) {
    affine_of(spec, output);
    const PlanEdge& residual = *spec.inputs.back();
    affine_of(spec, residual);
    adder_ = quantization::code_adder(
        *first.qparams, *residual.qparams, *output.qparams, false,
        quantization::activation_codes(spec.post_activation, *output.qparams));
  }
}

void check_code_operands(const StepSpec& spec, const AffineOperands& in) {
  const auto is_codes = [](const Operand& x) {
    return x.edge.dtype == DType::int8 && x.edge.qparams;
  };
  if (in.bias.present() && in.bias.edge.dtype != DType::int32) refuse_types(spec);
  if (in.residual.present() && !is_codes(in.residual)) refuse_types(spec);
  if (spec.op == Op::matmul) return;
  for (int32_t zero_point : in.weights.edge.qparams->zero_point) {
    if (zero_point != 0)
      refuse(spec, "weights must have zero point 0, got " + std::to_string(zero_point));
  }
}

float round_to_bfloat16(float x) {
  if (x != x) return x;
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return x;
}

}  // namespace tersor::runtime
