#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/scales_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

struct Rounded {
  float value;
  bool inside;
};

__device__ Rounded rounded(float x, const ScaleTerms& t) {
  const float steps = x / t.scale;
  const float v = isnan(steps) ? t.zero : steps + t.zero;
  // Rounding a value clamped one step further gives the same code and the same mask.
  const float r = rintf(fminf(fmaxf(v, t.low - 1), t.high + 1));
  const float code = fminf(fmaxf(r, t.low), t.high) + 0.0f;  // a code of 0 is +0
  return {(code - t.zero) * t.scale, t.low <= r && r <= t.high && !isnan(steps)};
}

// A vector of eight is a byte of the mask.
template <class T, Scales kSharing, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    fake_quantize_kernel(const T* x, T* y, std::uint8_t* mask, DeviceLayout layout,
                         DeviceQuantizer p) {
  const ScaleTerms common = terms_of(p, 0);
  const std::uint64_t vectors = (layout.size + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(layout.size, v);
    float values[8] = {};
    cuda::load_vector<kVectors>(x + first, count, values);
    unsigned bits = 0;
    for_vector<kSharing>(layout, p, common, first, count, [&](unsigned k, const ScaleTerms& t) {
      const Rounded r = rounded(values[k], t);
      values[k] = r.value;
      bits |= r.inside ? 1u << k : 0u;
    });
    if (mask) mask[v] = static_cast<std::uint8_t>(bits);
    cuda::store_vector<kVectors>(y + first, count, values);
  }
}

template <class T, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    fake_quantize_backward_kernel(const T* dy, T* dx, const std::uint8_t* mask, std::uint64_t n) {
  const std::uint64_t vectors = (n + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    float values[8] = {};
    cuda::load_vector<kVectors>(dy + first, count, values);
    const unsigned bits = mask[v];
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) values[k] = bits >> k & 1 ? values[k] : 0.0f;
    cuda::store_vector<kVectors>(dx + first, count, values);
  }
}

}  // namespace

void fake_quantize_cuda(const void* x, void* y, Number type, std::uint8_t* mask,
                        const AffineShape& shape, const DeviceQuantizer& p, Stream stream) {
  constexpr std::int32_t kMost = 1 << 20;
  TERSOR_CHECK(-kMost <= p.lo && p.lo <= p.hi && p.hi <= kMost,
               "fake_quantize: lo and hi must satisfy -2^20 <= lo <= hi <= 2^20, got ", p.lo,
               " and ", p.hi);
  const DeviceLayout layout(shape);
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    with_sharing(layout.sharing(), [&](auto sharing) {
      constexpr Scales kSharing = decltype(sharing)::value;
      const bool vectors = cuda::aligned(x, 16) && cuda::aligned(y, 16);
      auto* kernel = vectors ? fake_quantize_kernel<T, kSharing, true>
                             : fake_quantize_kernel<T, kSharing, false>;
      cuda::Grid grid;
      grid.blocks.x = cuda::blocks_for((layout.size + 7) / 8);
      grid.stream = stream;
      cuda::launch("fake_quantize", grid, kernel, static_cast<const T*>(x), static_cast<T*>(y),
                   mask, layout, p);
    });
  });
}

void fake_quantize_backward_cuda(const void* dy, void* dx, Number type, const std::uint8_t* mask,
                                 std::size_t n, Stream stream) {
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    const bool vectors = cuda::aligned(dy, 16) && cuda::aligned(dx, 16);
    auto* kernel =
        vectors ? fake_quantize_backward_kernel<T, true> : fake_quantize_backward_kernel<T, false>;
    cuda::Grid grid;
    grid.blocks.x = cuda::blocks_for((n + 7) / 8);
    grid.stream = stream;
    cuda::launch("fake_quantize_backward", grid, kernel, static_cast<const T*>(dy),
                 static_cast<T*>(dx), mask, std::uint64_t{n});
  });
}

}  // namespace tersor::quantization
