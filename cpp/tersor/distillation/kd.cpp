#include "tersor/distillation/kd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/kd_row.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

void check_options(const Logits& a, const KdOptions& o) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "kd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(0 <= o.alpha && o.alpha <= 1, "kd_loss: alpha must be in [0, 1], got ", o.alpha);
  TERSOR_CHECK(0 <= o.label_smoothing && o.label_smoothing < 1,
               "kd_loss: label_smoothing must be in [0, 1), got ", o.label_smoothing);
  TERSOR_CHECK(a.classes > 0 || a.rows == 0, "kd_loss: student must have at least 1 class, got 0");
  TERSOR_CHECK(a.teacher_columns > 0 || a.rows == 0,
               "kd_loss: teacher must have at least 1 class, got 0");
  TERSOR_CHECK(!(o.standardize && a.teacher_indices),
               "kd_loss: standardize must be False with teacher_indices, got True");
  for (std::size_t c = 0; o.class_weights && c < a.classes; ++c) {
    TERSOR_CHECK(std::isfinite(o.class_weights[c]) && o.class_weights[c] >= 0,
                 "kd_loss: class_weights must be finite and >= 0, got ", o.class_weights[c],
                 " for class ", c);
  }
}

void check_indices(const Logits& a) {
  if (!a.teacher_indices) return;
  TERSOR_CHECK(a.teacher_columns <= a.classes, "kd_loss: teacher_indices must be at most ",
               a.classes, " in a row, got ", a.teacher_columns);
  // A class that came twice would make the KL term negative.
  std::vector<std::size_t> last_row(a.classes, 0);  // that named the class, counted from 1
  for (std::size_t i = 0; i < a.rows * a.teacher_columns; ++i) {
    const std::int64_t c = a.teacher_indices[i];
    const std::size_t row = i / a.teacher_columns;
    TERSOR_CHECK(0 <= c && c < static_cast<std::int64_t>(a.classes),
                 "kd_loss: teacher_indices must be in [0, ", a.classes, "), got ", c, " in row ",
                 row);
    TERSOR_CHECK(last_row[static_cast<std::size_t>(c)] != row + 1,
                 "kd_loss: teacher_indices must be distinct in a row, got ", c, " twice in row ",
                 row);
    last_row[static_cast<std::size_t>(c)] = row + 1;
  }
}

void few_classes(const Logits& a, const KdCall& call, const std::int32_t* labels, double per_row,
                 void* gradient, float* losses) {
  const auto kernel = kd_few_classes_table.pick();
  const std::size_t n = a.classes;
  const auto run = [&](std::size_t begin, std::size_t end, const float* z, const float* t,
                       float* g) {
    FewClasses in;
    in.student = z;
    in.teacher = t;
    in.labels = labels ? labels + begin : nullptr;
    in.rows = end - begin;
    in.classes = n;
    in.temperature = static_cast<float>(call.temperature);
    in.hard = hard_of(call);
    in.hard_weight = static_cast<float>(call.hard_weight / per_row);
    in.soft_weight = static_cast<float>(call.soft_weight / per_row);
    in.smoothing = static_cast<float>(call.smoothing);
    in.per_row = static_cast<float>(per_row);
    kernel(in, g, losses + begin);
  };
  const bool plain = a.student_type == LogitType::float32 && a.teacher_type == LogitType::float32;
  // 64 rows of 64 classes, three times in float32, are 48 KiB.
  constexpr std::size_t kRows = 64;
  const std::size_t grain = std::max<std::size_t>(kRows, (std::size_t{1} << 15) / n);
  parallel_for(a.rows, grain, [&](std::size_t begin, std::size_t end) {
    float* g = static_cast<float*>(gradient);
    if (plain) {
      return run(begin, end, static_cast<const float*>(a.student) + begin * n,
                 static_cast<const float*>(a.teacher) + begin * n, g ? g + begin * n : nullptr);
    }
    alignas(64) float z[kRows * kFewClasses], t[kRows * kFewClasses], wide[kRows * kFewClasses];
    for (std::size_t r = begin; r < end; r += kRows) {
      const std::size_t count = std::min(kRows, end - r) * n;
      const bool narrow = gradient && a.student_type == LogitType::bfloat16;
      float* target = narrow ? wide : g ? g + r * n : nullptr;
      run(r, std::min(r + kRows, end), as_float32(a.student, a.student_type, r * n, count, z),
          as_float32(a.teacher, a.teacher_type, r * n, count, t), target);
      if (narrow) {
        narrow_bfloat16_table.pick()(wide, static_cast<std::uint16_t*>(gradient) + r * n, count);
      }
    }
  });
}

}  // namespace

