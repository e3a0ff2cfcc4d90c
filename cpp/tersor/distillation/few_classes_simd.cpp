// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLog2 = 0.69314718055994531f;

// Rows of a square that one transposition turns.
#if defined(__AVX2__)
constexpr size_t kSquare = 8;
#else
constexpr size_t kSquare = 4;
#endif

// to[j * to_stride + i] = from[i * from_stride + j] for a kSquare x kSquare square.
TERSOR_INLINE void transpose_square(const float* from, size_t from_stride, float* to,
                                    size_t to_stride) {
#if defined(__AVX2__)
  __m256 a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    // Halves of rows i and i + 4 in one register: the lanes then need no further crossing.
    const float* low = from + i * from_stride;
    const float* high = from + (i + 4) * from_stride;
    a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
    a[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low + 4)),
                                    _mm_loadu_ps(high + 4), 1);
  }
  for (int h = 0; h < 8; h += 4) {
    b[h] = _mm256_unpacklo_ps(a[h], a[h + 1]);
    b[h + 1] = _mm256_unpackhi_ps(a[h], a[h + 1]);
    b[h + 2] = _mm256_unpacklo_ps(a[h + 2], a[h + 3]);
    b[h + 3] = _mm256_unpackhi_ps(a[h + 2], a[h + 3]);
    _mm256_storeu_ps(to + h * to_stride, _mm256_shuffle_ps(b[h], b[h + 2], 0x44));
    _mm256_storeu_ps(to + (h + 1) * to_stride, _mm256_shuffle_ps(b[h], b[h + 2], 0xEE));
    _mm256_storeu_ps(to + (h + 2) * to_stride, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0x44));
    _mm256_storeu_ps(to + (h + 3) * to_stride, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0xEE));
  }
#elif defined(__SSE2__)
  __m128 a[4];
  for (int i = 0; i < 4; ++i) a[i] = _mm_loadu_ps(from + i * from_stride);
  _MM_TRANSPOSE4_PS(a[0], a[1], a[2], a[3]);
  for (int i = 0; i < 4; ++i) _mm_storeu_ps(to + i * to_stride, a[i]);
#else
  float square[kSquare * kSquare];
  for (size_t i = 0; i < kSquare; ++i) {
    for (size_t j = 0; j < kSquare; ++j) square[j * kSquare + i] = from[i * from_stride + j];
  }
  for (size_t j = 0; j < kSquare; ++j) {
    for (size_t i = 0; i < kSquare; ++i) to[j * to_stride + i] = square[j * kSquare + i];
  }
#endif
}

// kLanes rows of n classes -> n vectors, and back. The last square overlaps the one before.
static void to_lanes(const float* rows, size_t n, float* lanes) {
  if (n < kSquare) {
    for (size_t i = 0; i < kLanes; ++i) {
      for (size_t c = 0; c < n; ++c) lanes[c * kLanes + i] = rows[i * n + c];
    }
    return;
  }
  for (size_t i = 0; i < kLanes; i += kSquare) {
    for (size_t c = 0;;) {
      transpose_square(rows + i * n + c, n, lanes + c * kLanes + i, kLanes);
      if (c == n - kSquare) break;
      c = c + 2 * kSquare <= n ? c + kSquare : n - kSquare;
    }
  }
}
static void to_rows(const float* lanes, size_t n, float* rows) {
  if (n < kSquare) {
    for (size_t i = 0; i < kLanes; ++i) {
      for (size_t c = 0; c < n; ++c) rows[i * n + c] = lanes[c * kLanes + i];
    }
    return;
  }
  for (size_t i = 0; i < kLanes; i += kSquare) {
    for (size_t c = 0;;) {
      transpose_square(lanes + c * kLanes + i, kLanes, rows + i * n + c, n);
      if (c == n - kSquare) break;
      c = c + 2 * kSquare <= n ? c + kSquare : n - kSquare;
    }
  }
}

struct Sums {
  F32 student = {}, teacher = {}, others = {}, label = {}, difference = {};
  F32 logits = {}, label_logit = {};
};

