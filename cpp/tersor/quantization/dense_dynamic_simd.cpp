// Compiled once per instruction set (cmake/instruction_sets.cmake).
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

struct RowRange {
  float scale, zero;
  bool finite;
};

TERSOR_INLINE float round_even(float v) {  // |v| < 2^22
  const float magic = 0x1.8p23f;
  return (v + magic) - magic;
}

TERSOR_INLINE float bounded(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

TERSOR_INLINE RowRange range_of(const float* x, int64_t n) {
  F32 lo = {}, hi = {}, bad = {};
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    const F32 v = load<F32>(x + k);
    lo = smaller(v, lo);  // the second operand where v is NaN
    hi = larger(v, hi);
    bad = bad + (v - v);  // 0, or NaN for NaN and infinities
  }
  float low = 0, high = 0, wrong = 0;
  for (int i = 0; i < kLanes; ++i) {
    low = lo[i] < low ? lo[i] : low;
    high = hi[i] > high ? hi[i] : high;
    wrong += bad[i];
  }
  for (; k < n; ++k) {
    low = x[k] < low ? x[k] : low;
    high = x[k] > high ? x[k] : high;
    wrong += x[k] - x[k];
  }
  const float range = high - low;
  RowRange r{1, 0, wrong == 0 && range - range == 0};
  if (!r.finite) return r;
  if (range > 0) {
    r.scale = range / 255.0f;
    r.scale = r.scale < 0x1p-126f ? 0x1p-126f : r.scale;
  }
  r.zero = bounded(round_even(-128.0f - low / r.scale), -128, 127);
  return r;
}

// q + z' for z' = `shift`: the code, or what is stored instead.
TERSOR_INLINE int32_t stored(float x, const RowRange& r, float shift) {
  return static_cast<int32_t>(bounded(round_even(x / r.scale) + r.zero, -128, 127) + shift);
}
TERSOR_INLINE I32 stored(F32 x, const RowRange& r, float shift) {
  // |x / scale| <= 255 and |zero| <= 128.
  const F32 magic = splat(0x1.8p23f);
  const F32 rounded = ((x / splat(r.scale) + magic) - magic) + splat(r.zero);
  const F32 code = larger(smaller(rounded, splat(127.0f)), splat(-128.0f));
  return __builtin_convertvector(code + splat(shift), I32);
}

template <class Element>
TERSOR_INLINE void quantize_rows(const QuantizeRows& a) {
  typedef Element Narrow __attribute__((vector_size(kLanes * sizeof(Element))));
  constexpr bool kBytes = sizeof(Element) == 1;
  for (int64_t m = 0; m < a.rows; ++m) {
    const float* x = a.x + m * a.n;
    auto* to = static_cast<Element*>(a.image) + m * a.pitch;
    const RowRange r = range_of(x, a.n);
    a.scale[m] = r.finite ? r.scale : __builtin_nanf("");
    a.zero[m] = kBytes ? static_cast<int32_t>(r.zero) + 128 : 0;
    int64_t k = 0;
    if (r.finite) {
      const float shift = kBytes ? 128.0f : -r.zero;
      for (; k + kLanes <= a.n; k += kLanes) {
        store(to + k, __builtin_convertvector(stored(load<F32>(x + k), r, shift), Narrow));
      }
      for (; k < a.n; ++k) to[k] = static_cast<Element>(stored(x[k], r, shift));
    } else {
      for (; k < a.n; ++k) to[k] = kBytes ? 128 : 0;
    }
    for (; k < a.pitch; ++k) to[k] = 0;
  }
}

}  // namespace

void TERSOR_SIMD_NAME(quantize_rows_int16)(const QuantizeRows& a) noexcept {
  quantize_rows<int16_t>(a);
}

void TERSOR_SIMD_NAME(quantize_rows_uint8)(const QuantizeRows& a) noexcept {
  quantize_rows<uint8_t>(a);
}

void TERSOR_SIMD_NAME(finish_rows)(const FinishRows& a) noexcept {
  const F32 low = splat(a.low), high = splat(a.high);
  for (int64_t m = 0; m < a.rows; ++m) {
    float* y = a.y + m * a.stride;
    const int32_t zero = a.zero[m];
    const F32 row_scale = splat(a.row_scale[m]);
    int64_t o = 0;
    for (; o + kLanes <= a.columns; o += kLanes) {
      const I32 sum = sub(load<I32>(y + o), times(load<I32>(a.weight_sum + o), zero));
      const F32 scaled = to_float(sum) * (row_scale * load<F32>(a.scale + o));
      F32 v = scaled + load<F32>(a.bias + o);
      // The bound comes first: on NaN the instruction returns its second operand.
      v = smaller(high, larger(low, v));
      store(y + o, v);
    }
    for (; o < a.columns; ++o) {
      int32_t sum;
      __builtin_memcpy(&sum, y + o, sizeof sum);
      const uint32_t rest = static_cast<uint32_t>(sum) -
                            static_cast<uint32_t>(zero) * static_cast<uint32_t>(a.weight_sum[o]);
      const float scaled =
          static_cast<float>(static_cast<int32_t>(rest)) * (a.row_scale[m] * a.scale[o]);
      y[o] = bounded(scaled + a.bias[o], a.low, a.high);
    }
  }
}

}  // namespace tersor::quantization
