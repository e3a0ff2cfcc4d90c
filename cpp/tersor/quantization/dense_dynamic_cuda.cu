// dense_dynamic.h on a device: rows become codes, cuBLASLt multiplies (tersor/cuda/product.h), one
// pass makes results of the sums.
#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/finish_rows_cuda.h"
#include "tersor/quantization/narrow_float_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

constexpr unsigned kWarps = kThreads / cuda::kWarp;
constexpr float kLargestE4M3 = 448;

struct Smaller {
  __device__ float operator()(float a, float b) const { return fminf(a, b); }
};
struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// What a row becomes: codes of asymmetric int8, or of float8 with a scale.
struct Int8Rows {
  using Code = std::int8_t;
  float* scale;
  std::int32_t* zero;
  float divisor = 1, offset = 0;
  bool finite = true;

  __device__ void choose(std::size_t row, float lo, float hi, bool all_finite, bool store) {
    const float range = hi - lo;
    finite = all_finite && fabsf(range) < INFINITY;
    divisor = range / 255.0f;
    divisor = divisor < 0x1p-126f ? 0x1p-126f : divisor;
    if (range == 0 || !finite) divisor = 1;
    offset = finite ? fminf(fmaxf(rintf(-128.0f - lo / divisor), -128.0f), 127.0f) : 0.0f;
    if (!store) return;
    scale[row] = finite ? divisor : NAN;
    zero[row] = static_cast<std::int32_t>(offset);
  }
  __device__ std::uint8_t code(float x) const {
    if (!finite) return 0;
    const float c = fminf(fmaxf(rintf(x / divisor) + offset, -128.0f), 127.0f);
    return static_cast<std::uint8_t>(static_cast<std::int32_t>(c));
  }
};

struct Float8Rows {
  using Code = std::uint8_t;
  float* scale;
  float divisor = 1;
  bool finite = true;

  __device__ void choose(std::size_t row, float lo, float hi, bool all_finite, bool store) {
    const float largest = fmaxf(-lo, hi);
    finite = all_finite;
    divisor = largest / kLargestE4M3;
    divisor = divisor < 0x1p-126f ? 0x1p-126f : divisor;
    if (largest == 0 || !finite) divisor = 1;
    if (store) scale[row] = finite ? divisor : NAN;
  }
  // Division may round up to just above the largest number, which would be NaN.
  __device__ std::uint8_t code(float x) const {
    if (!finite) return 0;
    return narrowed<E4M3>(fminf(fmaxf(x / divisor, -kLargestE4M3), kLargestE4M3));
  }
};

// A block per row, which it reads twice: the second time from the first- or second-level cache.
template <class T, class Kind, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    quantize_rows_kernel(const T* x, std::size_t rows, std::size_t inputs, std::size_t pitch,
                         std::uint8_t* codes, Kind kind) {
  TERSOR_SHARED(float, lows, kWarps);
  TERSOR_SHARED(float, highs, kWarps);
  TERSOR_SHARED(int, bads, kWarps);
  const std::size_t vectors = (inputs + 7) / 8;
  for (std::size_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* const from = x + row * inputs;
    const auto load = [&](std::size_t v, float(&values)[8]) {
      const std::size_t first = 8 * v;
      if (kVectors) {
        cuda::load8(from + first, values);
      } else {
        const std::size_t left = inputs - first;
        cuda::load_some(from + first, static_cast<unsigned>(left < 8 ? left : std::size_t{8}),
                        values);
      }
    };
    float lo = 0, hi = 0;
    int bad = 0;
    for (std::size_t v = threadIdx.x; v < vectors; v += blockDim.x) {
      float values[8] = {};
      load(v, values);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        lo = fminf(lo, values[k]);
        hi = fmaxf(hi, values[k]);
        bad |= fabsf(values[k]) < INFINITY ? 0 : 1;
      }
    }
    __syncthreads();  // the row before has been reduced
    lo = cuda::block_reduce(lo, lows, Smaller{});
    hi = cuda::block_reduce(hi, highs, Larger{});
    bad = cuda::block_reduce(bad, bads, cuda::Add{});
    Kind row_kind = kind;
    row_kind.choose(row, lo, hi, bad == 0, threadIdx.x == 0);
    std::uint8_t* const to = codes + row * pitch;
    for (std::size_t v = threadIdx.x; v < pitch / 8; v += blockDim.x) {
      std::uint8_t out[8] = {};
      if (v < vectors) {
        float values[8] = {};
        load(v, values);
#pragma unroll
        for (unsigned k = 0; k < 8; ++k) {
          if (kVectors || 8 * v + k < inputs) out[k] = row_kind.code(values[k]);
        }
      }
      cuda::store8(to + 8 * v, out);
    }
  }
}

template <class Kind>
void quantize_rows(const char* op, const DeviceRows& a, std::uint8_t* codes, const Kind& kind,
                   Stream stream) {
  TERSOR_CHECK(a.pitch >= a.inputs && a.pitch % 8 == 0 && cuda::aligned(codes, 8), op,
               ": pitch must be a multiple of 8 and at least ", a.inputs, ", got ", a.pitch);
  if (a.rows == 0) return;
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for(a.rows, 1);
  grid.stream = stream;
  cuda::with_number(a.type, [&](auto number) {
    using T = decltype(number);
    const bool vectors = cuda::aligned(a.x, 16) && a.inputs % 8 == 0;
    auto* kernel =
        vectors ? quantize_rows_kernel<T, Kind, true> : quantize_rows_kernel<T, Kind, false>;
    cuda::launch(op, grid, kernel, static_cast<const T*>(a.x), a.rows, a.inputs, a.pitch, codes,
                 kind);
  });
}

template <class Sum>
void finish_rows(const DeviceFinish& f, void* y, Number type, Stream stream) {
  const std::size_t vectors = (f.outputs + 7) / 8;
  const std::size_t items = vectors * ((f.rows + kFinishRows - 1) / kFinishRows);
  TERSOR_CHECK(items < std::size_t{1} << 31, "DenseDynamic: x must have fewer rows, got ", f.rows);
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for(items);
  grid.stream = stream;
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    const bool aligned = cuda::aligned(y, 16) && f.outputs % 8 == 0;
    auto* kernel = aligned ? finish_rows_kernel<Sum, T, true> : finish_rows_kernel<Sum, T, false>;
    cuda::launch("DenseDynamic", grid, kernel, f, static_cast<T*>(y),
                 cuda::Divider(static_cast<std::uint32_t>(vectors)),
                 static_cast<std::uint32_t>(items));
  });
}

}  // namespace

void quantize_rows_cuda(const DeviceRows& a, std::int8_t* codes, float* scale, std::int32_t* zero,
                        Stream stream) {
  quantize_rows("DenseDynamic", a, reinterpret_cast<std::uint8_t*>(codes), Int8Rows{scale, zero},
                stream);
}

void quantize_rows_float8_cuda(const DeviceRows& a, std::uint8_t* codes, float* scale,
                               Stream stream) {
  quantize_rows("DenseFp8", a, codes, Float8Rows{scale}, stream);
}

void finish_rows_cuda(const DeviceFinish& f, void* y, Number type, Stream stream) {
  TERSOR_CHECK(f.pitch % 8 == 0 && cuda::aligned(f.sums, 16),
               "DenseDynamic: sums must be rows of a multiple of 8, got ", f.pitch);
  if (f.rows == 0 || f.outputs == 0) return;
  if (f.float_sums) {
    finish_rows<float>(f, y, type, stream);
  } else {
    finish_rows<std::int32_t>(f, y, type, stream);
  }
}

}  // namespace tersor::quantization