// `log` is what log(sum of exponentials) must be raised by to be that of exp((x - largest) / T).
struct Exponent {
  F32 n, magic, least, log;
};
TERSOR_INLINE F32 log_of_shift(F32 largest, F32 scale, F32 n) {
  return splat(-kLog2) * fraction_of(largest, scale, n);
}
TERSOR_INLINE Exponent exponent_of(F32 largest, F32 scale, F32 inverse_scale) {
  const F32 n = fma(largest, scale, splat(kMagic)) - splat(kMagic);
  return {n, splat(kMagic) - n, (n - splat(120.0f)) * inverse_scale,
          log_of_shift(largest, scale, n)};
}

TERSOR_INLINE F32 absolute(F32 x) { return (F32)((I32)x & splat(INT32_MAX)); }

// log(sum of all / that of the label), accurate also where the label has nearly all.
TERSOR_INLINE F32 label_loss(const Sums& s, F32 log_shift) {
  const F32 ratio = s.others / s.label;
  const F32 one_plus = splat(1.0f) + ratio;
  // log1p by the usual correction of what 1 + ratio lost.
  const F32 lost = ratio - (one_plus - splat(1.0f));
  const F32 near = log_of(one_plus) + lost / one_plus;
  const F32 far = log_of(s.others + s.label) + (log_shift - s.label_logit);
  return choose(s.others < s.label, near, far);
}

template <Hard hard>
static void group(const FewClasses& in, const float* z_rows, const float* t_rows, I32 label,
                  float* gradient, float* losses) {
  alignas(64) float a[kFewClasses * kLanes], b[kFewClasses * kLanes], e[kFewClasses * kLanes];
  const size_t n = in.classes;
  store(a, F32{});  // GCC does not see that there is at least one class
  store(b, F32{});
  to_lanes(z_rows, n, a);
  to_lanes(t_rows, n, b);
  F32 largest_z = load(a), largest_t = load(b);
  for (size_t c = 1; c < n; ++c) {
    largest_z = at_least(largest_z, load(a + c * kLanes));
    largest_t = at_least(largest_t, load(b + c * kLanes));
  }
  const F32 scale = splat(kLog2E / in.temperature);
  const F32 inverse = splat(in.temperature / kLog2E);
  const Exponent u_exponent = exponent_of(largest_z, scale, inverse);
  const Exponent v_exponent = exponent_of(largest_t, scale, inverse);
  Exponent e_exponent = exponent_of(largest_z, splat(kLog2E), splat(1 / kLog2E));
  if (hard == Hard::first_power) e_exponent.n = u_exponent.n;
  if (hard == Hard::second_power) e_exponent.n = u_exponent.n * 2.0f;
  if (hard == Hard::fourth_power) e_exponent.n = u_exponent.n * 4.0f;
  e_exponent.log = log_of_shift(largest_z, splat(kLog2E), e_exponent.n);

  Sums s;
  for (size_t c = 0; c < n; ++c) {
    float* at = a + c * kLanes;
    const F32 z = load(at), t = load(b + c * kLanes);
    const F32 u = exp2_shifted(z, scale, u_exponent.magic, u_exponent.least);
    const F32 v = exp2_shifted(t, scale, v_exponent.magic, v_exponent.least);
    s.student += u;
    s.teacher += v;
    // Relative to the largest: the differences are exact where they matter, whatever the offset.
    const F32 z_from_largest = z - largest_z;
    s.difference = fma(v, (t - largest_t) - z_from_largest, s.difference);
    if (hard != Hard::none) {
      F32 h = u;
      if (hard == Hard::second_power) h = u * u;
      if (hard == Hard::fourth_power) h = (u * u) * (u * u);
      if (hard == Hard::separate) {
        h = exp2_shifted(z, splat(kLog2E), e_exponent.magic, e_exponent.least);
      }
      const I32 here = label == splat((int32_t)c);
      s.others += (F32)(~here & (I32)h);
      s.label += (F32)(here & (I32)h);
      s.label_logit = (F32)((I32)s.label_logit | (here & (I32)z_from_largest));
      s.logits += z_from_largest;
      store(e + c * kLanes, h);
    }
    store(at, u);
    store(b + c * kLanes, v);
  }

  // KL = sum q (t - z) / T - log sum v + log sum u, all relative to the largest logits.
  const F32 kl = s.difference / (s.teacher * splat(in.temperature)) +
                 (log_of(s.student / s.teacher) + (u_exponent.log - v_exponent.log));
  F32 loss = splat(in.soft_weight) * kl;
  const F32 hard_sum = s.others + s.label;
  if (hard != Hard::none) {
    F32 cross_entropy = label_loss(s, e_exponent.log);
    if (in.smoothing > 0) {
      const F32 mean = s.logits * splat(1.0f / (float)n);
      const F32 uniform = log_of(hard_sum) + (e_exponent.log - mean);
      cross_entropy += splat(in.smoothing) * (uniform - cross_entropy);
    }
    loss += splat(in.hard_weight) * cross_entropy;
  }
  const I32 counts = label >= splat((int32_t)0);
  const F32 far =
      at_least(at_least(absolute(u_exponent.n), absolute(v_exponent.n)), absolute(e_exponent.n));
  // x - x is 0 for finite x only.
  const F32 check =
      (loss - loss) + (far - far) + (F32)((far >= splat(1048576.0f)) & splat(0x7FC00000));
  if (sum_lanes((F32)(counts & (I32)check)) != 0.0f) {
    for (size_t i = 0; i < kLanes; ++i) losses[i] = __builtin_nanf("");
    return;
  }
  store(losses, (F32)(counts & (I32)loss));
  if (!gradient) return;

  const F32 soft_factor = splat(in.soft_weight / in.temperature * in.per_row);
  const F32 k_student = soft_factor / s.student;
  const F32 k_teacher = soft_factor / s.teacher;
  const F32 hard_factor = splat(in.hard_weight * in.per_row);
  const F32 k_hard = hard_factor / hard_sum;
  const F32 constant = hard_factor * splat(in.smoothing / (float)n);
  // p[y] - 1 = -others / sum: no cancellation where p[y] is nearly 1.
  const F32 at_label = hard_factor * splat(in.smoothing) - k_hard * s.others;
  for (size_t c = 0; c < n; ++c) {
    float* at = a + c * kLanes;
    const F32 u = load(at), v = load(b + c * kLanes);
    F32 g = k_student * u;
    if (hard != Hard::none) {
      const I32 here = label == splat((int32_t)c);
      const F32 h = choose(here, at_label, k_hard * load(e + c * kLanes)) - constant;
      g += h;
    }
    store(at, (F32)(counts & (I32)fma(-k_teacher, v, g)));
  }
  to_rows(a, n, gradient);
}

