#include "tersor/distillation/kd_row.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

constexpr double kLog2E = 1.4426950408889634;

double hard_at(const SoftenedRow& s, const SoftenedSums& sums, std::size_t c) {
  if (s.hard == Hard::separate) {
    return value_at(s.hard_student, s.exponents, 2, sums.hard_exponent, c);
  }
  const double u = s.soft_student[c];
  const double power = s.hard == Hard::first_power    ? u
                       : s.hard == Hard::second_power ? u * u
                                                      : (u * u) * (u * u);
  return power * power_of_two(s.exponents[c / kBlock * 3 + 2] - sums.hard_exponent);
}

float power_of(Hard hard) {
  return hard == Hard::fourth_power ? 4.0f : hard == Hard::second_power ? 2.0f : 1.0f;
}

// Mean and population standard deviation.
void moments_of(const float* x, std::size_t n, double& mean, double& deviation) {
  double sums[2];
  row_moments_table.pick()(x, nullptr, n, x[0], sums);
  const double offset = sums[0] / static_cast<double>(n);
  mean = x[0] + offset;
  deviation = std::sqrt(std::max(0.0, sums[1] / static_cast<double>(n) - offset * offset));
}

// The teacher's softmax over its top classes, in double; false where a value is not finite.
bool top_softmax(const Row& row, std::size_t columns, double temperature, double* q,
                 double& log_sum) {
  const double largest = *std::max_element(row.teacher, row.teacher + columns) / temperature;
  double sum = 0;
  for (std::size_t k = 0; k < columns; ++k) {
    if (!std::isfinite(row.teacher[k])) return false;
    sum += q[k] = std::exp(row.teacher[k] / temperature - largest);
  }
  for (std::size_t k = 0; k < columns; ++k) q[k] /= sum;
  log_sum = largest + std::log(sum);
  return true;
}

}  // namespace

Hard hard_of(const KdCall& call) {
  if (!call.with_hard) return Hard::none;
  if (call.standardize) return Hard::separate;
  if (call.temperature == 1) return Hard::first_power;
  if (call.temperature == 2) return Hard::second_power;
  if (call.temperature == 4) return Hard::fourth_power;
  return Hard::separate;
}

