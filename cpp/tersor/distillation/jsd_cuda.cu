#include <cmath>

#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

struct JsdPolicy {
  float temperature, beta;
  RowScales scales = {};
  float value = 0, factor = 0, mean = 0;
  float student_origin = 0, teacher_origin = 0, log_student = 0, log_teacher = 0;

  __device__ RowOptions options(const RowsInput&) const {
    return {temperature, false, false, false, false};
  }

  // log2 of p, q and m.
  struct Logs {
    float p, q, m;
  };
  __device__ Logs logs_of(float z, float t) const {
    Logs l;
    l.p = scales.student * (z - student_origin) - log_student;
    l.q = scales.teacher * (t - teacher_origin) - log_teacher;
    l.m = beta == 1 ? l.q : log2f(fmaf(beta, exp2_of(l.q), (1 - beta) * exp2_of(l.p)));
    return l;
  }

  // A second pass over the row: the sums of p log(p / m) and q log(q / m).
  template <class Team>
  __device__ void finish(const RowsInput& in, const Team& team, const Part& part,
                         const LogitRow& student, const LogitRow& teacher, const RowSums& s) {
    scales = s.scales;
    student_origin = reference(s.all.student_max);
    teacher_origin = reference(s.all.teacher_max);
    log_student = log2f(s.all.student);
    log_teacher = log2f(s.all.teacher);
    RowState sums = no_fields();
    for_part<false>(in, team, part, student, teacher,
                    [&](std::size_t, unsigned count, const float(&z)[8], const float(&t)[8]) {
#pragma unroll
                      for (unsigned k = 0; k < 8; ++k) {
                        if (k >= count) continue;
                        const Logs l = logs_of(z[k], t[k]);
                        const float p = exp2_of(l.p), q = exp2_of(l.q);
                        if (p > 0) sums.student = fmaf(p, l.p - l.m, sums.student);
                        if (q > 0) sums.teacher = fmaf(q, l.q - l.m, sums.teacher);
                      }
                    });
    sums = team.reduce(sums, AddFields{});
    const float per_row = 1 / static_cast<float>(in.counts->rows);
    const float student_weight = beta == 1 ? 1.0f : 1 - beta;
    const float teacher_weight = beta == 1 ? 0.0f : beta;
    value = kLn2 * temperature * temperature * per_row *
            (student_weight * sums.student + teacher_weight * sums.teacher);
    factor = kLn2 * temperature * per_row * student_weight;
    mean = sums.student;
    if (!(s.all.student > 0 && s.all.teacher > 0)) value = NAN;
  }

  __device__ float loss() const { return value; }
  __device__ float gradient(float z, float t, float) const {
    const Logs l = logs_of(z, t);
    const float p = exp2_of(l.p);
    return p > 0 ? factor * p * (l.p - l.m - mean) : 0.0f;
  }
  __device__ float label_gradient() const { return 0; }
  __device__ float top_gradient(float) const { return 0; }
};

}  // namespace

void jsd_loss_cuda(const Logits& a, const std::int64_t* labels, const JsdOptions& o, float* loss,
                   void* gradient, cuda::Stream stream) {
  TERSOR_CHECK(std::isfinite(o.temperature) && o.temperature > 0,
               "jsd_loss: temperature must be finite and > 0, got ", o.temperature);
  TERSOR_CHECK(0 <= o.beta && o.beta <= 1, "jsd_loss: beta must be in [0, 1], got ", o.beta);
  TERSOR_CHECK(a.classes > 0 || a.rows == 0, "jsd_loss: student must have at least 1 class, got 0");
  if (o.beta == 0) {
    KdOptions kl;
    kl.temperature = o.temperature;
    kl.alpha = 0;
    kl.ignore_index = o.ignore_index;
    return kd_loss_cuda(a, labels, kl, loss, gradient, stream);
  }
  JsdPolicy p = {};
  p.temperature = o.temperature;
  p.beta = o.beta;
  run_logit_loss("jsd_loss", a, labels, o.ignore_index, nullptr, p, loss, gradient, stream);
}

}  // namespace tersor::distillation
