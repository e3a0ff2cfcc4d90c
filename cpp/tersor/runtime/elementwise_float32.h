// Element-wise arithmetic and functions on float32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

enum class BinaryFunction : uint8_t { add, sub, mul, div, minimum, maximum, prelu };

// For r < rows, c < columns:
//   y[r * columns + c] = clamp(f(a[r * a_row + c * a_step], b[r * b_row + c * b_step]), low, high)
// Steps are 0 or 1 (not both 0 when columns > 1 matters for speed only). clamp keeps NaN; minimum
// and maximum give NaN if either operand is; prelu(a, b) = a < 0 ? a * b : a. Every operation
// rounds once, so all variants are bit-equal. y may be a or b where the offsets agree.
struct BinaryFloat32 {
  const float* a;
  ptrdiff_t a_row, a_step;
  const float* b;
  ptrdiff_t b_row, b_step;
  float* y;
  size_t rows, columns;
  float low, high;
};
using binary_float32_sig = void(BinaryFunction function, const BinaryFloat32& operands) noexcept;

enum class UnaryFunction : uint8_t {
  clip,
  leaky_relu,
  elu,
  sigmoid,
  hard_sigmoid,
  hard_swish,
  silu,
  gelu,
  gelu_tanh,
  tanh,
  erf,
  exp,
  log,
  sqrt,
  neg,
  abs,
  softplus
};

// y[i] = f(x[i]) as in graph/unary_function.h, with its one or two parameters a, b: clip(min, max;
// relu has 0 and infinity), leaky_relu and elu (alpha), hard_sigmoid (alpha, beta). NaN gives NaN.
// Error at most 4 units in the last place of the result (gelu, gelu_tanh, silu and hard_swish: or 4
// eps |x|, whichever is more); results below 2^-125 may become 0. y may be x.
using unary_float32_sig = void(UnaryFunction function, const float* x, float* y, size_t n, float a,
                               float b) noexcept;

}  // namespace tersor::runtime