template <Hard hard>
static void all_groups(const FewClasses& in, float* gradient, float* losses) {
  const size_t n = in.classes;
  size_t r = 0;
  for (; r + kLanes <= in.rows; r += kLanes) {
    I32 label = {};
    if (in.labels) __builtin_memcpy(&label, in.labels + r, sizeof label);
    group<hard>(in, in.student + r * n, in.teacher + r * n, label,
                gradient ? gradient + r * n : nullptr, losses + r);
  }
  if (r < in.rows) {  // rows that do not exist: zeros that do not count
    const size_t rest = in.rows - r;
    float z[kLanes * kFewClasses] = {}, t[kLanes * kFewClasses] = {}, loss[kLanes];
    int32_t labels[kLanes];
    for (size_t i = 0; i < rest * n; ++i) {
      z[i] = in.student[r * n + i];
      t[i] = in.teacher[r * n + i];
    }
    for (size_t i = 0; i < kLanes; ++i) {
      labels[i] = i >= rest ? -1 : in.labels ? in.labels[r + i] : 0;
    }
    I32 label;
    __builtin_memcpy(&label, labels, sizeof label);
    group<hard>(in, z, t, label, gradient ? z : nullptr, loss);
    bool good = true;
    for (size_t i = 0; i < rest; ++i) {
      losses[r + i] = loss[i];
      good &= loss[i] == loss[i];
    }
    if (gradient && good) {
      for (size_t i = 0; i < rest * n; ++i) gradient[r * n + i] = z[i];
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(kd_few_classes)(const FewClasses& in, float* gradient,
                                      float* losses) noexcept {
  switch (in.hard) {
    case Hard::none:
      return all_groups<Hard::none>(in, gradient, losses);
    case Hard::first_power:
      return all_groups<Hard::first_power>(in, gradient, losses);
    case Hard::second_power:
      return all_groups<Hard::second_power>(in, gradient, losses);
    case Hard::fourth_power:
      return all_groups<Hard::fourth_power>(in, gradient, losses);
    case Hard::separate:
      return all_groups<Hard::separate>(in, gradient, losses);
  }
}

}  // namespace tersor::distillation
