#include <algorithm>
#include <cmath>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

// p = softmax(x / temperature); returns log sum exp(x / temperature).
double softmax(const float* x, std::size_t n, double temperature, double* p) {
  const double largest = *std::max_element(x, x + n) / temperature;
  double sum = 0;
  for (std::size_t c = 0; c < n; ++c) sum += p[c] = std::exp(x[c] / temperature - largest);
  for (std::size_t c = 0; c < n; ++c) p[c] /= sum;
  return largest + std::log(sum);
}

float row_loss(const FewClasses& in, const float* z, const float* t, std::int32_t label,
               float* gradient) {
  const std::size_t n = in.classes;
  double p[kFewClasses], q[kFewClasses], g[kFewClasses] = {};
  const double log_student = softmax(z, n, in.temperature, p);
  const double log_teacher = softmax(t, n, in.temperature, q);
  double loss = 0;
  for (std::size_t c = 0; c < n; ++c) {
    const double log_ratio = (t[c] - z[c]) / in.temperature - log_teacher + log_student;
    loss += in.soft_weight * q[c] * log_ratio;
    g[c] += in.soft_weight / in.temperature * (p[c] - q[c]);
  }
  if (in.hard != Hard::none) {
    const double lse = softmax(z, n, 1, p);
    double mean = 0;
    for (std::size_t c = 0; c < n; ++c) mean += z[c] / static_cast<double>(n);
    loss += in.hard_weight * ((1 - in.smoothing) * (lse - z[label]) + in.smoothing * (lse - mean));
    for (std::size_t c = 0; c < n; ++c) {
      const double target = in.smoothing / static_cast<double>(n) +
                            (static_cast<std::int32_t>(c) == label ? 1 - in.smoothing : 0.0);
      g[c] += in.hard_weight * (p[c] - target);
    }
  }
  if (!std::isfinite(loss)) return NAN;
  for (std::size_t c = 0; gradient && c < n; ++c)
    gradient[c] = static_cast<float>(g[c] * in.per_row);
  return static_cast<float>(loss);
}

}  // namespace

void kd_few_classes_ref(const FewClasses& in, float* gradient, float* losses) noexcept {
  for (std::size_t r = 0; r < in.rows; ++r) {
    const std::size_t at = r * in.classes;
    const std::int32_t label = in.labels ? in.labels[r] : 0;
    float* row = gradient ? gradient + at : nullptr;
    losses[r] = 0;
    if (label >= 0) {
      losses[r] = row_loss(in, in.student + at, in.teacher + at, label, row);
    } else if (row) {
      std::fill(row, row + in.classes, 0.0f);
    }
  }
}

}  // namespace tersor::distillation
