// Reductions over rows of a float32 matrix. Sums run in 16 interleaved lanes that are added
// pairwise at the end, on every instruction set, so that all but the exponentials' variants are
// bit-equal.
#pragma once

#include <cstddef>

namespace tersor::runtime {

// y[r, i] = exp(x[r, i] - m) / sum_i exp(x[r, i] - m), m = max_i x[r, i]; logarithm: x[r, i] - m -
// log(sum). A NaN anywhere makes its row NaN. Relative error (absolute with logarithm, plus eps
// |y|) at most (n / 16 + 16) eps, plus 2^-125 (smaller exponentials count as 0). y may be x.
using softmax_float32_sig = void(const float* x, float* y, size_t rows, size_t n,
                                 bool logarithm) noexcept;

// y[r, i] = (x[r, i] - mean) / sqrt(variance + epsilon) * gamma[i] + beta[i], variance = mean of
// squared differences; beta may be nullptr. y may be x.
using layer_norm_float32_sig = void(const float* x, float* y, size_t rows, size_t n,
                                    const float* gamma, const float* beta, float epsilon) noexcept;

// y[r] = sum_i x[r, i] * factor.
using sum_rows_float32_sig = void(const float* x, float* y, size_t rows, size_t n,
                                  float factor) noexcept;

// y[c] = sum_r x[r, c] * factor, in row order.
using sum_columns_float32_sig = void(const float* x, float* y, size_t rows, size_t columns,
                                     float factor) noexcept;

}  // namespace tersor::runtime
