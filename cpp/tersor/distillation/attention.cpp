#include "tersor/distillation/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/kernels.h"
#include "tersor/distillation/rows.h"

namespace tersor::distillation {
namespace {

// About 20 us of work for a thread, several times what waking it costs.
constexpr std::size_t kElementsPerThread = 1 << 15;

double norm_of(const std::vector<float>& map) {
  double squares = 0;
  for (const float v : map) squares += double{v} * v;
  return std::max(std::sqrt(squares), 1e-12);
}

void check_finite(const char* name, const float* x, std::size_t n, std::size_t sample) {
  for (std::size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(std::isfinite(x[i]), "attention_loss: ", name, " must be finite, got ", x[i],
                 " in sample ", sample);
  }
}

// One sample's sum of squares, and the factor of each position in its gradient, times `weight`.
double sample_loss(const std::vector<float>& student, const std::vector<float>& teacher,
                   double weight, std::vector<float>& factor) {
  const double student_norm = norm_of(student), teacher_norm = norm_of(teacher);
  double loss = 0, along = 0;
  for (std::size_t j = 0; j < student.size(); ++j) {
    const double a = student[j] / student_norm, d = a - teacher[j] / teacher_norm;
    loss += d * d;
    along += a * d;
  }
  // Below its floor the norm is a constant.
  if (student_norm <= 1e-12) along = 0;
  for (std::size_t j = 0; j < student.size(); ++j) {
    const double a = student[j] / student_norm, d = a - teacher[j] / teacher_norm;
    factor[j] = static_cast<float>(4 * weight * (d - a * along) / student_norm);
  }
  return loss * weight;
}

}  // namespace

double attention_loss(const Features& f, void* gradient) {
  const std::size_t positions = f.positions;
  const std::size_t student_size = f.student_channels * positions;
  const std::size_t teacher_size = f.teacher_channels * positions;
  if (f.samples == 0 || positions == 0) return 0;
  const auto map = attention_map_table.pick();
  const auto apply = attention_gradient_table.pick();
  const bool wide_student = f.student_type == LogitType::bfloat16;
  const bool wide_teacher = f.teacher_type == LogitType::bfloat16;
  const double weight = 1.0 / (static_cast<double>(f.samples) * static_cast<double>(positions));
  std::vector<double> losses(f.samples);
  const std::size_t grain =
      std::max<std::size_t>(1, kElementsPerThread / std::max<std::size_t>(student_size, 1));
  parallel_for(f.samples, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<float> student(positions), teacher(positions), factor(positions);
    std::vector<float> x_wide(wide_student ? student_size : 0),
        y_wide(wide_teacher ? teacher_size : 0);
    for (std::size_t n = begin; n < end; ++n) {
      const float* x =
          as_float32(f.student, f.student_type, n * student_size, student_size, x_wide.data());
      const float* y =
          as_float32(f.teacher, f.teacher_type, n * teacher_size, teacher_size, y_wide.data());
      map(x, f.student_channels, positions, f.channels_last, student.data());
      map(y, f.teacher_channels, positions, f.channels_last, teacher.data());
      losses[n] = sample_loss(student, teacher, weight, factor);
      if (!std::isfinite(losses[n])) {
        check_finite("student", x, student_size, n);
        check_finite("teacher", y, teacher_size, n);
      }
      if (!gradient) continue;
      if (wide_student) {
        apply(x, factor.data(), f.student_channels, positions, f.channels_last, x_wide.data());
        narrow_bfloat16_table.pick()(
            x_wide.data(), static_cast<std::uint16_t*>(gradient) + n * student_size, student_size);
      } else {
        apply(x, factor.data(), f.student_channels, positions, f.channels_last,
              static_cast<float*>(gradient) + n * student_size);
      }
    }
  });
  double loss = 0;
  for (const double l : losses) loss += l;
  return loss;
}

}  // namespace tersor::distillation
