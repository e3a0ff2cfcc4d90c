#include <cmath>

#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

// The formulas of kd.h for a row whose sums are known.
struct KdPolicy {
  float temperature, alpha, smoothing;
  bool with_hard, standardize;
  // Of a row.
  RowScales scales = {};
  float value = 0, at_label = 0;
  float hard = 0, student = 0, teacher = 0;  // factors of e, u and v
  float spread = 0, slope = 0, center = 0;
  float student_origin = 0, teacher_origin = 0;

  __device__ RowOptions options(const RowsInput&) const {
    return {temperature, with_hard, with_hard, with_hard && smoothing > 0, standardize};
  }

  template <class Team>
  __device__ void finish(const RowsInput& in, const Team&, const Part&, const LogitRow&,
                         const LogitRow&, const RowSums& s) {
    const RowState& a = s.all;
    scales = s.scales;
    student_origin = reference(a.student_max);
    teacher_origin = reference(a.teacher_max);
    const float rows = static_cast<float>(in.counts->rows);
    const float soft_weight = (1 - alpha) * temperature * temperature / rows;
    const float kl = kLn2 * (a.difference / a.teacher + log2f(a.student / a.teacher));
    value = soft_weight > 0 ? soft_weight * kl : 0.0f;
    const float soft = soft_weight / s.student_divisor;
    student = soft / a.student;
    teacher = soft / a.teacher;
    if (standardize && s.student_deviation > 0) {
      const float distance = a.student_moment / a.student - a.teacher_moment / a.teacher;
      slope = soft * distance / (s.student_deviation + 1e-7f) / s.student_deviation /
              static_cast<float>(in.classes);
      center = s.student_mean;
    }
    if (s.has_label) finish_hard(in, s);
    // NaN among the logits: in the sums.
    if (!(a.student > 0 && a.teacher > 0)) value = NAN;
  }

  __device__ void finish_hard(const RowsInput& in, const RowSums& s) {
    RowState others = s.others;
    raise(others, s.all.student_max, s.all.teacher_max, scales);
    const float divisor = static_cast<float>(in.counts->label_weights);
    const float weight = divisor > 0 ? alpha / divisor : 0.0f;
    const float sharp = weight * (1 - smoothing) * s.label_weight;
    spread = weight * smoothing / static_cast<float>(in.classes);
    const float total = in.class_weights ? static_cast<float>(in.counts->class_weights)
                                         : static_cast<float>(in.classes);
    const float z = s.label_student - student_origin;
    const float e = exp2_of(kLog2E * z), sum = s.all.hard;
    // From the smaller part, where the subtraction would leave rounding errors only.
    const float loss = e > 0.5f * sum ? log1pf(others.hard / e) : logf(sum) - z;
    if (sharp > 0) value += sharp * loss;
    if (spread > 0) {
      value += spread * (total * (logf(sum) + student_origin - s.origin) - s.all.spread);
    }
    hard = (sharp + spread * total) / sum;
    at_label = (spread * total * e - sharp * others.hard) / sum - spread * s.label_weight +
               student * exp2_of(scales.student * z) -
               teacher * exp2_of(scales.teacher * (s.label_teacher - teacher_origin)) -
               slope * (s.label_student - center);
  }

  __device__ float loss() const { return value; }
  __device__ float gradient(float z, float t, float weight) const {
    const float zr = z - student_origin;
    const float u = exp2_of(scales.student * zr);
    float g = student * u;
    if (scales.power >= 0) g = fmaf(hard, hard_of(scales, u, zr), g);
    g = fmaf(-teacher, exp2_of(scales.teacher * (t - teacher_origin)), g);
    if (spread > 0) g = fmaf(-spread, weight, g);
    if (slope != 0) g = fmaf(-slope, z - center, g);
    return g;
  }
  __device__ float label_gradient() const { return at_label; }
  __device__ float top_gradient(float t) const {
    return -teacher * exp2_of(scales.teacher * (t - teacher_origin));
  }
};

}  // namespace

void kd_loss_cuda(const Logits& a, const std::int64_t* labels, const KdOptions& o, float* loss,
                  void* gradient, cuda::Stream stream) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "kd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(0 <= o.alpha && o.alpha <= 1, "kd_loss: alpha must be in [0, 1], got ", o.alpha);
  TERSOR_CHECK(0 <= o.label_smoothing && o.label_smoothing < 1,
               "kd_loss: label_smoothing must be in [0, 1), got ", o.label_smoothing);
  TERSOR_CHECK((a.classes > 0 && a.teacher_columns > 0) || a.rows == 0,
               "kd_loss: student and teacher must have at least 1 class, got 0");
  TERSOR_CHECK(!(o.standardize && a.teacher_indices),
               "kd_loss: standardize must be False with teacher_indices, got True");
  KdPolicy p = {};
  p.temperature = o.temperature;
  p.alpha = labels ? o.alpha : 0.0f;
  p.smoothing = o.label_smoothing;
  p.with_hard = labels && p.alpha > 0;
  p.standardize = o.standardize;
  run_logit_loss("kd_loss", a, labels, o.ignore_index, o.class_weights, p, loss, gradient, stream);
}

}  // namespace tersor::distillation
