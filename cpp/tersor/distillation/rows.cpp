#include "tersor/distillation/rows.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

// About 50 us of work for a thread, several times what waking it costs.
constexpr std::size_t kElementsPerThread = 1 << 15;
// Elements that a thread takes at a time: few enough that two threads end together.
constexpr std::size_t kElementsPerTask = 1 << 13;

constexpr double kLog2 = 0.6931471805599453;

}  // namespace

const float* as_float32(const void* x, LogitType type, std::size_t first, std::size_t n,
                        float* scratch) {
  if (type == LogitType::float32) return static_cast<const float*>(x) + first;
  widen_bfloat16_table.pick()(static_cast<const std::uint16_t*>(x) + first, scratch, n);
  return scratch;
}

void for_each_row(const Logits& a, void* gradient, int scratch_rows,
                  detail::FunctionRef<bool(const Row&)> one_row) {
  const std::size_t n = a.classes, columns = a.teacher_columns;
  const std::size_t elements = a.rows * (n + columns);
  const std::size_t per_task =
      std::max<std::size_t>(1, kElementsPerTask / std::max<std::size_t>(n, 1));
  const std::size_t tasks = (a.rows + per_task - 1) / per_task;
  const std::size_t most = std::max<std::size_t>(1, elements / kElementsPerThread);
  const int workers =
      static_cast<int>(std::min({most, tasks, static_cast<std::size_t>(threads())}));
  const bool narrow = gradient && a.student_type == LogitType::bfloat16;
  // Not a multiple of 4 KiB: a load 4 KiB behind a store waits for it.
  const std::size_t vector = (std::max(n, columns) + kPadding + 15) / 64 * 64 + 80;
  const std::size_t blocks = (n / kBlock + 1) * 3;
  const std::size_t wide_student = a.student_type == LogitType::bfloat16 ? vector : 0;
  const std::size_t wide_teacher = a.teacher_type == LogitType::bfloat16 ? vector : 0;
  const std::size_t wide_gradient = narrow ? vector : 0;
  const std::size_t stride = vector * static_cast<std::size_t>(scratch_rows) + wide_student +
                             wide_teacher + wide_gradient + (blocks + 15) / 16 * 16;
  CallMemory memory(static_cast<std::size_t>(std::max(workers, 1)) * stride * sizeof(float));
  float* const all = memory.as<float>();
  const bool streaming = gradient && !narrow && a.rows * n * sizeof(float) >= kStreamBytes;
  parallel_tasks(tasks, std::max(workers, 1), [&](std::size_t task, int worker) {
    float* p = all + static_cast<std::size_t>(worker) * stride;
    float* const widened = p + static_cast<std::size_t>(scratch_rows) * vector;
    float* const exponents = widened + wide_student + wide_teacher + wide_gradient;
    const RowScratch scratch = {
        widened,    widened + wide_student, widened + wide_student + wide_teacher,     p,
        p + vector, p + 2 * vector,         reinterpret_cast<std::int32_t*>(exponents)};
    const std::size_t end = std::min(a.rows, (task + 1) * per_task);
    for (std::size_t r = task * per_task; r < end; ++r) {
      float* const wide = narrow ? scratch.gradient : static_cast<float*>(gradient) + r * n;
      const Row row = {r,
                       as_float32(a.student, a.student_type, r * n, n, scratch.student),
                       as_float32(a.teacher, a.teacher_type, r * columns, columns, scratch.teacher),
                       a.teacher_indices ? a.teacher_indices + r * columns : nullptr,
                       gradient ? wide : nullptr,
                       streaming,
                       &scratch};
      if (one_row(row) && narrow) {
        narrow_bfloat16_table.pick()(wide, static_cast<std::uint16_t*>(gradient) + r * n, n);
      }
    }
  });
}

std::size_t read_labels(const char* operation, const Logits& a, const std::int64_t* labels,
                        std::int64_t ignore, std::int32_t* out) {
  if (!labels) {
    std::fill_n(out, a.rows, 0);
    return a.rows;
  }
  std::size_t count = 0;
  for (std::size_t r = 0; r < a.rows; ++r) {
    if (labels[r] == ignore) {
      out[r] = -1;
      continue;
    }
    TERSOR_CHECK(0 <= labels[r] && labels[r] < static_cast<std::int64_t>(a.classes), operation,
                 ": labels must be in [0, ", a.classes, ") or ", ignore, ", got ", labels[r],
                 " in row ", r);
    out[r] = static_cast<std::int32_t>(labels[r]);
    ++count;
  }
  return count;
}

double log_shift(double origin, float scale, std::int32_t exponent) {
  return (exponent - origin * scale) * kLog2;
}

double log_sum(double sum, double origin, float scale, std::int32_t exponent) {
  return std::log(sum) + log_shift(origin, scale, exponent);
}

double ordered_sum(const float* values, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

void check_logits(const char* operation, const char* name, const float* x, std::size_t n,
                  std::size_t row) {
  for (std::size_t c = 0; c < n; ++c) {
    TERSOR_CHECK(x[c] < HUGE_VALF, operation, ": ", name, " must be numbers below infinity, got ",
                 x[c], " in row ", row, ", class ", c);
  }
}

}  // namespace tersor::distillation