double fast_kd_row(const KdCall& call, const Row& row, std::size_t columns, std::int32_t label) {
  const std::size_t n = call.classes;
  SoftenedRow s;
  s.student = row.student;
  s.teacher = row.classes ? nullptr : row.teacher;
  s.n = n;
  if (!row.streaming) s.target = row.gradient;
  s.hard = hard_of(call);
  s.moments = call.standardize;
  s.soft_student = row.scratch->soft_student;
  s.soft_teacher = row.scratch->soft_teacher;
  s.hard_student = row.scratch->hard_student;
  s.exponents = row.scratch->exponents;
  double mean = 0, student_deviation = 1, teacher_deviation = 1;
  if (call.standardize) {
    moments_of(row.teacher, n, mean, teacher_deviation);
    moments_of(row.student, n, mean, student_deviation);
    if (!(std::isfinite(teacher_deviation) && std::isfinite(student_deviation))) return NAN;
  }
  const double student_divisor =
      call.temperature * (call.standardize ? student_deviation + 1e-7 : 1.0);
  const double teacher_divisor =
      call.temperature * (call.standardize ? teacher_deviation + 1e-7 : 1.0);
  s.student_scale = static_cast<float>(kLog2E / student_divisor);
  s.teacher_scale = static_cast<float>(kLog2E / teacher_divisor);
  SoftenedSums sums;
  softened_sums_table.pick()(s, sums);
  if (!std::isfinite(sums.difference + sums.student + sums.hard)) return NAN;

  // KL(q || p) = sum q log q - sum q log p; logits are relative to the origins.
  const double origin = sums.student_origin;
  const double student_shift = log_shift(origin, s.student_scale, sums.student_exponent);
  std::vector<double> top;
  double kl;
  if (s.teacher) {
    const double teacher_shift =
        log_shift(sums.teacher_origin, s.teacher_scale, sums.teacher_exponent);
    const double difference = sums.difference / sums.teacher;
    kl = difference / teacher_divisor + std::log(sums.student / sums.teacher) +
         (student_shift - teacher_shift);
    if (call.standardize) {
      const double z = sums.teacher_moment / sums.teacher - origin;
      kl += z / teacher_divisor - z / student_divisor;
    }
  } else {
    top.resize(columns);
    double log_teacher;
    if (!top_softmax(row, columns, call.temperature, top.data(), log_teacher)) return NAN;
    kl = std::log(sums.student) + student_shift - log_teacher;
    for (std::size_t k = 0; k < columns; ++k) {
      const double z = row.student[row.classes[k]] - origin;
      kl += top[k] * (row.teacher[k] - z) / call.temperature;
    }
  }
  double loss = call.soft_weight * kl;

  GradientFactors f;
  f.streaming = row.streaming;
  const double soft = call.soft_weight / student_divisor;
  f.student = static_cast<float>(soft / sums.student);
  if (s.teacher) f.teacher = static_cast<float>(soft / sums.teacher);
  if (call.standardize) {
    const double distance = sums.student_moment / sums.student - sums.teacher_moment / sums.teacher;
    const double s1 = student_deviation + 1e-7;
    if (student_deviation > 0) {
      f.slope =
          static_cast<float>(soft * distance / s1 / student_deviation / static_cast<double>(n));
    }
    f.center = static_cast<float>(mean);
  }
  double label_gradient = 0;
  if (call.with_hard) {
    const double smoothing = call.smoothing / static_cast<double>(n);
    const double w_label = call.weights ? call.weights[label] : 1.0;
    const double sharp = call.hard_weight * (1 - call.smoothing) * w_label;
    const double spread = call.hard_weight * smoothing;
    const double e_label = hard_at(s, sums, static_cast<std::size_t>(label));
    const float hard_scale =
        s.hard == Hard::separate ? static_cast<float>(kLog2E) : power_of(s.hard) * s.student_scale;
    const double log_hard = log_sum(sums.hard, origin, hard_scale, sums.hard_exponent);
    double others = sums.hard - e_label;
    if (e_label > 0.5 * sums.hard) {  // where the subtraction would leave rounding errors only
      double without[4];
      softened_sums_without_table.pick()(s, sums, static_cast<std::size_t>(label), without);
      others = without[2];
      loss += sharp * std::log1p(others / e_label);
    } else {
      loss += sharp * (log_hard - (row.student[label] - origin));
    }
    if (spread > 0) {
      double dot[2];
      row_moments_table.pick()(row.student, call.weights, n, sums.student_origin, dot);
      loss += spread * (call.weight_sum * log_hard - dot[0]);
    }
    f.hard = static_cast<float>((sharp + spread * call.weight_sum) / sums.hard);
    if (call.weights) {
      f.weights = spread > 0 ? call.weights : nullptr;
      f.weight = static_cast<float>(spread);
    } else {
      f.constant = static_cast<float>(spread);
    }
    const std::size_t y = static_cast<std::size_t>(label);
    label_gradient =
        (spread * call.weight_sum * e_label - sharp * others) / sums.hard - spread * w_label +
        f.student * value_at(s.soft_student, s.exponents, 0, sums.student_exponent, y) -
        f.slope * (double{row.student[label]} - f.center);
    if (s.teacher) {
      label_gradient -=
          f.teacher * value_at(s.soft_teacher, s.exponents, 1, sums.teacher_exponent, y);
    }
  }
  if (!std::isfinite(loss)) return NAN;
  if (!row.gradient) return loss;
  softened_gradient_table.pick()(s, sums, f, row.gradient);
  if (call.with_hard) row.gradient[label] = static_cast<float>(label_gradient);
  for (std::size_t k = 0; k < top.size(); ++k) {
    row.gradient[row.classes[k]] -= static_cast<float>(soft * top[k]);
  }
  return loss;
}

}  // namespace tersor::distillation
