// Generalised Jensen-Shannon divergence (Agarwal et al. 2024, "On-Policy Distillation of Language
// Models", eq. 1) of p = softmax(z / T) (student) and q = softmax(t / T) (teacher):
//
//   m = beta * q + (1 - beta) * p
//   loss = T^2 * mean over rows of [beta * KL(q || m) + (1 - beta) * KL(p || m)],    0 < beta < 1
//
// and its limits after division by beta, KL(q || p) for beta = 0, and by 1 - beta, KL(p || q) for
// beta = 1. Rows with label ignore_index do not count; labels serve for nothing else. The rest as
// in kd.h.
#pragma once

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"
#include "tersor/distillation/softened.h"

namespace tersor::distillation {

struct JsdOptions {
  float temperature = 1;
  float beta = 0.5f;  // [0, 1]
  std::int64_t ignore_index = -100;
};

TERSOR_API double jsd_loss(const Logits& logits, const std::int64_t* labels,
                           const JsdOptions& options, void* gradient);

// What the kernels need after softened_sums wrote u and v.
struct JsdTerms {
  float beta = 0;
  float inverse_temperature = 0;
  float log_student = 0;  // log p[c] = (z[c] - student_origin) * inverse_temperature - log_student
  float log_teacher = 0;
};

// f[c] = log(p[c] / m[c]) to row.hard_student; for beta = 1, m = q.
// out[0] = sum p[c] f[c], out[1] = sum q[c] log(q[c] / m[c]).
using jsd_sums_sig = void(const SoftenedRow& row, const SoftenedSums& sums, const JsdTerms& terms,
                          double out[2]) noexcept;

// g[c] = factor * p[c] * (f[c] - mean).
using jsd_gradient_sig = void(const SoftenedRow& row, const SoftenedSums& sums, float factor,
                              float mean, float* gradient) noexcept;

}  // namespace tersor::distillation
