#include <algorithm>
#include <cmath>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

constexpr double kLog2E = 1.4426950408889634;

std::int32_t exponent_of(const float* x, std::size_t n, double scale) {
  return static_cast<std::int32_t>(std::nearbyint(*std::max_element(x, x + n) * scale));
}

// Undoes the exponent that the block of class c has beyond that of the row.
double scaled(double x, const SoftenedRow& row, std::size_t c, int which, std::int32_t exponent) {
  return std::ldexp(x, row.exponents[c / kBlock * 3 + which] - exponent);
}

double hard_of(const SoftenedRow& row, std::size_t c) {
  const double u = row.soft_student[c];
  switch (row.hard) {
    case Hard::first_power:
      return u;
    case Hard::second_power:
      return u * u;
    case Hard::fourth_power:
      return u * u * u * u;
    case Hard::separate:
      return row.hard_student[c];
    case Hard::none:
      break;
  }
  return 0;
}

bool representable(const float* x, std::size_t n, double scale) {
  return std::all_of(x, x + n, [=](float v) { return std::fabs(v * scale) < 1 << 20; });
}

}  // namespace

void softened_sums_ref(const SoftenedRow& row, SoftenedSums& sums) noexcept {
  sums = {};
  if (!representable(row.student, row.n, std::max<double>(row.student_scale, kLog2E)) ||
      (row.teacher && !representable(row.teacher, row.n, row.teacher_scale))) {
    sums.difference = NAN;
    return;
  }
  sums.student_exponent = exponent_of(row.student, row.n, row.student_scale);
  if (row.teacher) sums.teacher_exponent = exponent_of(row.teacher, row.n, row.teacher_scale);
  const int power[] = {0, 1, 2, 4};
  sums.hard_exponent = row.hard == Hard::separate
                           ? exponent_of(row.student, row.n, kLog2E)
                           : power[static_cast<int>(row.hard)] * sums.student_exponent;
  for (std::size_t block = 0; block * kBlock < row.n; ++block) {
    row.exponents[3 * block] = sums.student_exponent;
    row.exponents[3 * block + 1] = sums.teacher_exponent;
    row.exponents[3 * block + 2] = sums.hard_exponent;
  }
  sums.student_origin = *std::max_element(row.student, row.student + row.n);
  if (row.teacher) sums.teacher_origin = *std::max_element(row.teacher, row.teacher + row.n);
  for (std::size_t c = 0; c < row.n; ++c) {
    const double z = row.student[c];
    row.soft_student[c] =
        static_cast<float>(std::exp2(z * row.student_scale - sums.student_exponent));
    if (row.hard == Hard::separate) {
      row.hard_student[c] = static_cast<float>(std::exp2(z * kLog2E - sums.hard_exponent));
    }
    sums.student += row.soft_student[c];
    sums.hard += hard_of(row, c);
    if (row.moments) sums.student_moment += row.soft_student[c] * z;
    if (!row.teacher) continue;
    const double t = row.teacher[c];
    row.soft_teacher[c] =
        static_cast<float>(std::exp2(t * row.teacher_scale - sums.teacher_exponent));
    sums.teacher += row.soft_teacher[c];
    sums.difference +=
        row.soft_teacher[c] * ((t - sums.teacher_origin) - (z - sums.student_origin));
    if (row.moments) sums.teacher_moment += row.soft_teacher[c] * z;
  }
}

void softened_sums_without_ref(const SoftenedRow& row, const SoftenedSums& s, std::size_t without,
                               double out[4]) noexcept {
  std::fill(out, out + 4, 0.0);
  for (std::size_t c = 0; c < row.n; ++c) {
    if (c == without) continue;
    out[0] += scaled(row.soft_student[c], row, c, 0, s.student_exponent);
    if (row.teacher) {
      const double v = scaled(row.soft_teacher[c], row, c, 1, s.teacher_exponent);
      const double t = double{row.teacher[c]} - s.teacher_origin;
      out[1] += v;
      out[3] += v * (t - (double{row.student[c]} - s.student_origin));
    }
    out[2] += scaled(hard_of(row, c), row, c, 2, s.hard_exponent);
  }
}

void softened_gradient_ref(const SoftenedRow& row, const SoftenedSums& s, const GradientFactors& f,
                           float* gradient) noexcept {
  for (std::size_t c = 0; c < row.n; ++c) {
    double g = f.hard * scaled(hard_of(row, c), row, c, 2, s.hard_exponent) - f.constant +
               f.student * scaled(row.soft_student[c], row, c, 0, s.student_exponent);
    if (row.teacher) g -= f.teacher * scaled(row.soft_teacher[c], row, c, 1, s.teacher_exponent);
    g -= f.slope * (double{row.student[c]} - f.center);
    if (f.weights) g -= double{f.weight} * f.weights[c];
    gradient[c] = static_cast<float>(g);
  }
}

void row_moments_ref(const float* x, const float* weights, std::size_t n, float shift,
                     double out[2]) noexcept {
  out[0] = out[1] = 0;
  for (std::size_t c = 0; c < n; ++c) {
    const double d = double{x[c]} - shift;
    out[0] += weights ? weights[c] * d : d;
    if (!weights) out[1] += d * d;
  }
}

}  // namespace tersor::distillation
