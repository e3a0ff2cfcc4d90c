// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
// Beyond, the exponent of a float32 product is no longer exact.
constexpr float kLargestExponent = 1 << 20;

static double power_of_two(int32_t n) {  // 0 below the range of a double; n <= 0 here
  return n < -1000 ? 0.0 : __builtin_bit_cast(double, static_cast<int64_t>(n + 1023) << 52);
}

static float largest_of(const float* x, size_t n) {
  F32 lanes = splat(x[0]), more = lanes;
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    lanes = at_least(lanes, load(x + i));
    more = at_least(more, load(x + i + kLanes));
  }
  float largest = largest_lane(at_least(lanes, more));
  for (; i < n; ++i) largest = largest < x[i] ? x[i] : largest;
  return largest;
}

// The next block (or row, behind this one) and the gradient's lines are on their way while the
// exponentials of this block are computed: without it the core waits for the maximum and the memory
// waits for the exponentials. A prefetch behind the end of an array is harmless.
TERSOR_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 0, 3); }

// Constants of one exponential in a block.
struct Shift {
  F32 scale, magic, least;
};
TERSOR_INLINE Shift shift_of(float scale, int32_t exponent) {
  const float n = static_cast<float>(exponent);
  return {splat(scale), splat(kMagic - n), splat((n - 120.0f) / scale)};
}
TERSOR_INLINE F32 shifted(F32 x, const Shift& s) {
  return exp2_shifted(x, s.scale, s.magic, s.least);
}

struct Lanes {
  F32 student = {}, teacher = {}, hard = {}, difference = {};
};

// Adds one vector's part to the sums and returns the exponentials; lanes outside `mask` count 0.
template <Hard hard, bool with_teacher>
TERSOR_INLINE void exponentials(F32 z, F32 t, const Shift shift[3], F32& u, F32& v, F32& e) {
  u = shifted(z, shift[0]);
  if (with_teacher) v = shifted(t, shift[1]);
  if (hard == Hard::first_power) e = u;
  if (hard == Hard::second_power) e = u * u;
  if (hard == Hard::fourth_power) e = (u * u) * (u * u);
  if (hard == Hard::separate) e = shifted(z, shift[2]);
}

// z and t are relative to the row's origins.
template <Hard hard, bool with_teacher>
TERSOR_INLINE void add(Lanes& sums, F32 z, F32 t, F32 u, F32 v, F32 e) {
  sums.student += u;
  if (with_teacher) {
    sums.teacher += v;
    sums.difference = fma(v, t - z, sums.difference);
  }
  if (hard != Hard::none) sums.hard += e;
}

template <Hard hard, bool with_teacher>
static void sums_of_block(const SoftenedRow& row, size_t first, size_t n, const Shift shift[3],
                          float z0, float t0, double out[4]) {
  const float* student = row.student + first;
  const float* teacher = with_teacher ? row.teacher + first : nullptr;
  float* soft_student = row.soft_student + first;
  float* soft_teacher = row.soft_teacher + first;
  float* hard_student = row.hard_student + first;
  const float* target = row.target ? row.target + first : nullptr;
  const F32 student_origin = splat(z0), teacher_origin = splat(t0);
  Lanes even, odd;
  F32 u = {}, v = {}, e = {}, t = {};
  size_t i = 0;
  const auto one_vector = [&](size_t at, Lanes & lanes) __attribute__((always_inline)) {
    const F32 z = load(student + at);
    if (with_teacher) t = load(teacher + at);
    exponentials<hard, with_teacher>(z, t, shift, u, v, e);
    add<hard, with_teacher>(lanes, z - student_origin, t - teacher_origin, u, v, e);
    store(soft_student + at, u);
    if (with_teacher) store(soft_teacher + at, v);
    if (hard == Hard::separate) store(hard_student + at, e);
  };
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    if (kLanes >= 8 || i % 16 == 0) {
      prefetch(student + n + i);
      if (with_teacher) prefetch(teacher + n + i);
      if (target) prefetch(target + i);
      if (kLanes == 16) {
        prefetch(student + n + i + 16);
        if (with_teacher) prefetch(teacher + n + i + 16);
        if (target) prefetch(target + i + 16);
      }
    }
    one_vector(i, even);
    one_vector(i + kLanes, odd);
  }
  if (i + kLanes <= n) {
    one_vector(i, even);
    i += kLanes;
  }
  if (i < n) {
    float z_tail[kLanes], t_tail[kLanes], u_tail[kLanes], v_tail[kLanes], e_tail[kLanes];
    for (size_t j = 0; j < kLanes; ++j) {
      z_tail[j] = student[i + j < n ? i + j : i];
      t_tail[j] = with_teacher ? teacher[i + j < n ? i + j : i] : 0.0f;
    }
    exponentials<hard, with_teacher>(load(z_tail), load(t_tail), shift, u, v, e);
    store(u_tail, u);
    store(v_tail, v);
    store(e_tail, e);
    for (size_t j = n - i; j < kLanes; ++j) u_tail[j] = v_tail[j] = e_tail[j] = 0.0f;
    for (size_t j = n - i; j < kLanes; ++j) {
      z_tail[j] = z0;
      t_tail[j] = t0;
    }
    add<hard, with_teacher>(even, load(z_tail) - student_origin, load(t_tail) - teacher_origin,
                            load(u_tail), load(v_tail), load(e_tail));
    store(soft_student + i, load(u_tail));
    if (with_teacher) store(soft_teacher + i, load(v_tail));
    if (hard == Hard::separate) store(hard_student + i, load(e_tail));
  }
  out[0] = sum_lanes(even.student + odd.student);
  out[1] = sum_lanes(even.teacher + odd.teacher);
  out[2] = sum_lanes(even.hard + odd.hard);
  out[3] = sum_lanes(even.difference + odd.difference);
}

