// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

static float scale_of(int32_t from, int32_t to, double sum) {
  const int32_t n = from - to;  // <= 0
  return n < -1000 ? 0.0f : (float)(__builtin_bit_cast(double, (int64_t)(n + 1023) << 52) / sum);
}

struct Factors {
  F32 p, q, beta, rest, inverse, log_student, log_teacher, z0, t0;
};

template <bool reverse>
TERSOR_INLINE F32 terms(F32 u, F32 v, F32 z, F32 t, const Factors& f, F32& p_sum, F32& q_sum) {
  const F32 p = u * f.p, q = v * f.q;
  const F32 log_p = fma(z - f.z0, f.inverse, -f.log_student);
  const F32 log_q = fma(t - f.t0, f.inverse, -f.log_teacher);
  // Below the normal numbers p and q are too small to count.
  const F32 log_m = reverse ? log_q : log_of(at_least(splat(1.2e-38f), fma(f.beta, q, f.rest * p)));
  p_sum = fma(p, log_p - log_m, p_sum);
  q_sum = fma(q, log_q - log_m, q_sum);
  return log_p - log_m;
}

template <bool reverse>
static void sums_of_block(const SoftenedRow& row, const Factors& f, size_t first, size_t n,
                          double out[2]) {
  F32 p_sum = {}, q_sum = {};
  const float* z = row.student + first;
  const float* t = row.teacher + first;
  const float* u = row.soft_student + first;
  const float* v = row.soft_teacher + first;
  float* log_ratio = row.hard_student + first;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(log_ratio + i,
          terms<reverse>(load(u + i), load(v + i), load(z + i), load(t + i), f, p_sum, q_sum));
  }
  if (i < n) {
    float z_tail[kLanes], t_tail[kLanes], u_tail[kLanes] = {}, v_tail[kLanes] = {};
    for (size_t j = 0; j < kLanes; ++j) {
      z_tail[j] = z[i + j < n ? i + j : i];
      t_tail[j] = t[i + j < n ? i + j : i];
      if (i + j < n) u_tail[j] = u[i + j];
      if (i + j < n) v_tail[j] = v[i + j];
    }
    store(log_ratio + i,
          terms<reverse>(load(u_tail), load(v_tail), load(z_tail), load(t_tail), f, p_sum, q_sum));
  }
  out[0] += sum_lanes(p_sum);
  out[1] += sum_lanes(q_sum);
}

}  // namespace

void TERSOR_SIMD_NAME(jsd_sums)(const SoftenedRow& row, const SoftenedSums& s, const JsdTerms& a,
                                double out[2]) noexcept {
  out[0] = out[1] = 0;
  for (size_t first = 0; first < row.n; first += kBlock) {
    const size_t n = row.n - first < kBlock ? row.n - first : kBlock;
    const int32_t* exponents = row.exponents + first / kBlock * 3;
    const Factors f = {splat(scale_of(exponents[0], s.student_exponent, s.student)),
                       splat(scale_of(exponents[1], s.teacher_exponent, s.teacher)),
                       splat(a.beta),
                       splat(1 - a.beta),
                       splat(a.inverse_temperature),
                       splat(a.log_student),
                       splat(a.log_teacher),
                       splat(s.student_origin),
                       splat(s.teacher_origin)};
    if (a.beta == 1) {
      sums_of_block<true>(row, f, first, n, out);
    } else {
      sums_of_block<false>(row, f, first, n, out);
    }
  }
}

void TERSOR_SIMD_NAME(jsd_gradient)(const SoftenedRow& row, const SoftenedSums& s, float factor,
                                    float mean, float* gradient) noexcept {
  for (size_t first = 0; first < row.n; first += kBlock) {
    const size_t n = row.n - first < kBlock ? row.n - first : kBlock;
    const float k =
        factor * scale_of(row.exponents[first / kBlock * 3], s.student_exponent, s.student);
    const float* u = row.soft_student + first;
    const float* f = row.hard_student + first;
    float* g = gradient + first;
    for (size_t i = 0; i < n; ++i) g[i] = k * u[i] * (f[i] - mean);
  }
}

}  // namespace tersor::distillation
