// Decoupled knowledge distillation (Zhao et al. 2022, "Decoupled Knowledge Distillation", eq. 7).
//
//   loss = T^2 * mean over rows of (alpha * TCKD + beta * NCKD)
//   TCKD = KL over the two masses (label, all others), teacher || student
//   NCKD = KL over the classes but the label, renormalised, teacher || student
//
// with p = softmax(z / T), q = softmax(t / T). Rows with label ignore_index do not count. The rest
// as in kd.h: float32 with sums in double, results independent of the threads, -inf is probability
// 0, NaN and +inf are errors.
#pragma once

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

struct DkdOptions {
  float temperature = 4;
  float alpha = 1;  // >= 0
  float beta = 8;   // >= 0
  std::int64_t ignore_index = -100;
};

// At least 2 classes; no teacher_indices.
TERSOR_API double dkd_loss(const Logits& logits, const std::int64_t* labels,
                           const DkdOptions& options, void* gradient);

}  // namespace tersor::distillation
