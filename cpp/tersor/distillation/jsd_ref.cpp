#include <cmath>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

double probability(const float* x, const SoftenedRow& row, std::size_t c, int which,
                   std::int32_t exponent, double sum) {
  return std::ldexp(double{x[c]}, row.exponents[c / kBlock * 3 + which] - exponent) / sum;
}

}  // namespace

void jsd_sums_ref(const SoftenedRow& row, const SoftenedSums& s, const JsdTerms& a,
                  double out[2]) noexcept {
  out[0] = out[1] = 0;
  for (std::size_t c = 0; c < row.n; ++c) {
    const double p = probability(row.soft_student, row, c, 0, s.student_exponent, s.student);
    const double q = probability(row.soft_teacher, row, c, 1, s.teacher_exponent, s.teacher);
    const double log_p =
        (double{row.student[c]} - s.student_origin) * a.inverse_temperature - a.log_student;
    const double log_q =
        (double{row.teacher[c]} - s.teacher_origin) * a.inverse_temperature - a.log_teacher;
    const double log_m = a.beta == 1 ? log_q : std::log(a.beta * q + (1 - a.beta) * p);
    row.hard_student[c] = static_cast<float>(log_p - log_m);
    out[0] += p * (log_p - log_m);
    out[1] += q * (log_q - log_m);
  }
}

void jsd_gradient_ref(const SoftenedRow& row, const SoftenedSums& s, float factor, float mean,
                      float* gradient) noexcept {
  for (std::size_t c = 0; c < row.n; ++c) {
    const double p = probability(row.soft_student, row, c, 0, s.student_exponent, s.student);
    gradient[c] = static_cast<float>(factor * p * (double{row.hard_student[c]} - mean));
  }
}

}  // namespace tersor::distillation
