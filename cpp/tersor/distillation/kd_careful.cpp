#include <cmath>
#include <vector>

#include "tersor/distillation/kd_row.h"
#include "tersor/distillation/softmax.h"

namespace tersor::distillation {
namespace {

// x / temperature, standardised before if asked for; mean and deviation are returned.
std::vector<double> softened(const float* x, std::size_t n, const KdCall& call, double moments[2]) {
  moments[0] = moments[1] = 0;
  if (call.standardize) {
    for (std::size_t c = 0; c < n; ++c) moments[0] += x[c];
    moments[0] /= static_cast<double>(n);
    for (std::size_t c = 0; c < n; ++c) moments[1] += (x[c] - moments[0]) * (x[c] - moments[0]);
    moments[1] = std::sqrt(moments[1] / static_cast<double>(n));
  }
  const double divisor = call.temperature * (call.standardize ? moments[1] + 1e-7 : 1.0);
  std::vector<double> y(n);
  for (std::size_t c = 0; c < n; ++c) y[c] = (x[c] - moments[0]) / divisor;
  return y;
}

}  // namespace

double careful_kd_row(const KdCall& call, const Row& row, std::size_t columns, std::int32_t label) {
  float* const gradient = row.gradient;
  const std::size_t n = call.classes;
  check_logits("kd_loss", "student logits", row.student, n, row.index);
  check_logits("kd_loss", "teacher logits", row.teacher, columns, row.index);
  double moments[2], unused[2];
  const std::vector<double> x = softened(row.student, n, call, moments);
  const Softmax student = softmax("kd_loss", x);
  const Softmax top = softmax("kd_loss", softened(row.teacher, columns, call, unused));
  std::vector<double> q(n, 0.0), g(n, 0.0);
  double kl = 0;
  for (std::size_t k = 0; k < columns; ++k) {
    const std::size_t c = row.classes ? static_cast<std::size_t>(row.classes[k]) : k;
    q[c] += top.p[k];
    if (top.p[k] > 0) kl += top.p[k] * (top.log_p[k] - student.log_p[c]);
  }
  double mean = 0, along = 0;
  const double factor = call.soft_weight / call.temperature;
  for (std::size_t c = 0; c < n; ++c) {
    g[c] = factor * (student.p[c] - q[c]);
    mean += g[c] / static_cast<double>(n);
    if (call.standardize) along += g[c] * x[c] * call.temperature / static_cast<double>(n);
  }
  if (call.standardize) {
    const double s = moments[1] + 1e-7;
    for (std::size_t c = 0; c < n; ++c) {
      const double unit = moments[1] > 0 ? (row.student[c] - moments[0]) / moments[1] : 0.0;
      g[c] = (g[c] - mean - along * unit) / s;
    }
  }
  double loss = call.soft_weight > 0 ? call.soft_weight * kl : 0.0;
  if (call.with_hard) {
    const Softmax plain = softmax("kd_loss", std::vector<double>(row.student, row.student + n));
    for (std::size_t c = 0; c < n; ++c) {
      const double w = call.weights ? call.weights[c] : 1.0;
      const double w_label = call.weights ? call.weights[label] : 1.0;
      const bool here = static_cast<std::int32_t>(c) == label;
      const double target = call.hard_weight * (call.smoothing / static_cast<double>(n) * w +
                                                (here ? (1 - call.smoothing) * w_label : 0.0));
      const double mass =
          call.hard_weight * (call.smoothing / static_cast<double>(n) * call.weight_sum +
                              (1 - call.smoothing) * w_label);
      if (target > 0) loss -= target * plain.log_p[c];
      g[c] += mass * plain.p[c] - target;
    }
  }
  for (std::size_t c = 0; gradient && c < n; ++c) gradient[c] = static_cast<float>(g[c]);
  return loss;
}

}  // namespace tersor::distillation
