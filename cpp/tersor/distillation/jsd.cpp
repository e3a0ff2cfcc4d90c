#include "tersor/distillation/jsd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/distillation/kd.h"
#include "tersor/distillation/kernels.h"
#include "tersor/distillation/rows.h"
#include "tersor/distillation/softmax.h"

namespace tersor::distillation {
namespace {

constexpr double kLog2E = 1.4426950408889634;

struct Call {
  double temperature, beta;
  double per_row;  // 1 / rows that count
  double student_weight() const { return beta == 1 ? 1.0 : 1 - beta; }
  double teacher_weight() const { return beta == 1 ? 0.0 : beta; }
};

double careful_row(const Call& call, const Row& row, std::size_t n) {
  check_logits("jsd_loss", "student logits", row.student, n, row.index);
  check_logits("jsd_loss", "teacher logits", row.teacher, n, row.index);
  const auto softened = [&](const float* x) {
    std::vector<double> y(x, x + n);
    for (double& v : y) v /= call.temperature;
    return softmax("jsd_loss", y);
  };
  const Softmax student = softened(row.student), teacher = softened(row.teacher);
  std::vector<double> f(n, 0.0);
  double p_sum = 0, q_sum = 0;
  for (std::size_t c = 0; c < n; ++c) {
    const double p = student.p[c], q = teacher.p[c];
    const double m = call.beta * q + (1 - call.beta) * p;
    const double log_m = call.beta == 1 ? teacher.log_p[c] : std::log(m);
    if (p > 0) p_sum += p * (f[c] = student.log_p[c] - log_m);
    if (q > 0) q_sum += q * (teacher.log_p[c] - log_m);
  }
  const double weight = call.temperature * call.per_row * call.student_weight();
  for (std::size_t c = 0; row.gradient && c < n; ++c) {
    row.gradient[c] =
        static_cast<float>(student.p[c] > 0 ? weight * student.p[c] * (f[c] - p_sum) : 0.0);
  }
  return call.temperature * call.temperature * call.per_row *
         (call.student_weight() * p_sum +
          (call.teacher_weight() > 0 ? call.teacher_weight() * q_sum : 0.0));
}

double fast_row(const Call& call, const Row& row, std::size_t n) {
  SoftenedRow s;
  s.student = row.student;
  s.teacher = row.teacher;
  s.n = n;
  if (!row.streaming) s.target = row.gradient;
  s.student_scale = s.teacher_scale = static_cast<float>(kLog2E / call.temperature);
  s.soft_student = row.scratch->soft_student;
  s.soft_teacher = row.scratch->soft_teacher;
  s.hard_student = row.scratch->hard_student;
  s.exponents = row.scratch->exponents;
  SoftenedSums sums;
  softened_sums_table.pick()(s, sums);
  if (!std::isfinite(sums.difference + sums.student)) return NAN;
  JsdTerms terms;
  terms.beta = static_cast<float>(call.beta);
  terms.inverse_temperature = static_cast<float>(1 / call.temperature);
  terms.log_student = static_cast<float>(
      log_sum(sums.student, sums.student_origin, s.student_scale, sums.student_exponent));
  terms.log_teacher = static_cast<float>(
      log_sum(sums.teacher, sums.teacher_origin, s.teacher_scale, sums.teacher_exponent));
  double out[2];
  jsd_sums_table.pick()(s, sums, terms, out);
  const double loss = call.temperature * call.temperature * call.per_row *
                      (call.student_weight() * out[0] + call.teacher_weight() * out[1]);
  if (!std::isfinite(loss)) return NAN;
  if (row.gradient) {
    const double factor = call.temperature * call.per_row * call.student_weight();
    jsd_gradient_table.pick()(s, sums, static_cast<float>(factor), static_cast<float>(out[0]),
                              row.gradient);
  }
  return loss;
}

}  // namespace

double jsd_loss(const Logits& a, const std::int64_t* labels, const JsdOptions& o, void* gradient) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "jsd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(0 <= o.beta && o.beta <= 1, "jsd_loss: beta must be in [0, 1], got ", o.beta);
  TERSOR_CHECK(a.classes > 0 || a.rows == 0, "jsd_loss: student must have at least 1 class, got 0");
  TERSOR_CHECK(!a.teacher_indices, "jsd_loss: teacher must have all classes, got some of them");
  if (o.beta == 0) {
    KdOptions kl;
    kl.temperature = o.temperature;
    kl.alpha = 0;
    kl.ignore_index = o.ignore_index;
    return kd_loss(a, labels, kl, gradient);
  }
  CallMemory memory(a.rows * (sizeof(std::int32_t) + sizeof(float)));
  float* const losses = memory.as<float>();
  std::int32_t* const classes = reinterpret_cast<std::int32_t*>(losses + a.rows);
  const std::size_t count = read_labels("jsd_loss", a, labels, o.ignore_index, classes);
  const Call call = {o.temperature, o.beta,
                     1.0 / static_cast<double>(std::max<std::size_t>(count, 1))};
  for_each_row(a, gradient, 3, [&](const Row& row) {
    losses[row.index] = 0;
    if (classes[row.index] < 0) {
      if (row.gradient) std::fill_n(row.gradient, a.classes, 0.0f);
      return true;
    }
    double loss = o.temperature > kFastTemperature ? NAN : fast_row(call, row, a.classes);
    if (!std::isfinite(loss)) loss = careful_row(call, row, a.classes);
    losses[row.index] = static_cast<float>(loss);
    return true;
  });
  return ordered_sum(losses, a.rows);
}

}  // namespace tersor::distillation