double kd_loss(const Logits& a, const std::int64_t* labels, const KdOptions& o, void* gradient) {
  check_options(a, o);
  check_indices(a);
  CallMemory memory(a.rows * (sizeof(std::int32_t) + sizeof(float)));
  float* const losses = memory.as<float>();
  std::int32_t* const classes = labels ? reinterpret_cast<std::int32_t*>(losses + a.rows) : nullptr;
  const std::size_t count =
      labels ? read_labels("kd_loss", a, labels, o.ignore_index, classes) : a.rows;
  if (count == 0) {
    if (gradient) {
      std::fill_n(static_cast<char*>(gradient), a.rows * a.classes * bytes_of(a.student_type),
                  char{0});
    }
    return 0;
  }
  const double alpha = labels ? o.alpha : 0.0;
  KdCall call;
  call.classes = a.classes;
  call.temperature = o.temperature;
  call.smoothing = o.label_smoothing;
  call.weights = labels ? o.class_weights : nullptr;
  call.weight_sum = static_cast<double>(a.classes);
  call.with_hard = alpha > 0;
  call.standardize = o.standardize;
  call.soft_weight = (1 - alpha) * call.temperature * call.temperature / static_cast<double>(count);
  double divisor = static_cast<double>(count);
  if (call.weights) {
    call.weight_sum = 0;
    for (std::size_t c = 0; c < a.classes; ++c) call.weight_sum += call.weights[c];
    divisor = 0;
    for (std::size_t r = 0; r < a.rows; ++r)
      divisor += classes[r] < 0 ? 0.0 : call.weights[classes[r]];
    TERSOR_CHECK(
        divisor > 0 || alpha == 0,
        "kd_loss: class_weights must be > 0 for a class that occurs, got 0 for all of them");
  }
  call.hard_weight = alpha > 0 ? alpha / divisor : 0.0;

  const bool careful = o.temperature > kFastTemperature;
  const bool few =
      a.classes <= kFewClasses && !a.teacher_indices && !o.standardize && !call.weights && !careful;
  const double per_row = 1.0 / static_cast<double>(count);
  double scale = 1;  // of losses
  if (few) {
    few_classes(a, call, classes, per_row, gradient, losses);
    double sum = ordered_sum(losses, a.rows);
    if (std::isfinite(sum)) return sum * per_row;
    scale = per_row;
  }
  const int scratch_rows = hard_of(call) == Hard::separate ? 3 : a.teacher_indices ? 1 : 2;
  for_each_row(a, gradient, scratch_rows, [&](const Row& row) {
    const std::int32_t label = classes ? classes[row.index] : 0;
    float& loss = losses[row.index];
    if (few && std::isfinite(loss)) return false;
    if (label < 0) {
      loss = 0;
      if (row.gradient) std::fill_n(row.gradient, a.classes, 0.0f);
      return true;
    }
    double value = careful ? NAN : fast_kd_row(call, row, a.teacher_columns, label);
    if (!std::isfinite(value)) value = careful_kd_row(call, row, a.teacher_columns, label);
    loss = static_cast<float>(value / scale);
    return true;
  });
  return ordered_sum(losses, a.rows) * scale;
}

}  // namespace tersor::distillation
