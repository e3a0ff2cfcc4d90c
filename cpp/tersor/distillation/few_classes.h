// The combined distillation loss (kd.h) for rows of few classes: a vector holds one class of as
// many rows as it has lanes, so nothing is summed across lanes and short rows leave no lane empty.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/distillation/softened.h"

namespace tersor::distillation {

// Three scratch matrices of 64 classes x 16 rows are 12 KiB.
constexpr std::size_t kFewClasses = 64;

struct FewClasses {
  const float* student = nullptr;  // rows x classes
  const float* teacher = nullptr;
  const std::int32_t* labels = nullptr;  // rows; -1 leaves a row out; nullptr: no hard term
  std::size_t rows = 0;
  std::size_t classes = 0;  // in [1, kFewClasses]
  float temperature = 1;
  Hard hard = Hard::none;  // none: without the hard term
  float hard_weight = 0;   // alpha
  float soft_weight = 0;   // (1 - alpha) * temperature^2
  float smoothing = 0;
  float per_row = 1;  // 1 / rows that count: scales the gradient, not the losses
};

// losses[r] = hard_weight * ((1 - smoothing) * (lse - z[y]) + smoothing * (lse - mean z))
//             + soft_weight * KL(softmax(t / temperature) || softmax(z / temperature))
// and its gradient times per_row, 0 for rows left out; gradient may be nullptr or the student's
// logits. Where a loss of a group of rows is not finite, because a logit is not or is beyond 2^20,
// the losses of the whole group are NaN and its gradient is not written. Variants may differ by
// 2^-20 of the largest term.
using kd_few_classes_sig = void(const FewClasses& input, float* gradient, float* losses) noexcept;

}  // namespace tersor::distillation
