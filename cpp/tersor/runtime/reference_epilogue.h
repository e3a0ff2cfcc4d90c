// What follows the sum of a convolution or matrix product: bias, activation, residual add.
#pragma once

#include <cstdint>

#include "tersor/runtime/operand.h"

namespace tersor::runtime {

// Where the operands of a convolution or dense node lie in StepSpec::inputs.
struct AffineOperands {
  Operand x, weights, bias, residual;
};
AffineOperands affine_operands(const StepSpec& spec);

// y = activation(sum + bias), rounded to float; with a residual r: post_activation(y + r).
class FloatEpilogue {
 public:
  explicit FloatEpilogue(const StepSpec& spec);
  float operator()(double sum, const float* bias, int64_t channel, const float* residual,
                   int64_t offset) const {
    const auto y = static_cast<float>(clamp_to(activation_, sum + (bias ? bias[channel] : 0.0)));
    if (!residual) return y;
    return static_cast<float>(clamp_to(post_activation_, static_cast<double>(y) + residual[offset]));
  }

 private:
  Range activation_;
  Range post_activation_;
};

// The nearest bfloat16, ties to even; NaN stays NaN.
float round_to_bfloat16(float x);

}  // namespace tersor::runtime