TERSOR_INLINE int32_t power_of(Hard hard) {
  return hard == Hard::first_power    ? 1
         : hard == Hard::second_power ? 2
         : hard == Hard::fourth_power ? 4
                                      : 0;
}

// Raises `exponent` to that of `largest`, scaling what was summed so far. False where it cannot.
static bool raise(float largest, float scale, bool first, int32_t& exponent, double* a, double* b) {
  const float wanted = largest * scale;
  if (!(wanted > -kLargestExponent && wanted < kLargestExponent)) return false;
  const int32_t n = static_cast<int32_t>(wanted + (wanted < 0 ? -0.5f : 0.5f));
  if (first) {
    exponent = n;
  } else if (n > exponent) {
    const double factor = power_of_two(exponent - n);
    *a *= factor;
    *b *= factor;
    exponent = n;
  }
  return true;
}

static double dot(const float* a, const float* b, size_t n) {
  F32 lanes = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) lanes = fma(load(a + i), load(b + i), lanes);
  double sum = sum_lanes(lanes);
  for (; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

template <Hard hard, bool with_teacher>
static void sums_of_row(const SoftenedRow& row, SoftenedSums& s) {
  s = {};
  double unused = 0;
  for (size_t first = 0; first < row.n; first += kBlock) {
    const size_t n = row.n - first < kBlock ? row.n - first : kBlock;
    const float largest = largest_of(row.student + first, n);
    const bool start = first == 0;
    if (start) s.student_origin = largest;
    double* moment = row.moments ? &s.student_moment : &unused;
    const int32_t before = s.student_exponent;
    bool good = raise(largest, row.student_scale, start, s.student_exponent, &s.student, moment);
    if (hard == Hard::separate) {
      good &= raise(largest, kLog2E, start, s.hard_exponent, &s.hard, &unused);
    } else if (hard != Hard::none) {
      const int32_t now = power_of(hard) * s.student_exponent;
      if (!start && s.student_exponent != before) s.hard *= power_of_two(s.hard_exponent - now);
      s.hard_exponent = now;
    }
    if (with_teacher) {
      const int32_t old = s.teacher_exponent;
      const float largest_t = largest_of(row.teacher + first, n);
      if (start) s.teacher_origin = largest_t;
      good &=
          raise(largest_t, row.teacher_scale, start, s.teacher_exponent, &s.teacher, &s.difference);
      if (!start && row.moments) s.teacher_moment *= power_of_two(old - s.teacher_exponent);
    }
    if (!good) {
      s.difference = __builtin_nan("");
      return;
    }
    int32_t* exponents = row.exponents + first / kBlock * 3;
    exponents[0] = s.student_exponent;
    exponents[1] = s.teacher_exponent;
    exponents[2] = s.hard_exponent;
    const Shift shift[3] = {shift_of(row.student_scale, s.student_exponent),
                            shift_of(with_teacher ? row.teacher_scale : 1.0f, s.teacher_exponent),
                            shift_of(kLog2E, s.hard_exponent)};
    double sums[4];
    sums_of_block<hard, with_teacher>(row, first, n, shift, s.student_origin, s.teacher_origin,
                                      sums);
    s.student += sums[0];
    s.teacher += sums[1];
    s.hard += sums[2];
    s.difference += sums[3];
    if (row.moments) {
      s.student_moment += dot(row.soft_student + first, row.student + first, n);
      if (with_teacher) s.teacher_moment += dot(row.soft_teacher + first, row.student + first, n);
    }
  }
}

static double sum_of(const float* x, size_t n) {
  F32 lanes = {}, more = {};
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    lanes += load(x + i);
    more += load(x + i + kLanes);
  }
  double sum = sum_lanes(lanes + more);
  for (; i < n; ++i) sum += x[i];
  return sum;
}

