#include <cmath>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

using cuda::kThreads;

// Sums of squares per block; every thread adds at most a few hundred in float.
template <class X, class Y, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    squared_differences_kernel(const X* x, const Y* y, X* gradient, std::size_t n, float factor,
                               float* sums) {
  TERSOR_SHARED(float, shared, kThreads / cuda::kWarp);
  float sum = 0;
  const std::size_t vectors = (n + 7) / 8;
  for (std::size_t v = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::size_t{gridDim.x} * blockDim.x) {
    const std::size_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    float a[8] = {}, b[8] = {};
    cuda::load_vector<kVectors>(x + first, count, a);
    cuda::load_vector<kVectors>(y + first, count, b);
    float part = 0;
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) {
      const float d = a[k] - b[k];
      part = fmaf(d, d, part);
      a[k] = factor * d;
    }
    sum += part;
    if (!gradient) continue;
    cuda::store_vector<kVectors>(gradient + first, count, a);
  }
  sum = cuda::block_reduce(sum, shared, cuda::Add{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <class T, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    scale_gradient_kernel(T* gradient, std::size_t n, const float* factor) {
  const float f = *factor;
  if (f == 1) return;
  const std::size_t vectors = (n + 7) / 8;
  for (std::size_t v = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::size_t{gridDim.x} * blockDim.x) {
    const std::size_t first = 8 * v;
    const unsigned count = cuda::vector_size(n, v);
    float g[8] = {};
    cuda::load_vector<kVectors>(gradient + first, count, g);
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) g[k] *= f;
    cuda::store_vector<kVectors>(gradient + first, count, g);
  }
}

}  // namespace

void mean_squared_difference_cuda(const void* x, cuda::Number x_type, const void* y,
                                  cuda::Number y_type, std::size_t n, float* loss, void* gradient,
                                  cuda::Stream stream) {
  if (n == 0) return cuda::fill_bytes(loss, 0, sizeof(float), stream);
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for((n + 7) / 8);
  grid.stream = stream;
  cuda::Memory sums(grid.blocks.x * sizeof(float), stream);
  const float factor = static_cast<float>(2.0 / static_cast<double>(n));
  cuda::with_number(x_type, [&](auto a) {
    cuda::with_number(y_type, [&](auto b) {
      using X = decltype(a);
      using Y = decltype(b);
      const bool vectors =
          cuda::aligned(x, 16) && cuda::aligned(y, 16) && cuda::aligned(gradient, 16);
      cuda::launch("mean_squared_difference", grid,
                   vectors ? squared_differences_kernel<X, Y, true>
                           : squared_differences_kernel<X, Y, false>,
                   static_cast<const X*>(x), static_cast<const Y*>(y), static_cast<X*>(gradient), n,
                   factor, sums.as<float>());
    });
  });
  add_losses_cuda(sums.as<float>(), grid.blocks.x, 1.0 / static_cast<double>(n), loss, stream);
}

void scale_gradient_cuda(void* gradient, cuda::Number type, std::size_t n, const float* factor,
                         cuda::Stream stream) {
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for((n + 7) / 8);
  grid.stream = stream;
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    cuda::launch("scale_gradient", grid,
                 cuda::aligned(gradient, 16) ? scale_gradient_kernel<T, true>
                                             : scale_gradient_kernel<T, false>,
                 static_cast<T*>(gradient), n, factor);
  });
}

}  // namespace tersor::distillation
