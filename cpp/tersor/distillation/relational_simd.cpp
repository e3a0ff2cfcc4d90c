// Compiled once per instruction set (cmake/instruction_sets.cmake), so everything here but the
// kernels is static.
#include "tersor/distillation/float32_lanes.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

TERSOR_INLINE F32 absolute(F32 x) { return (F32)((I32)x & splat(INT32_MAX)); }
TERSOR_INLINE F32 at_most(F32 bound, F32 x) { return -at_least(-bound, -x); }

struct Angles {
  F32 loss, product, side;
};

// One vertex i, one j, a vector of k.
TERSOR_INLINE Angles angles(F32 squared_j, F32 inverse_j, F32 squared_k, F32 inverse_k,
                            F32 squared_jk, F32 teacher_squared_j, F32 teacher_inverse_j,
                            F32 teacher_squared_k, F32 teacher_inverse_k, F32 teacher_squared_jk) {
  const F32 half = splat(0.5f);
  const F32 product = half * inverse_j * inverse_k;
  const F32 c = ((squared_j + squared_k) - squared_jk) * product;
  const F32 d = c - ((teacher_squared_j + teacher_squared_k) - teacher_squared_jk) *
                        (half * teacher_inverse_j * teacher_inverse_k);
  // h(d) = m (|d| - m / 2) with m = min(|d|, 1).
  const F32 m = at_most(splat(1.0f), absolute(d));
  const F32 slope = (F32)((I32)m | ((I32)d & splat(INT32_MIN)));
  return {m * (absolute(d) - half * m), slope * product,
          slope * (product - half * c * (inverse_j * inverse_j))};
}

static F32 load_part(const float* p, size_t n) {
  float lane[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lane[i] = p[i];
  return load(lane);
}

}  // namespace

void TERSOR_SIMD_NAME(squared_distances)(const float* x, size_t rows, size_t dimensions, size_t row,
                                         float* out) noexcept {
  const float* a = x + row * dimensions;
  for (size_t j = 0; j < rows; ++j, x += dimensions) {
    F32 even = {}, odd = {};
    size_t c = 0;
    for (; c + 2 * kLanes <= dimensions; c += 2 * kLanes) {
      const F32 d = load(a + c) - load(x + c);
      const F32 e = load(a + c + kLanes) - load(x + c + kLanes);
      even = fma(d, d, even);
      odd = fma(e, e, odd);
    }
    float sum = sum_lanes(even + odd);
    for (; c < dimensions; ++c) sum += (a[c] - x[c]) * (a[c] - x[c]);
    out[j] = sum;
  }
}

double TERSOR_SIMD_NAME(angles_of_side)(const Distances& student, const Distances& teacher,
                                        size_t n, size_t j, double* side, float* across) noexcept {
  double total = 0;
  const float* opposite = student.squared + j * n;
  const float* teacher_opposite = teacher.squared + j * n;
  for (size_t i = 0; i < n; ++i) {
    const float* squared = student.squared + i * n;
    const float* inverse = student.inverse + i * n;
    const float* teacher_squared = teacher.squared + i * n;
    const float* teacher_inverse = teacher.inverse + i * n;
    const F32 sj = splat(squared[j]), rj = splat(inverse[j]);
    const F32 tj = splat(teacher_squared[j]), qj = splat(teacher_inverse[j]);
    F32 loss = {}, along = {};
    size_t k = 0;
    for (; k + kLanes <= n; k += kLanes) {
      const Angles a =
          angles(sj, rj, load(squared + k), load(inverse + k), load(opposite + k), tj, qj,
                 load(teacher_squared + k), load(teacher_inverse + k), load(teacher_opposite + k));
      loss += a.loss;
      along += a.side;
      store(across + k, load(across + k) - a.product);
    }
    if (k < n) {  // an inverse of 0 leaves nothing of the lanes beyond
      const size_t rest = n - k;
      const Angles a =
          angles(sj, rj, load_part(squared + k, rest), load_part(inverse + k, rest),
                 load_part(opposite + k, rest), tj, qj, load_part(teacher_squared + k, rest),
                 load_part(teacher_inverse + k, rest), load_part(teacher_opposite + k, rest));
      loss += a.loss;
      along += a.side;
      float product[kLanes];
      store(product, a.product);
      for (size_t r = 0; r < rest; ++r) across[k + r] -= product[r];
    }
    total += sum_lanes(loss);
    side[i] += 2.0 * sum_lanes(along);
  }
  return total;
}

void TERSOR_SIMD_NAME(weighted_differences)(const float* __restrict x, const float* __restrict w,
                                            size_t rows, size_t dimensions, size_t row,
                                            float* __restrict g) noexcept {
  const float* a = x + row * dimensions;
  // 256 columns at a time stay in L1.
  for (size_t first = 0; first < dimensions; first += 256) {
    const size_t end = dimensions - first < 256 ? dimensions : first + 256;
    for (size_t c = first; c < end; ++c) g[c] = 0.0f;
    for (size_t j = 0; j < rows; ++j) {
      const float* b = x + j * dimensions;
      for (size_t c = first; c < end; ++c) g[c] += w[j] * (a[c] - b[c]);
    }
  }
}

}  // namespace tersor::distillation
