// Knowledge distillation from logits (Hinton et al. 2015), loss and gradient in one pass.
//
//   loss = alpha * CE(z, y) + (1 - alpha) * T^2 * KL(softmax(t / T) || softmax(z / T))
//
// KL is the mean over the rows that count: all but those with label ignore_index, which leave both
// terms and the divisor. CE is that of torch.nn.functional.cross_entropy: with class weights w it
// is a mean weighted by w[y], and label smoothing s makes the target (1 - s) onehot(y) + s /
// classes,
//
//   CE = sum_r [(1 - s) w[y] (lse - z[y]) + s / classes * sum_c w[c] (lse - z[c])] / sum_r w[y].
//
// With `standardize` the KL term sees (z - mean z) / (std z + 1e-7) and the teacher's likewise (Sun
// et al. 2024, "Logit Standardization in Knowledge Distillation", population standard deviation);
// its gradient passes through both.
//
// Without labels the loss is T^2 * KL, whatever alpha. No rows that count: loss 0, gradient 0.
//
// Computed in float32, row sums and the mean in double, in the order of the rows: the result does
// not depend on the number of threads. Rows are computed in double where T > 32: KL falls as
// 1 / T^2 and would be what float32 logarithms leave of a difference. -inf is a logit of
// probability 0; the loss is +inf where the teacher has more. NaN and +inf are errors that name the
// row, a class that comes twice among a row's teacher_indices is one, too.
#pragma once

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

struct KdOptions {
  float temperature = 4;
  float alpha = 0.5f;
  float label_smoothing = 0;
  const float* class_weights = nullptr;  // classes, finite and >= 0
  std::int64_t ignore_index = -100;
  bool standardize = false;
};

// `labels` has one class per row, nullptr for none. `gradient` has the student's shape and type; it
// may be the student's memory, whose logits are lost then, or nullptr for the loss alone.
// ValueError for options out of range, labels that are no class, logits that are not numbers.
TERSOR_API double kd_loss(const Logits& logits, const std::int64_t* labels,
                          const KdOptions& options, void* gradient);

}  // namespace tersor::distillation
