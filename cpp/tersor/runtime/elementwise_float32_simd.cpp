// Compiled once per instruction set, so everything here but the kernels is static.
#include "tersor/runtime/float32_functions.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

// kA, kB: steps. y may be an operand exactly, never partly: no iteration depends on another.
template <int kA, int kB, class F>
inline void rows_of(const BinaryFloat32& o, F f) {
  const float low = o.low, high = o.high;
  const size_t columns = o.columns;
  for (size_t r = 0; r < o.rows; ++r) {
    const float* a = o.a + static_cast<ptrdiff_t>(r) * o.a_row;
    const float* b = o.b + static_cast<ptrdiff_t>(r) * o.b_row;
    float* y = o.y + r * columns;
#pragma GCC ivdep
    for (size_t c = 0; c < columns; ++c) y[c] = clip(f(a[kA ? c : 0], b[kB ? c : 0]), low, high);
  }
}

template <class F>
inline void binary(const BinaryFloat32& o, F f) {
  if (o.a_step && o.b_step) {
    rows_of<1, 1>(o, f);
  } else if (o.a_step) {
    rows_of<1, 0>(o, f);
  } else if (o.b_step) {
    rows_of<0, 1>(o, f);
  } else {
    rows_of<0, 0>(o, f);
  }
}

template <class F>
inline void map(const float* x, float* y, size_t n, F f) {
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) y[i] = f(x[i]);
}

}  // namespace

void TERSOR_SIMD_NAME(binary_float32)(BinaryFunction function, const BinaryFloat32& o) noexcept {
  switch (function) {
    case BinaryFunction::add:
      return binary(o, [](float a, float b) { return a + b; });
    case BinaryFunction::sub:
      return binary(o, [](float a, float b) { return a - b; });
    case BinaryFunction::mul:
      return binary(o, [](float a, float b) { return a * b; });
    case BinaryFunction::div:
      return binary(o, [](float a, float b) { return a / b; });
    case BinaryFunction::minimum:
      return binary(o, [](float a, float b) { return (a != a) | (a < b) ? a : b; });
    case BinaryFunction::maximum:
      return binary(o, [](float a, float b) { return (a != a) | (a > b) ? a : b; });
    case BinaryFunction::prelu:
      return binary(o, [](float a, float b) { return a < 0 ? a * b : a; });
  }
}

void TERSOR_SIMD_NAME(unary_float32)(UnaryFunction function, const float* x, float* y, size_t n,
                                     float a, float b) noexcept {
  switch (function) {
    case UnaryFunction::clip:
      return map(x, y, n, [=](float v) { return clip(v, a, b); });
    case UnaryFunction::leaky_relu:
      return map(x, y, n, [=](float v) { return v < 0 ? a * v : v; });
    case UnaryFunction::elu:
      return map(x, y, n, [=](float v) { return v < 0 ? a * exp_minus_1(v) : v; });
    case UnaryFunction::sigmoid:
      return map(x, y, n, [](float v) { return sigmoid_of(v); });
    case UnaryFunction::hard_sigmoid:
      return map(x, y, n, [=](float v) { return clip(a * v + b, 0.0f, 1.0f); });
    case UnaryFunction::hard_swish:
      // The bound at -3 makes -infinity give 0.
      return map(x, y, n, [](float v) {
        return clip(v, -3.0f, kInfinity) * clip(v * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);
      });
    case UnaryFunction::silu:
      return map(x, y, n, [](float v) { return clip(v, -200.0f, kInfinity) * sigmoid_of(v); });
    case UnaryFunction::gelu:
      return map(x, y, n, [](float v) {
        return 0.5f * clip(v, -200.0f, kInfinity) *
               (1.0f + erf_of(clip(v * 0.707106781f, -200.0f, 200.0f)));
      });
    case UnaryFunction::gelu_tanh:
      // (1 + tanh(z)) / 2 = sigmoid(2 z); beyond 200 both ends are reached.
      return map(x, y, n, [](float v) {
        const float c = clip(v, -200.0f, 200.0f);
        return clip(v, -200.0f, kInfinity) *
               sigmoid_of(1.5957691216f * (c + 0.044715f * c * c * c));
      });
    case UnaryFunction::tanh:
      return map(x, y, n, [](float v) { return tanh_of(v); });
    case UnaryFunction::erf:
      return map(x, y, n, [](float v) { return erf_of(clip(v, -200.0f, 200.0f)); });
    case UnaryFunction::exp:
      return map(x, y, n, [](float v) { return exp_of(v); });
    case UnaryFunction::log:
      return map(x, y, n, [](float v) { return log_of(v); });
    case UnaryFunction::sqrt:
      return map(x, y, n, [](float v) { return __builtin_sqrtf(v); });
    case UnaryFunction::neg:
      return map(x, y, n, [](float v) { return -v; });
    case UnaryFunction::abs:
      return map(x, y, n, [](float v) { return absolute(v); });
    case UnaryFunction::softplus:
      return map(x, y, n, [](float v) { return softplus_of(v); });
  }
}

}  // namespace tersor::runtime
