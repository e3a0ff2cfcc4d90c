// Mean squared difference of logits or features, with its gradient in one pass:
//
//   loss = mean of (x[i] - y[i])^2,    g[i] = 2 (x[i] - y[i]) / n
//
// On logits this is the loss of Ba and Caruana (2014) and Kim et al. (2021); on features the hint
// of FitNets (Romero et al. 2015) without its factor 1/2.
#pragma once

#include <cstddef>

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

// Float32 arithmetic; sums in double over fixed blocks, so the result does not depend on the number
// of threads. g has x's type, may be x or nullptr. n = 0: loss 0. ValueError, naming the operation,
// if a value is NaN or infinite.
TERSOR_API double mean_squared_difference(const char* operation, const void* x, LogitType x_type,
                                          const void* y, LogitType y_type, std::size_t n,
                                          void* gradient);

// g[i] = factor * (x[i] - y[i]) unless gradient is nullptr; returns the sum of (x[i] - y[i])^2,
// within 2^-20 relative. n <= kDifferenceBlock.
constexpr std::size_t kDifferenceBlock = 4096;
using squared_differences_sig = double(const float* x, const float* y, std::size_t n, float factor,
                                       float* gradient) noexcept;

}  // namespace tersor::distillation
