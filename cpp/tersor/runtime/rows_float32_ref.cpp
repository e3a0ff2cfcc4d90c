#include <cmath>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {

void softmax_float32_ref(const float* x, float* y, size_t rows, size_t n, bool logarithm) noexcept {
  for (size_t r = 0; r < rows; ++r, x += n, y += n) {
    double largest = n ? x[0] : 0.0f;
    for (size_t i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
    for (size_t i = 0; i < n; ++i) {
      const double shifted = x[i] - largest;
      y[i] = static_cast<float>(logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum);
    }
  }
}

void layer_norm_float32_ref(const float* x, float* y, size_t rows, size_t n, const float* gamma,
                            const float* beta, float epsilon) noexcept {
  for (size_t r = 0; r < rows; ++r, x += n, y += n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double factor =
        1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(epsilon));
    for (size_t i = 0; i < n; ++i) {
      y[i] = static_cast<float>((x[i] - mean) * factor * gamma[i] + (beta ? beta[i] : 0.0f));
    }
  }
}

void sum_rows_float32_ref(const float* x, float* y, size_t rows, size_t n, float factor) noexcept {
  for (size_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += x[r * n + i];
    y[r] = static_cast<float>(sum * static_cast<double>(factor));
  }
}

void sum_columns_float32_ref(const float* x, float* y, size_t rows, size_t columns,
                             float factor) noexcept {
  for (size_t c = 0; c < columns; ++c) {
    double sum = 0;
    for (size_t r = 0; r < rows; ++r) sum += x[r * columns + c];
    y[c] = static_cast<float>(sum * static_cast<double>(factor));
  }
}

}  // namespace tersor::runtime