// Sum of v * ((t - teacher_origin) - (z - student_origin)).
static double sum_of_differences(const SoftenedRow& row, const SoftenedSums& s, size_t first,
                                 size_t n) {
  const float* z = row.student + first;
  const float* t = row.teacher + first;
  const float* v = row.soft_teacher + first;
  F32 lanes = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 d = (load(t + i) - splat(s.teacher_origin)) - (load(z + i) - splat(s.student_origin));
    lanes = fma(load(v + i), d, lanes);
  }
  double sum = sum_lanes(lanes);
  for (; i < n; ++i) sum += v[i] * ((t[i] - s.teacher_origin) - (z[i] - s.student_origin));
  return sum;
}

static double sum_of_power(const float* x, size_t n, Hard hard) {
  F32 lanes = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 u = load(x + i), square = u * u;
    lanes += hard == Hard::fourth_power ? square * square : square;
  }
  double sum = sum_lanes(lanes);
  for (; i < n; ++i) {
    const float square = x[i] * x[i];
    sum += hard == Hard::fourth_power ? square * square : square;
  }
  return sum;
}

struct BlockFactors {
  F32 hard, student, teacher, slope, center, constant;
};

template <Hard hard, bool with_teacher, bool with_slope, bool streaming>
static void gradient_of_block(const SoftenedRow& row, const BlockFactors& f, size_t first, size_t n,
                              float* gradient) {
  const float* soft_student = row.soft_student + first;
  const float* soft_teacher = row.soft_teacher + first;
  const float* hard_student = row.hard_student + first;
  const float* student = row.student + first;
  float* out = gradient + first;
  const auto one_vector = [&](size_t i) __attribute__((always_inline)) {
    const F32 u = load(soft_student + i);
    F32 g = fma(f.student, u, -f.constant);
    if (with_teacher) g = fma(-f.teacher, load(soft_teacher + i), g);
    if (hard == Hard::first_power) g = fma(f.hard, u, g);
    if (hard == Hard::second_power) g = fma(f.hard * u, u, g);
    if (hard == Hard::fourth_power) g = fma(f.hard * (u * u), u * u, g);
    if (hard == Hard::separate) g = fma(f.hard, load(hard_student + i), g);
    return g;
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F32 g = one_vector(i);
    if (with_slope) g = fma(f.slope, f.center - load(student + i), g);
    if (streaming) {
      stream(out + i, g);
    } else {
      store(out + i, g);
    }
  }
  if (i < n) {  // the scratch arrays are padded, the gradient and the logits are not
    float tail[kLanes];
    F32 g = one_vector(i);
    if (with_slope) {
      for (size_t j = 0; j < kLanes; ++j) tail[j] = student[i + j < n ? i + j : i];
      g = fma(f.slope, f.center - load(tail), g);
    }
    store(tail, g);
    for (size_t j = 0; i + j < n; ++j) out[i + j] = tail[j];
  }
}

template <Hard hard, bool with_teacher>
static void gradient_of_row(const SoftenedRow& row, const SoftenedSums& s, const GradientFactors& f,
                            float* gradient) {
  const bool aligned = reinterpret_cast<uintptr_t>(gradient) % TERSOR_LANE_BYTES == 0;
  for (size_t first = 0; first < row.n; first += kBlock) {
    const size_t n = row.n - first < kBlock ? row.n - first : kBlock;
    const int32_t* exponents = row.exponents + first / kBlock * 3;
    const auto factor = [](float k, int32_t from, int32_t to) {
      return splat(static_cast<float>(k * power_of_two(from - to)));
    };
    const BlockFactors block = {factor(f.hard, exponents[2], s.hard_exponent),
                                factor(f.student, exponents[0], s.student_exponent),
                                factor(f.teacher, exponents[1], s.teacher_exponent),
                                splat(f.slope),
                                splat(f.center),
                                splat(f.constant)};
    if (f.slope != 0) {
      gradient_of_block<hard, with_teacher, true, false>(row, block, first, n, gradient);
    } else if (f.streaming && aligned && !f.weights) {
      gradient_of_block<hard, with_teacher, false, true>(row, block, first, n, gradient);
    } else {
      gradient_of_block<hard, with_teacher, false, false>(row, block, first, n, gradient);
    }
    if (f.weights) {
      for (size_t i = 0; i < n; ++i) gradient[first + i] -= f.weight * f.weights[first + i];
    }
  }
  if (f.streaming) end_streaming();
}

}  // namespace

