#include "tersor/distillation/kd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/kernels.h"
#include "tersor/distillation/rows.h"

namespace tersor::distillation {
namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr double kLog2 = 0.6931471805599453;

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

// What a row needs to know about the call.
struct Call {
  std::size_t classes;
  double temperature;
  double smoothing;
  const float* weights;
  double weight_sum;   // of all classes
  bool with_hard;
  bool standardize;
  double hard_weight;  // alpha / sum w[y]: the term of a row in the result
  double soft_weight;  // (1 - alpha) * T^2 / rows
};

Hard hard_of(const Call& call) {
  if (!call.with_hard) return Hard::none;
  if (call.standardize) return Hard::separate;
  if (call.temperature == 1) return Hard::first_power;
  if (call.temperature == 2) return Hard::second_power;
  if (call.temperature == 4) return Hard::fourth_power;
  return Hard::separate;
}

// Classes as int32, -1 for rows that do not count. Returns how many do.
std::size_t read_labels(const std::int64_t* labels, const Logits& a, std::int64_t ignore,
                        std::int32_t* out) {
  std::size_t count = 0;
  for (std::size_t r = 0; r < a.rows; ++r) {
    if (labels[r] == ignore) {
      out[r] = -1;
      continue;
    }
    TERSOR_CHECK(0 <= labels[r] && labels[r] < static_cast<std::int64_t>(a.classes),
                 "kd_loss: labels must be in [0, ", a.classes, ") or ", ignore, ", got ", labels[r],
                 " in row ", r);
    out[r] = static_cast<std::int32_t>(labels[r]);
    ++count;
  }
  return count;
}

void check_indices(const Logits& a) {
  if (!a.teacher_indices) return;
  for (std::size_t i = 0; i < a.rows * a.teacher_columns; ++i) {
    const std::int64_t c = a.teacher_indices[i];
    TERSOR_CHECK(0 <= c && c < static_cast<std::int64_t>(a.classes),
                 "kd_loss: teacher_indices must be in [0, ", a.classes, "), got ", c, " in row ",
                 i / a.teacher_columns);
  }
}

// ---- the slow way in double, for rows with infinities and logits beyond 2^20

struct Softmax {
  std::vector<double> p, log_p;
};

Softmax softmax(const std::vector<double>& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  TERSOR_CHECK(std::isfinite(largest), "kd_loss: a row of logits must not be -inf throughout");
  double sum = 0;
  for (const double v : x) sum += std::exp(v - largest);
  const double log_sum = largest + std::log(sum);
  Softmax s{x, x};
  for (std::size_t c = 0; c < x.size(); ++c) s.p[c] = std::exp(s.log_p[c] -= log_sum);
  return s;
}

// x / temperature, standardised before if asked for; mean and deviation are returned.
std::vector<double> softened(const float* x, std::size_t n, const Call& call, double moments[2]) {
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

double careful_row(const Call& call, const Row& row, std::size_t columns, std::int32_t label,
                   float* gradient) {
  const std::size_t n = call.classes;
  check_logits("kd_loss", "student logits", row.student, n, row.index);
  check_logits("kd_loss", "teacher logits", row.teacher, columns, row.index);
  double moments[2], unused[2];
  const std::vector<double> x = softened(row.student, n, call, moments);
  const Softmax student = softmax(x);
  const Softmax top = softmax(softened(row.teacher, columns, call, unused));
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
    const Softmax plain = softmax(std::vector<double>(row.student, row.student + n));
    for (std::size_t c = 0; c < n; ++c) {
      const double w = call.weights ? call.weights[c] : 1.0;
      const double w_label = call.weights ? call.weights[label] : 1.0;
      const bool here = static_cast<std::int32_t>(c) == label;
      const double target = call.hard_weight * (call.smoothing / static_cast<double>(n) * w +
                                                (here ? (1 - call.smoothing) * w_label : 0.0));
      const double mass = call.hard_weight * (call.smoothing / static_cast<double>(n) * call.weight_sum +
                                              (1 - call.smoothing) * w_label);
      if (target > 0) loss -= target * plain.log_p[c];
      g[c] += mass * plain.p[c] - target;
    }
  }
  for (std::size_t c = 0; gradient && c < n; ++c) gradient[c] = static_cast<float>(g[c]);
  return loss;
}

// ---- the fast way: sums of exponentials, a few scalars, the gradient

double value_at(const float* scratch, const std::int32_t* exponents, int which, std::int32_t final,
                std::size_t c) {
  return std::ldexp(static_cast<double>(scratch[c]), exponents[c / kBlock * 3 + which] - final);
}

double hard_at(const SoftenedRow& s, const SoftenedSums& sums, std::size_t c) {
  if (s.hard == Hard::separate) {
    return value_at(s.hard_student, s.exponents, 2, sums.hard_exponent, c);
  }
  const double u = s.soft_student[c];
  const double power = s.hard == Hard::first_power    ? u
                       : s.hard == Hard::second_power ? u * u
                                                      : (u * u) * (u * u);
  return std::ldexp(power, s.exponents[c / kBlock * 3 + 2] - sums.hard_exponent);
}

float power_of(Hard hard) {
  return hard == Hard::fourth_power ? 4.0f : hard == Hard::second_power ? 2.0f : 1.0f;
}

// log of sum exp((x - origin) * ln2 * scale), from what the kernel summed.
double log_sum(double sum, double origin, float scale, std::int32_t exponent) {
  return std::log(sum) - (origin * scale - exponent) * kLog2;
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
bool top_softmax(const Row& row, std::size_t columns, double temperature, double* q, double& log_sum) {
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

double fast_row(const Call& call, const Row& row, std::size_t columns, std::int32_t label) {
  const std::size_t n = call.classes;
  SoftenedRow s;
  s.student = row.student;
  s.teacher = row.classes ? nullptr : row.teacher;
  s.n = n;
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
  const double student_divisor = call.temperature * (call.standardize ? student_deviation + 1e-7 : 1.0);
  const double teacher_divisor = call.temperature * (call.standardize ? teacher_deviation + 1e-7 : 1.0);
  s.student_scale = static_cast<float>(kLog2E / student_divisor);
  s.teacher_scale = static_cast<float>(kLog2E / teacher_divisor);
  SoftenedSums sums;
  softened_sums_table.pick()(s, sums);
  if (!std::isfinite(sums.difference + sums.student + sums.hard)) return NAN;

  // KL(q || p) = sum q log q - sum q log p; logits are relative to the origins.
  const double origin = sums.student_origin;
  const double log_student =
      log_sum(sums.student, origin, s.student_scale, sums.student_exponent);
  std::vector<double> top;
  double kl;
  if (s.teacher) {
    const double log_teacher =
        log_sum(sums.teacher, sums.teacher_origin, s.teacher_scale, sums.teacher_exponent);
    const double difference = sums.difference / sums.teacher;
    kl = difference / teacher_divisor + (log_student - log_teacher);
    if (call.standardize) {
      const double z = sums.teacher_moment / sums.teacher - origin;
      kl += z / teacher_divisor - z / student_divisor;
    }
  } else {
    top.resize(columns);
    double log_teacher;
    if (!top_softmax(row, columns, call.temperature, top.data(), log_teacher)) return NAN;
    kl = log_student - log_teacher;
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
      f.slope = static_cast<float>(soft * distance / s1 / student_deviation / static_cast<double>(n));
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
    const float hard_scale = s.hard == Hard::separate ? static_cast<float>(kLog2E)
                                                      : power_of(s.hard) * s.student_scale;
    const double log_hard = log_sum(sums.hard, origin, hard_scale, sums.hard_exponent);
    double others = sums.hard - e_label;
    if (e_label > 0.5 * sums.hard) {  // where the subtraction would leave rounding errors only
      double without[3];
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
    label_gradient = (spread * call.weight_sum * e_label - sharp * others) / sums.hard - spread * w_label +
                     f.student * value_at(s.soft_student, s.exponents, 0, sums.student_exponent, y) -
                     f.slope * (double{row.student[label]} - f.center);
    if (s.teacher) {
      label_gradient -= f.teacher * value_at(s.soft_teacher, s.exponents, 1, sums.teacher_exponent, y);
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

void few_classes(const Logits& a, const Call& call, const std::int32_t* labels, double per_row,
                 void* gradient, float* losses) {
  const auto kernel = kd_few_classes_table.pick();
  const std::size_t n = a.classes;
  const auto run = [&](std::size_t begin, std::size_t end, const float* z, const float* t, float* g) {
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
  const std::size_t count = labels ? read_labels(labels, a, o.ignore_index, classes) : a.rows;
  if (count == 0) {
    if (gradient) {
      std::fill_n(static_cast<char*>(gradient), a.rows * a.classes * bytes_of(a.student_type), char{0});
    }
    return 0;
  }
  const double alpha = labels ? o.alpha : 0.0;
  Call call;
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
    for (std::size_t r = 0; r < a.rows; ++r) divisor += classes[r] < 0 ? 0.0 : call.weights[classes[r]];
    TERSOR_CHECK(divisor > 0 || alpha == 0,
                 "kd_loss: class_weights must be > 0 for a class that occurs, got 0 for all of them");
  }
  call.hard_weight = alpha > 0 ? alpha / divisor : 0.0;

  const bool few = a.classes <= kFewClasses && !a.teacher_indices && !o.standardize && !call.weights;
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
    double value = fast_row(call, row, a.teacher_columns, label);
    if (!std::isfinite(value)) {
      value = careful_row(call, row, a.teacher_columns, label, row.gradient);
    }
    loss = static_cast<float>(value / scale);
    return true;
  });
  return ordered_sum(losses, a.rows) * scale;
}

}  // namespace tersor::distillation
