#include <cmath>
#include <cstring>
#include <limits>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

float bounded(float v, float low, float high) {
  if (v < low) return low;
  return v > high ? high : v;
}

template <class Put>
void quantize_rows(const QuantizeRows& a, Put put) {
  for (int64_t m = 0; m < a.rows; ++m) {
    const float* x = a.x + m * a.n;
    float lo = 0, hi = 0;
    bool finite = true;
    for (int64_t k = 0; k < a.n; ++k) {
      lo = x[k] < lo ? x[k] : lo;
      hi = x[k] > hi ? x[k] : hi;
      finite = finite && std::isfinite(x[k]);
    }
    const float range = hi - lo;
    finite = finite && std::isfinite(range);
    float scale = range / 255.0f;
    scale = scale < 0x1p-126f ? 0x1p-126f : scale;
    if (range == 0 || !finite) scale = 1;
    const float zero = finite ? bounded(std::rint(-128.0f - lo / scale), -128, 127) : 0.0f;
    a.scale[m] = finite ? scale : std::numeric_limits<float>::quiet_NaN();
    for (int64_t k = 0; k < a.n; ++k) {
      const float code = finite ? bounded(std::rint(x[k] / scale) + zero, -128, 127) : 0.0f;
      put(m, k, static_cast<int32_t>(code), static_cast<int32_t>(zero));
    }
    for (int64_t k = a.n; k < a.pitch; ++k) put(m, k, 0, 0);
  }
}

}  // namespace

void quantize_rows_int16_ref(const QuantizeRows& a) noexcept {
  quantize_rows(a, [&](int64_t m, int64_t k, int32_t code, int32_t zero) {
    static_cast<int16_t*>(a.image)[m * a.pitch + k] =
        static_cast<int16_t>(k < a.n ? code - zero : 0);
    a.zero[m] = 0;
  });
}

void quantize_rows_uint8_ref(const QuantizeRows& a) noexcept {
  quantize_rows(a, [&](int64_t m, int64_t k, int32_t code, int32_t zero) {
    static_cast<uint8_t*>(a.image)[m * a.pitch + k] =
        static_cast<uint8_t>(k < a.n ? code + 128 : 0);
    if (k < a.n) a.zero[m] = zero + 128;
  });
}

void finish_rows_ref(const FinishRows& a) noexcept {
  for (int64_t m = 0; m < a.rows; ++m) {
    for (int64_t o = 0; o < a.columns; ++o) {
      float* y = a.y + m * a.stride + o;
      uint32_t sum;
      std::memcpy(&sum, y, sizeof sum);
      sum -= static_cast<uint32_t>(a.zero[m]) * static_cast<uint32_t>(a.weight_sum[o]);
      const float scaled =
          static_cast<float>(static_cast<int32_t>(sum)) * (a.row_scale[m] * a.scale[o]);
      *y = bounded(scaled + a.bias[o], a.low, a.high);
    }
  }
}

}  // namespace tersor::quantization
