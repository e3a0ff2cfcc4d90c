// What follows a product of codes, in one pass over its sums: scales, zero points, bias and bounds.
// Private to the room.
#pragma once

#include <cuda_runtime.h>

#include "tersor/cuda/divider.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/quantization/cuda.h"

namespace tersor::quantization {

// A thread has eight columns of kFinishRows rows: what belongs to columns is read once for them.
constexpr unsigned kFinishRows = 16;
constexpr unsigned kFinishTogether = 2;  // rows whose sums are read before the first is used

struct FinishColumns {
  float scale[8], bias[8];
  std::uint32_t weight_sum[8];
};

__device__ inline void load8(const std::int32_t* p, std::int32_t (&x)[8]) {
  const uint4 a = *reinterpret_cast<const uint4*>(p), b = *reinterpret_cast<const uint4*>(p + 4);
  const std::uint32_t bits[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
  for (int k = 0; k < 8; ++k) x[k] = static_cast<std::int32_t>(bits[k]);
}
__device__ inline void load8(const float* p, float (&x)[8]) { cuda::load8(p, x); }

__device__ inline FinishColumns columns_of(const DeviceFinish& f, std::size_t first) {
  FinishColumns c;
#pragma unroll
  for (unsigned k = 0; k < 8; ++k) {
    const std::size_t o = first + k < f.outputs ? first + k : f.outputs - 1;
    c.scale[k] = f.scale[f.one_scale ? 0 : o];
    c.bias[k] = f.bias ? f.bias[o] : 0.0f;
    c.weight_sum[k] = f.zero ? static_cast<std::uint32_t>(f.weight_sum[o]) : 0u;
  }
  return c;
}

// Sums modulo 2^32, as dense_dynamic.h says.
__device__ inline float corrected(std::int32_t sum, std::uint32_t zero, std::uint32_t weight_sum) {
  return static_cast<float>(
      static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) - zero * weight_sum));
}
__device__ inline float corrected(float sum, std::uint32_t, std::uint32_t) { return sum; }

template <class Sum, class T, bool kVectors>
__global__ void __launch_bounds__(cuda::kThreads)
    finish_rows_kernel(DeviceFinish f, T* y, cuda::Divider by_vectors, std::uint32_t items) {
  const auto* sums = static_cast<const Sum*>(f.sums);
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < items;
       i += gridDim.x * blockDim.x) {
    const std::uint32_t chunk = by_vectors.divide(i);
    const std::size_t first = std::size_t{8} * (i - chunk * by_vectors.divisor);
    const auto count =
        static_cast<unsigned>(f.outputs - first < 8 ? f.outputs - first : std::size_t{8});
    const FinishColumns c = columns_of(f, first);
    const std::size_t begin = std::size_t{kFinishRows} * chunk;
    const std::size_t end = begin + kFinishRows < f.rows ? begin + kFinishRows : f.rows;
    for (std::size_t r = begin; r < end; r += kFinishTogether) {
      Sum s[kFinishTogether][8];
#pragma unroll
      for (unsigned j = 0; j < kFinishTogether; ++j) {
        // The pitch is a multiple of eight: sums beyond the outputs may be read.
        if (r + j < end) load8(sums + (r + j) * f.pitch + first, s[j]);
      }
#pragma unroll
      for (unsigned j = 0; j < kFinishTogether; ++j) {
        if (r + j >= end) continue;
        const std::size_t row = f.one_row ? 0 : r + j;
        const float row_scale = f.row_scale[row];
        const auto zero = f.zero ? static_cast<std::uint32_t>(f.zero[row]) : 0u;
        float out[8];
#pragma unroll
        for (unsigned k = 0; k < 8; ++k) {
          const float scaled = corrected(s[j][k], zero, c.weight_sum[k]) * (row_scale * c.scale[k]);
          float v = scaled + c.bias[k];
          if (v < f.low) v = f.low;
          if (v > f.high) v = f.high;
          out[k] = v;
        }
        T* const to = y + (r + j) * f.outputs + first;
        cuda::store_vector<kVectors>(to, count, out);
      }
    }
  }
}

}  // namespace tersor::quantization
