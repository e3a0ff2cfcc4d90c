#include <cmath>
#include <numbers>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

float binary(BinaryFunction function, float a, float b) {
  switch (function) {
    case BinaryFunction::add:
      return a + b;
    case BinaryFunction::sub:
      return a - b;
    case BinaryFunction::mul:
      return a * b;
    case BinaryFunction::div:
      return a / b;
    case BinaryFunction::minimum:
      return a != a || a < b ? a : b;
    case BinaryFunction::maximum:
      return a != a || a > b ? a : b;
    case BinaryFunction::prelu:
      break;
  }
  return a < 0 ? a * b : a;
}

double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

double unary(UnaryFunction function, double x, double a, double b) {
  switch (function) {
    case UnaryFunction::clip:
      return clip(x, a, b);
    case UnaryFunction::leaky_relu:
      return x < 0 ? a * x : x;
    case UnaryFunction::elu:
      return x < 0 ? a * std::expm1(x) : x;
    case UnaryFunction::sigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryFunction::hard_sigmoid:
      return clip(a * x + b, 0, 1);
    case UnaryFunction::hard_swish:
      return x <= -3 ? 0 : x >= 3 ? x : x * (x / 6 + 0.5);
    case UnaryFunction::silu:
      return x < -1000 ? 0 : x / (1 + std::exp(-x));
    case UnaryFunction::gelu:
      return x < -1000 ? 0 : 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case UnaryFunction::gelu_tanh:
      if (x < -1000) return 0;
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case UnaryFunction::tanh:
      return std::tanh(x);
    case UnaryFunction::erf:
      return std::erf(x);
    case UnaryFunction::exp:
      return std::exp(x);
    case UnaryFunction::log:
      return std::log(x);
    case UnaryFunction::sqrt:
      return std::sqrt(x);
    case UnaryFunction::neg:
      return -x;
    case UnaryFunction::abs:
      return std::fabs(x);
    case UnaryFunction::softplus:
      break;
  }
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))) + (x - x);
}

}  // namespace

void binary_float32_ref(BinaryFunction function, const BinaryFloat32& o) noexcept {
  for (size_t r = 0; r < o.rows; ++r) {
    for (size_t c = 0; c < o.columns; ++c) {
      const auto row = static_cast<ptrdiff_t>(r), column = static_cast<ptrdiff_t>(c);
      const float v = binary(function, o.a[row * o.a_row + column * o.a_step],
                             o.b[row * o.b_row + column * o.b_step]);
      o.y[r * o.columns + c] = v < o.low ? o.low : v > o.high ? o.high : v;
    }
  }
}

void unary_float32_ref(UnaryFunction function, const float* x, float* y, size_t n, float a,
                       float b) noexcept {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(unary(function, x[i], a, b));
}

}  // namespace tersor::runtime
