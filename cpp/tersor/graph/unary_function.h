// Operators of one input that act on each value alone: their formulas, and their tables over int8
// codes.
#pragma once

#include <array>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/graph/attributes.h"
#include "tersor/graph/operator.h"
#include "tersor/quantization/qparams.h"

namespace tersor::graph {

// relu, clip, leaky_relu, elu, sigmoid, hard_sigmoid, hard_swish, silu, gelu, tanh, erf, exp, log,
// sqrt, neg, abs, softplus.
TERSOR_API bool is_unary_function(Op op);

// f(x) in double precision. NaN gives NaN.
//   relu         max(x, 0)                      clip      min(max(x, min), max)
//   leaky_relu   x < 0 ? alpha * x : x          elu       x < 0 ? alpha * (exp(x) - 1) : x
//   sigmoid      1 / (1 + exp(-x))              silu      x * sigmoid(x)
//   hard_sigmoid clip(alpha * x + beta, 0, 1)   softplus  log(1 + exp(x))
//   hard_swish   x * clip(x / 6 + 1/2, 0, 1)    gelu      x / 2 * (1 + erf(x / sqrt 2)),
//   approximate = none
//                                               gelu      x / 2 * (1 + tanh(sqrt(2 / pi) * (x +
//                                               0.044715 x^3)))
TERSOR_API double unary_function(Op op, const Attributes& attributes, double x);

// table[code + 128] = clamp(round_half_even(f(s_in * (code - z_in)) / s_out) + z_out): the one
// definition of a unary function on int8 edges, in either arithmetic. A NaN gives z_out.
// Where TFLite Micro has integers for it, the table holds their result, at most one code off:
//   relu        Q(max(x, 0), s_in / s_out), Q as in quantization/requantize.h, x = code - z_in
//   leaky_relu  Q(x, s_in / s_out) for x >= 0, else Q(x, s_in * alpha / s_out)
//   hard_swish  x at 128 times its codes and the factor in 1 / 32768, both in 16 bits with 15-bit
//               multipliers, where s_in < 128 * s_out
TERSOR_API std::array<int8_t, 256> unary_table(Op op, const Attributes& attributes,
                                               const quantization::QParams& input,
                                               const quantization::QParams& output);

}  // namespace tersor::graph
