#include "tersor/distillation/dkd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/distillation/kernels.h"
#include "tersor/distillation/rows.h"
#include "tersor/distillation/softmax.h"

namespace tersor::distillation {
namespace {

constexpr double kLog2E = 1.4426950408889634;

struct Call {
  double temperature, alpha, beta;
  double per_row;  // 1 / rows that count
};

// What both ways find of one distribution.
struct Masses {
  double label, others;          // sum to 1
  double log_label, log_others;  // their logarithms
};

// x log(x / y), 0 for x = 0.
double relative(double x, double log_x, double log_y) { return x > 0 ? x * (log_x - log_y) : 0.0; }

double target_term(const Masses& p, const Masses& q) {
  return relative(q.label, q.log_label, p.log_label) +
         relative(q.others, q.log_others, p.log_others);
}

// q[y] - p[y], from the smaller of the two complements.
double surplus(const Masses& p, const Masses& q) {
  return p.label > 0.5 ? p.others - q.others : q.label - p.label;
}

double careful_row(const Call& call, const Row& row, std::size_t n, std::size_t y) {
  check_logits("dkd_loss", "student logits", row.student, n, row.index);
  check_logits("dkd_loss", "teacher logits", row.teacher, n, row.index);
  // The distribution over the others, and the masses.
  const auto split = [&](const float* x, Masses& masses) {
    std::vector<double> all(n), others;
    for (std::size_t c = 0; c < n; ++c) {
      all[c] = x[c] / call.temperature;
      if (c != y) others.push_back(all[c]);
    }
    const Softmax whole = softmax("dkd_loss", all);
    const Softmax rest = softmax("dkd_loss", others);
    const std::size_t first = y == 0 ? 1 : 0;
    masses.label = whole.p[y];
    masses.log_label = whole.log_p[y];
    masses.log_others =
        rest.p[0] > 0 ? whole.log_p[first] - rest.log_p[0] : std::log1p(-whole.p[y]);
    masses.others = std::exp(masses.log_others);
    return rest;
  };
  Masses p, q;
  const Softmax student = split(row.student, p), teacher = split(row.teacher, q);
  double others = 0;
  for (std::size_t k = 0; k + 1 < n; ++k) {
    others += relative(teacher.p[k], teacher.log_p[k], student.log_p[k]);
  }
  const double t2 = call.temperature * call.temperature * call.per_row;
  const double factor = call.temperature * call.per_row;
  for (std::size_t c = 0; row.gradient && c < n; ++c) {
    const std::size_t k = c < y ? c : c - 1;
    const double g =
        c == y ? -call.alpha * surplus(p, q)
               : (call.alpha * surplus(p, q) + call.beta) * student.p[k] - call.beta * teacher.p[k];
    row.gradient[c] = static_cast<float>(factor * g);
  }
  return t2 * (call.alpha * target_term(p, q) + call.beta * others);
}

double fast_row(const Call& call, const Row& row, std::size_t n, std::size_t y) {
  SoftenedRow s;
  s.student = row.student;
  s.teacher = row.teacher;
  s.n = n;
  if (!row.streaming) s.target = row.gradient;
  s.student_scale = s.teacher_scale = static_cast<float>(kLog2E / call.temperature);
  s.soft_student = row.scratch->soft_student;
  s.soft_teacher = row.scratch->soft_teacher;
  s.exponents = row.scratch->exponents;
  SoftenedSums sums;
  softened_sums_table.pick()(s, sums);
  if (!std::isfinite(sums.difference + sums.student)) return NAN;
  const double u = value_at(s.soft_student, s.exponents, 0, sums.student_exponent, y);
  const double v = value_at(s.soft_teacher, s.exponents, 1, sums.teacher_exponent, y);
  const double z = double{row.student[y]} - sums.student_origin;
  const double t = double{row.teacher[y]} - sums.teacher_origin;
  double without[4] = {sums.student - u, sums.teacher - v, 0, sums.difference - v * (t - z)};
  if (u > 0.5 * sums.student || v > 0.5 * sums.teacher) {
    softened_sums_without_table.pick()(s, sums, y, without);
  }
  const double all_student =
      log_sum(sums.student, sums.student_origin, s.student_scale, sums.student_exponent);
  const double all_teacher =
      log_sum(sums.teacher, sums.teacher_origin, s.teacher_scale, sums.teacher_exponent);
  const double log_student =
      log_sum(without[0], sums.student_origin, s.student_scale, sums.student_exponent);
  const double log_teacher =
      log_sum(without[1], sums.teacher_origin, s.teacher_scale, sums.teacher_exponent);
  const Masses p = {u / sums.student, without[0] / sums.student, z / call.temperature - all_student,
                    log_student - all_student};
  const Masses q = {v / sums.teacher, without[1] / sums.teacher, t / call.temperature - all_teacher,
                    log_teacher - all_teacher};
  const double others = without[3] / without[1] / call.temperature + (log_student - log_teacher);
  const double loss = call.temperature * call.temperature * call.per_row *
                      (call.alpha * target_term(p, q) + call.beta * others);
  if (!std::isfinite(loss)) return NAN;
  if (!row.gradient) return loss;
  const double factor = call.temperature * call.per_row;
  GradientFactors f;
  f.streaming = row.streaming;
  f.student = static_cast<float>(factor * (call.alpha * surplus(p, q) + call.beta) / without[0]);
  f.teacher = static_cast<float>(factor * call.beta / without[1]);
  softened_gradient_table.pick()(s, sums, f, row.gradient);
  row.gradient[y] = static_cast<float>(-factor * call.alpha * surplus(p, q));
  return loss;
}

}  // namespace

double dkd_loss(const Logits& a, const std::int64_t* labels, const DkdOptions& o, void* gradient) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "dkd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(std::isfinite(o.alpha) && o.alpha >= 0,
               "dkd_loss: alpha must be finite and >= 0, got ", o.alpha);
  TERSOR_CHECK(std::isfinite(o.beta) && o.beta >= 0, "dkd_loss: beta must be finite and >= 0, got ",
               o.beta);
  TERSOR_CHECK(a.classes >= 2 || a.rows == 0,
               "dkd_loss: student must have at least 2 classes, got ", a.classes);
  TERSOR_CHECK(!a.teacher_indices, "dkd_loss: teacher must have all classes, got some of them");
  CallMemory memory(a.rows * (sizeof(std::int32_t) + sizeof(float)));
  float* const losses = memory.as<float>();
  std::int32_t* const classes = reinterpret_cast<std::int32_t*>(losses + a.rows);
  const std::size_t count = read_labels("dkd_loss", a, labels, o.ignore_index, classes);
  const Call call = {o.temperature, o.alpha, o.beta,
                     1.0 / static_cast<double>(std::max<std::size_t>(count, 1))};
  for_each_row(a, gradient, 2, [&](const Row& row) {
    losses[row.index] = 0;
    if (classes[row.index] < 0) {
      if (row.gradient) std::fill_n(row.gradient, a.classes, 0.0f);
      return true;
    }
    const std::size_t y = static_cast<std::size_t>(classes[row.index]);
    double loss = o.temperature > kFastTemperature ? NAN : fast_row(call, row, a.classes, y);
    if (!std::isfinite(loss)) loss = careful_row(call, row, a.classes, y);
    losses[row.index] = static_cast<float>(loss);
    return true;
  });
  return ordered_sum(losses, a.rows);
}

}  // namespace tersor::distillation