// Calls f<hard, with_teacher>(arguments).
#define TERSOR_FOR_ROW(f, row, ...)                                          \
  switch ((row).hard) {                                                      \
    case Hard::none:                                                         \
      return (row).teacher ? f<Hard::none, true>(row, __VA_ARGS__)           \
                           : f<Hard::none, false>(row, __VA_ARGS__);         \
    case Hard::first_power:                                                  \
      return (row).teacher ? f<Hard::first_power, true>(row, __VA_ARGS__)    \
                           : f<Hard::first_power, false>(row, __VA_ARGS__);  \
    case Hard::second_power:                                                 \
      return (row).teacher ? f<Hard::second_power, true>(row, __VA_ARGS__)   \
                           : f<Hard::second_power, false>(row, __VA_ARGS__); \
    case Hard::fourth_power:                                                 \
      return (row).teacher ? f<Hard::fourth_power, true>(row, __VA_ARGS__)   \
                           : f<Hard::fourth_power, false>(row, __VA_ARGS__); \
    case Hard::separate:                                                     \
      return (row).teacher ? f<Hard::separate, true>(row, __VA_ARGS__)       \
                           : f<Hard::separate, false>(row, __VA_ARGS__);     \
  }

void TERSOR_SIMD_NAME(softened_sums)(const SoftenedRow& row, SoftenedSums& sums) noexcept {
  TERSOR_FOR_ROW(sums_of_row, row, sums)
}

void TERSOR_SIMD_NAME(softened_gradient)(const SoftenedRow& row, const SoftenedSums& sums,
                                         const GradientFactors& factors, float* gradient) noexcept {
  TERSOR_FOR_ROW(gradient_of_row, row, sums, factors, gradient)
}

#undef TERSOR_FOR_ROW

void TERSOR_SIMD_NAME(softened_sums_without)(const SoftenedRow& row, const SoftenedSums& s,
                                             size_t without, double out[4]) noexcept {
  // The class is taken out of the scratch arrays and put back.
  const float u = row.soft_student[without];
  const float v = row.teacher ? row.soft_teacher[without] : 0.0f;
  const float e = row.hard == Hard::separate ? row.hard_student[without] : 0.0f;
  row.soft_student[without] = 0.0f;
  if (row.teacher) row.soft_teacher[without] = 0.0f;
  if (row.hard == Hard::separate) row.hard_student[without] = 0.0f;
  out[0] = out[1] = out[2] = out[3] = 0;
  for (size_t first = 0; first < row.n; first += kBlock) {
    const size_t n = row.n - first < kBlock ? row.n - first : kBlock;
    const int32_t* exponents = row.exponents + first / kBlock * 3;
    const double student = sum_of(row.soft_student + first, n);
    out[0] += student * power_of_two(exponents[0] - s.student_exponent);
    if (row.teacher) {
      const double factor = power_of_two(exponents[1] - s.teacher_exponent);
      out[1] += factor * sum_of(row.soft_teacher + first, n);
      out[3] += factor * sum_of_differences(row, s, first, n);
    }
    if (row.hard != Hard::none) {
      const double hard = row.hard == Hard::separate ? sum_of(row.hard_student + first, n)
                          : row.hard == Hard::first_power
                              ? student
                              : sum_of_power(row.soft_student + first, n, row.hard);
      out[2] += hard * power_of_two(exponents[2] - s.hard_exponent);
    }
  }
  row.soft_student[without] = u;
  if (row.teacher) row.soft_teacher[without] = v;
  if (row.hard == Hard::separate) row.hard_student[without] = e;
}

void TERSOR_SIMD_NAME(row_moments)(const float* x, const float* weights, size_t n, float shift,
                                   double out[2]) noexcept {
  out[0] = out[1] = 0;
  for (size_t first = 0; first < n; first += kBlock) {
    const size_t end = n - first < kBlock ? n : first + kBlock;
    F32 sum = {}, squares = {};
    size_t i = first;
    for (; i + kLanes <= end; i += kLanes) {
      const F32 d = load(x + i) - splat(shift);
      sum = fma(weights ? load(weights + i) : splat(1.0f), d, sum);
      squares = fma(d, d, squares);
    }
    out[0] += sum_lanes(sum);
    out[1] += sum_lanes(squares);
    for (; i < end; ++i) {
      const double d = static_cast<double>(x[i]) - shift;
      out[0] += weights ? weights[i] * d : d;
      out[1] += d * d;
    }
  }
}

}  // namespace tersor::distillation
