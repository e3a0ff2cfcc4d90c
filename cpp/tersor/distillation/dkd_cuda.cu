#include <cmath>

#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

// The masses of the label and of the others, which sum to 1, and their logarithms.
struct Masses {
  float label, others, log_label, log_others;
};

__device__ float relative(float x, float log_x, float log_y) {
  return x > 0 ? x * (log_x - log_y) : 0.0f;
}

// From sums without the label, relative to their own maximum: a label that holds nearly all of the
// probability leaves the others what they are.
__device__ Masses masses_of(float sum, float max, float scale, float label) {
  const float log_others = log2f(sum), log_label = scale * (label - reference(max));
  const float high = fmaxf(log_others, log_label);
  const float log_all = high + log2f(exp2f(log_others - high) + exp2f(log_label - high));
  Masses m;
  m.log_label = kLn2 * (log_label - log_all);
  m.log_others = kLn2 * (log_others - log_all);
  m.label = expf(m.log_label);
  m.others = expf(m.log_others);
  return m;
}

struct DkdPolicy {
  float temperature, alpha, beta;
  RowScales scales = {};
  float value = 0, at_label = 0, student = 0, teacher = 0;
  float student_origin = 0, teacher_origin = 0;

  __device__ RowOptions options(const RowsInput&) const {
    return {temperature, true, false, false, false};
  }

  template <class Team>
  __device__ void finish(const RowsInput& in, const Team&, const Part&, const LogitRow&,
                         const LogitRow&, const RowSums& s) {
    const RowState& o = s.others;
    scales = s.scales;
    student_origin = reference(o.student_max);
    teacher_origin = reference(o.teacher_max);
    const Masses p = masses_of(o.student, o.student_max, scales.student, s.label_student);
    const Masses q = masses_of(o.teacher, o.teacher_max, scales.teacher, s.label_teacher);
    const float target = relative(q.label, q.log_label, p.log_label) +
                         relative(q.others, q.log_others, p.log_others);
    const float others = kLn2 * (o.difference / o.teacher + log2f(o.student / o.teacher));
    const float per_row = 1 / static_cast<float>(in.counts->rows);
    value = temperature * temperature * per_row * (alpha * target + beta * others);
    // q[y] - p[y], from the smaller of the two complements.
    const float surplus = p.label > 0.5f ? p.others - q.others : q.label - p.label;
    const float factor = temperature * per_row;
    student = factor * (alpha * surplus + beta) / o.student;
    teacher = factor * beta / o.teacher;
    at_label = -factor * alpha * surplus;
  }

  __device__ float loss() const { return value; }
  __device__ float gradient(float z, float t, float) const {
    const float g = student * exp2_of(scales.student * (z - student_origin));
    return fmaf(-teacher, exp2_of(scales.teacher * (t - teacher_origin)), g);
  }
  __device__ float label_gradient() const { return at_label; }
  __device__ float top_gradient(float) const { return 0; }
};

}  // namespace

void dkd_loss_cuda(const Logits& a, const std::int64_t* labels, const DkdOptions& o, float* loss,
                   void* gradient, cuda::Stream stream) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "dkd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(std::isfinite(o.alpha) && o.alpha >= 0,
               "dkd_loss: alpha must be finite and >= 0, got ", o.alpha);
  TERSOR_CHECK(std::isfinite(o.beta) && o.beta >= 0, "dkd_loss: beta must be finite and >= 0, got ",
               o.beta);
  TERSOR_CHECK(a.classes >= 2 || a.rows == 0,
               "dkd_loss: student must have at least 2 classes, got ", a.classes);
  DkdPolicy p = {};
  p.temperature = o.temperature;
  p.alpha = o.alpha;
  p.beta = o.beta;
  run_logit_loss("dkd_loss", a, labels, o.ignore_index, nullptr, p, loss, gradient, stream);
}

}  // namespace tersor::distillation
