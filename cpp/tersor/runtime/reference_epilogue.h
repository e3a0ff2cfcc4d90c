// What follows the sum of a convolution or matrix product: bias, activation, residual add.
#pragma once

#include <cstdint>
#include <vector>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/operand.h"

namespace tersor::runtime {

// Where the operands of a convolution or dense node lie in StepSpec::inputs.
struct AffineOperands {
  Operand x, weights, bias, residual;
};
AffineOperands affine_operands(const StepSpec& spec);
// int8 nodes: bias int32, residual quantized, weights symmetric (but the right matrix of matmul).
void check_code_operands(const StepSpec& spec, const AffineOperands& in);

// y = activation(sum + bias), rounded to float; with a residual r: post_activation(y + r).
class FloatEpilogue {
 public:
  explicit FloatEpilogue(const StepSpec& spec);
  float operator()(double sum, const float* bias, int64_t channel, const float* residual,
                   int64_t offset) const {
    const auto y = static_cast<float>(clamp_to(activation_, sum + (bias ? bias[channel] : 0.0)));
    if (!residual) return y;
    return static_cast<float>(
        clamp_to(post_activation_, static_cast<double>(y) + residual[offset]));
  }

 private:
  Range activation_;
  Range post_activation_;
};

// code = requantize(sum + bias) to the output, or with a residual r to the inner edge, which is a
// rounding point: then add_codes(code, r). Formulas: quantization/requantize.h.
class CodeEpilogue {
 public:
  explicit CodeEpilogue(const StepSpec& spec);
  int8_t operator()(int32_t sum, const int32_t* bias, int64_t channel, const int8_t* residual,
                    int64_t offset) const {
    const auto& r = requantizers_[static_cast<size_t>(channel) % requantizers_.size()];
    const int32_t total = sum + (bias ? bias[channel] : 0);
    const int32_t code = exact_ ? r.exact(total) : r.fast(total);
    if (!residual) return static_cast<int8_t>(code);
    return static_cast<int8_t>(exact_ ? adder_.exact(code, residual[offset])
                                      : adder_.fast(code, residual[offset]));
  }

 private:
  bool exact_;
  std::vector<quantization::Requantizer> requantizers_;  // per output channel, or one
  quantization::CodeAdder adder_;
};

// The nearest bfloat16, ties to even; NaN stays NaN.
float round_to_bfloat16(float x);

}  // namespace tersor::runtime
