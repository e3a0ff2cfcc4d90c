#include "tersor/graph/unary_function.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "tersor/base/error.h"
#include "tersor/quantization/requantize.h"

namespace tersor::graph {
namespace {

double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// exp of a negative number only: nothing overflows.
double sigmoid(double x) {
  const double e = std::exp(-std::fabs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

double gelu(const Attributes& attributes, double x) {
  if (std::isinf(x)) return x < 0 ? 0 : x;
  const std::string& approximate = attributes.text("approximate");
  if (approximate == "tanh") {
    const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1 + std::tanh(inner));
  }
  TERSOR_CHECK_AS(GraphError, approximate == "none", "gelu: approximate must be none or tanh, got ",
                  approximate);
  return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);  // 1 + erf cancels for x << 0
}

int8_t saturated(double code) { return static_cast<int8_t>(clip(code, -128, 127)); }

// What quantization::fixed_multiplier takes.
bool is_multiplier(double s) { return s >= 0 && s < 0x1p30; }

// s * x in the integers of TFLite Micro.
int32_t scaled(int32_t x, double s) {
  const quantization::FixedMultiplier m = quantization::fixed_multiplier(s);
  return quantization::c99::tersor_scale(x, m.mantissa, m.shift);
}

// a * b / 2^15 of 16-bit numbers, rounded half away from zero or towards zero.
int32_t high_product(int32_t a, int32_t b, bool rounded) {
  if (a == -32768 && b == -32768) return 32767;
  const int32_t product = a * b;
  const int32_t half = product >= 0 ? 1 << 14 : 1 - (1 << 14);
  return (product + (rounded ? half : 0)) / (1 << 15);
}

int32_t saturated_shift(int32_t x, int32_t left) {
  return static_cast<int32_t>(clip(std::ldexp(x, left), -32768, 32767));
}

// x / 2^right, half away from zero.
int32_t rounded_shift(int32_t x, int32_t right) {
  const int32_t half = right > 0 ? 1 << (right - 1) : 0;
  return x < 0 ? -((half - x) >> right) : (x + half) >> right;
}

// The upper half of a 31-bit mantissa.
int32_t mantissa_16(const quantization::FixedMultiplier& m) {
  return m.mantissa >= INT32_MAX - (1 << 15) ? 32767 : (m.mantissa + (1 << 15)) >> 16;
}

// x * clip(x / 6 + 1/2, 0, 1) in the 16 bits of TFLite: x at 128 times its codes, the factor in
// 1 / 32768.
class HardSwish {
 public:
  // Nothing where TFLite has no integers for these scales.
  static std::optional<HardSwish> make(float scale_in, float scale_out) {
    const float fine = (1.0f / 128) * scale_in;
    const float output = fine / scale_out, factor = fine / (3.0f / 32768);
    if (!(output < 1) || !is_multiplier(output) || !is_multiplier(factor)) return std::nullopt;
    return HardSwish(quantization::fixed_multiplier(output),
                     quantization::fixed_multiplier(factor));
  }

  int32_t operator()(int32_t x) const {
    const int32_t wide = 128 * x;
    const int32_t value = high_product(wide, mantissa_16(output_), true);
    int32_t factor = wide;
    if (factor_.shift > 0) factor = saturated_shift(factor, factor_.shift - 1);
    factor = high_product(factor, mantissa_16(factor_), true);
    if (factor_.shift > 0) factor = saturated_shift(factor, 1);
    if (factor_.shift < 0) factor = rounded_shift(factor, -factor_.shift);
    factor = (factor + (1 << 15)) >> 1;
    return rounded_shift(high_product(factor, value, false), -output_.shift);
  }

 private:
  HardSwish(quantization::FixedMultiplier output, quantization::FixedMultiplier factor)
      : output_(output), factor_(factor) {}
  quantization::FixedMultiplier output_, factor_;
};

}  // namespace

bool is_unary_function(Op op) {
  switch (op) {
    case Op::relu:
    case Op::clip:
    case Op::leaky_relu:
    case Op::elu:
    case Op::sigmoid:
    case Op::hard_sigmoid:
    case Op::hard_swish:
    case Op::silu:
    case Op::gelu:
    case Op::tanh:
    case Op::erf:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::neg:
    case Op::abs:
    case Op::softplus:
      return true;
    default:
      return false;
  }
}

double unary_function(Op op, const Attributes& attributes, double x) {
  switch (op) {
    case Op::relu:
      return x < 0 ? 0 : x;
    case Op::clip:
      return clip(x, attributes.real("min"), attributes.real("max"));
    case Op::leaky_relu:
      return x < 0 ? attributes.real("alpha") * x : x;
    case Op::elu:
      return x < 0 ? attributes.real("alpha") * std::expm1(x) : x;
    case Op::sigmoid:
      return sigmoid(x);
    case Op::hard_sigmoid:
      return clip(attributes.real("alpha") * x + attributes.real("beta"), 0, 1);
    case Op::hard_swish:
      return x <= -3 ? 0 : x >= 3 ? x : x * (x / 6 + 0.5);
    case Op::silu:
      return std::isinf(x) && x < 0 ? 0 : x * sigmoid(x);
    case Op::gelu:
      return gelu(attributes, x);
    case Op::tanh:
      return std::tanh(x);
    case Op::erf:
      return std::erf(x);
    case Op::exp:
      return std::exp(x);
    case Op::log:
      return std::log(x);
    case Op::sqrt:
      return std::sqrt(x);
    case Op::neg:
      return -x;
    case Op::abs:
      return std::fabs(x);
    case Op::softplus:
      return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
    default:
      throw GraphError(message(name_of(op), ": must be a unary function"));
  }
}

std::array<int8_t, 256> unary_table(Op op, const Attributes& attributes,
                                    const quantization::QParams& input,
                                    const quantization::QParams& output) {
  const float scale_in = input.scale.at(0), scale_out = output.scale.at(0);
  const double wide_in = scale_in, wide_out = scale_out;
  const int zero_in = input.zero_point.at(0);
  const int zero_out = output.zero_point.at(0);
  const double slope = op == Op::leaky_relu ? static_cast<float>(attributes.real("alpha")) : 0.0;
  const double below = wide_in * slope / wide_out;
  const bool linear = (op == Op::relu || op == Op::leaky_relu) &&
                      is_multiplier(wide_in / wide_out) && is_multiplier(below);
  const auto hard_swish =
      op == Op::hard_swish ? HardSwish::make(scale_in, scale_out) : std::nullopt;
  std::array<int8_t, 256> table{};
  for (int code = -128; code < 128; ++code) {
    const int32_t x = code - zero_in;
    double y;
    if (linear) {
      y = scaled(x, x < 0 ? below : wide_in / wide_out);
    } else if (hard_swish) {
      y = (*hard_swish)(x);
    } else {
      const double real = unary_function(op, attributes, wide_in * x) / wide_out;
      y = std::isnan(real) ? 0 : std::nearbyint(real);
    }
    table[static_cast<size_t>(code + 128)] = saturated(y + zero_out);
  }
  return table;
}

}  // namespace tersor::graph
