#include "tersor/graph/unary_function.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tersor/base/error.h"

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
  const double scale_in = input.scale.at(0);
  const double scale_out = output.scale.at(0);
  const int zero_in = input.zero_point.at(0);
  const int zero_out = output.zero_point.at(0);
  std::array<int8_t, 256> table{};
  for (int code = -128; code < 128; ++code) {
    const double y = unary_function(op, attributes, scale_in * (code - zero_in)) / scale_out;
    const double rounded = std::isnan(y) ? zero_out : std::nearbyint(y) + zero_out;
    table[static_cast<size_t>(code + 128)] = static_cast<int8_t>(clip(rounded, -128, 127));
  }
  return table;
}

}  // namespace tersor::graph
