#include <cuda_runtime.h>

#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/narrow_float_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

template <class C>
struct Codes;
template <>
struct Codes<std::uint8_t> {
  using Vector = uint2;
};
template <>
struct Codes<std::uint16_t> {
  using Vector = uint4;
};

template <class F, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    cast_to_kernel(const float* x, typename F::Code* y, std::uint64_t n) {
  using Code = typename F::Code;
  const std::uint64_t vectors = (n + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    float values[8] = {};
    cuda::load_vector<kVectors>(x + first, count, values);
    alignas(16) Code codes[8];
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) codes[k] = narrowed<F>(values[k]);
    if (kVectors && count == 8) {
      using Vector = typename Codes<Code>::Vector;
      *reinterpret_cast<Vector*>(y + first) = *reinterpret_cast<const Vector*>(codes);
    } else {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (k < count) y[first + k] = codes[k];
      }
    }
  }
}

template <class F, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    cast_from_kernel(const typename F::Code* x, float* y, std::uint64_t n) {
  using Code = typename F::Code;
  const std::uint64_t vectors = (n + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    alignas(16) Code codes[8] = {};
    if (kVectors && count == 8) {
      using Vector = typename Codes<Code>::Vector;
      *reinterpret_cast<Vector*>(codes) = *reinterpret_cast<const Vector*>(x + first);
    } else {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (k < count) codes[k] = x[first + k];
      }
    }
    float values[8];
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) values[k] = widened<F>(codes[k]);
    cuda::store_vector<kVectors>(y + first, count, values);
  }
}

template <class Call>
void with_format(FloatFormat format, Call&& call) {
  switch (format) {
    case FloatFormat::float16:
      return call(Half{});
    case FloatFormat::bfloat16:
      return call(BFloat{});
    case FloatFormat::float8_e4m3:
      return call(E4M3{});
    case FloatFormat::float8_e5m2:
      return call(E5M2{});
  }
}

}  // namespace

void cast_to_cuda(const float* x, void* y, std::size_t n, FloatFormat format, Stream stream) {
  with_format(format, [&](auto f) {
    using F = decltype(f);
    const bool vectors = cuda::aligned(x, 16) && cuda::aligned(y, 16);
    cuda::Grid grid;
    grid.blocks.x = cuda::blocks_for((n + 7) / 8);
    grid.stream = stream;
    cuda::launch("cast", grid, vectors ? cast_to_kernel<F, true> : cast_to_kernel<F, false>, x,
                 static_cast<typename F::Code*>(y), std::uint64_t{n});
  });
}

void cast_from_cuda(const void* x, float* y, std::size_t n, FloatFormat format, Stream stream) {
  with_format(format, [&](auto f) {
    using F = decltype(f);
    const bool vectors = cuda::aligned(x, 16) && cuda::aligned(y, 16);
    cuda::Grid grid;
    grid.blocks.x = cuda::blocks_for((n + 7) / 8);
    grid.stream = stream;
    cuda::launch("cast", grid, vectors ? cast_from_kernel<F, true> : cast_from_kernel<F, false>,
                 static_cast<const typename F::Code*>(x), y, std::uint64_t{n});
  });
}

}  // namespace tersor::quantization
