#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/scales_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

// Elements of a run that a block adds: each thread 32, in float.
constexpr std::size_t kRunPart = std::size_t{32} * kThreads;
// Rows that a thread adds in float where scales lie along the columns.
constexpr std::size_t kRowPart = 64;
// Shorter runs leave most lanes of a block idle.
constexpr std::size_t kShortRun = 32;

struct Terms {
  float dx, scale, outside;
};

__device__ Terms gradient_terms(float dy, float x, const ScaleTerms& s) {
  const float t = x / s.scale + s.zero;
  if (s.low < t && t < s.high) return {dy, dy * (rintf(t) - t), 0};
  if (isnan(t)) return {0, 0, 0};
  return {0, dy * ((t <= s.low ? s.low : s.high) - s.zero), dy};
}

// Runs of consecutive elements that share a scale: blockIdx.y is the run, blockIdx.x its part.
// partial[run][part][2].
template <class T>
__global__ void __launch_bounds__(kThreads)
    lsq_runs_kernel(const T* dy, const T* x, T* dx, DeviceLayout layout, DeviceQuantizer p,
                    std::size_t runs, double* partial) {
  TERSOR_SHARED(double, shared, 2 * kThreads / cuda::kWarp);
  for (std::size_t run = blockIdx.y; run < runs; run += gridDim.y) {
    // A run is a channel at a place of the outer axes, or a group of it.
    std::uint64_t begin = run * layout.inner, length = layout.inner;
    if (layout.group > 0) {
      const std::uint64_t first = run % layout.groups * layout.group;
      begin = run / layout.groups * layout.channels + first;
      length = layout.channels - first < layout.group ? layout.channels - first : layout.group;
    }
    const ScaleTerms s = terms_of(p, layout.group > 0 ? run : run % layout.channels);
    const std::uint64_t end = begin + length;
    float by_scale = 0, outside = 0;
    std::uint64_t i = begin + blockIdx.x * kRunPart + threadIdx.x;
    for (unsigned k = 0; k < kRunPart / kThreads && i < end; ++k, i += kThreads) {
      const Terms t = gradient_terms(cuda::to_float(dy[i]), cuda::to_float(x[i]), s);
      cuda::from_float(t.dx, dx[i]);
      by_scale += t.scale;
      outside += t.outside;
    }
    __syncthreads();  // what was read of `shared` before
    const double sum = cuda::block_reduce(static_cast<double>(by_scale), shared, cuda::Add{});
    const double rest = cuda::block_reduce(static_cast<double>(outside),
                                           shared + kThreads / cuda::kWarp, cuda::Add{});
    if (threadIdx.x == 0) {
      double* out = partial + 2 * (run * gridDim.x + blockIdx.x);
      out[0] = sum;
      out[1] = rest;
    }
  }
}

// Rows of columns with scales along them: a thread per column and part of the rows.
// partial[column][part][2], columns = channels * inner; or, with groups, a thread per scale.
template <class T>
__global__ void __launch_bounds__(kThreads)
    lsq_columns_kernel(const T* dy, const T* x, T* dx, DeviceLayout layout, DeviceQuantizer p,
                       std::size_t rows, double* partial) {
  const bool grouped = layout.group > 0;
  const std::uint64_t columns =
      grouped ? layout.size / layout.channels * layout.groups : layout.channels * layout.inner;
  const std::size_t parts = gridDim.y;
  for (std::uint64_t j = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; j < columns;
       j += std::uint64_t{gridDim.x} * blockDim.x) {
    std::uint64_t at = j, step = columns, end = rows;
    if (grouped) {
      // Scale (outer, group, inner): the group's channels, `inner` apart.
      const std::uint64_t b = j % layout.inner, line = j / layout.inner;
      const std::uint64_t g = line % layout.groups * layout.group;
      at = (line / layout.groups * layout.channels + g) * layout.inner + b;
      step = layout.inner;
      end = layout.channels - g < layout.group ? layout.channels - g : layout.group;
    }
    const ScaleTerms s = terms_of(p, grouped ? j : j / layout.inner);
    double sum = 0, rest = 0;
    for (std::uint64_t r = blockIdx.y * kRowPart; r < end; r += parts * kRowPart) {
      float by_scale = 0, outside = 0;
      for (std::uint64_t k = r; k < r + kRowPart && k < end; ++k) {
        const std::uint64_t i = at + k * step;
        const Terms t = gradient_terms(cuda::to_float(dy[i]), cuda::to_float(x[i]), s);
        cuda::from_float(t.dx, dx[i]);
        by_scale += t.scale;
        outside += t.outside;
      }
      sum += static_cast<double>(by_scale);
      rest += static_cast<double>(outside);
    }
    double* out = partial + 2 * (j * parts + blockIdx.y);
    out[0] = sum;
    out[1] = rest;
  }
}

// The parts of a scale: `outer` places that are `outer_step` apart, `inner` in a row at each.
__global__ void __launch_bounds__(kThreads)
    lsq_finish_kernel(const double* partial, DeviceQuantizer p, std::size_t scales,
                      std::size_t outer, std::size_t outer_step, std::size_t inner, double factor,
                      float* dscale, float* dzero) {
  TERSOR_SHARED(double, shared, 2 * kThreads / cuda::kWarp);
  for (std::size_t s = blockIdx.x; s < scales; s += gridDim.x) {
    double sum = 0, rest = 0;
    for (std::size_t i = threadIdx.x; i < outer * inner; i += blockDim.x) {
      const double* part = partial + 2 * (s * inner + i / inner * outer_step + i % inner);
      sum += part[0];
      rest += part[1];
    }
    __syncthreads();
    sum = cuda::block_reduce(sum, shared, cuda::Add{});
    rest = cuda::block_reduce(rest, shared + kThreads / cuda::kWarp, cuda::Add{});
    if (threadIdx.x != 0) continue;
    dscale[s] = static_cast<float>(sum * factor);
    const double scale = static_cast<double>(p.scale ? p.scale[s] : p.one_scale);
    if (dzero) dzero[s] = static_cast<float>(-scale * rest * factor);
  }
}

struct Plan {
  bool runs;
  std::size_t units, parts;              // runs or columns, and parts of each
  std::size_t outer, outer_step, inner;  // of lsq_finish_kernel
};

Plan plan_for(const AffineShape& s) {
  Plan p = {};
  if (s.group > 0 && s.inner == 1) {
    p = {true, s.outer * s.groups(), (s.group + kRunPart - 1) / kRunPart, 1, 0, 0};
    p.inner = p.parts;
  } else if (s.group > 0) {
    p = {false, s.scales(), 1, 1, 0, 1};
  } else if (s.inner >= kShortRun) {
    p = {true, s.outer * s.channels, (s.inner + kRunPart - 1) / kRunPart, s.outer, 0, 0};
    p.inner = p.parts;
    p.outer_step = s.channels * p.parts;
  } else {
    const std::size_t parts = std::min<std::size_t>((s.outer + kRowPart - 1) / kRowPart, 512);
    p = {false, s.channels * s.inner, parts, 1, 0, s.inner * parts};
  }
  return p;
}

}  // namespace

void lsq_backward_cuda(const void* dy, const void* x, void* dx, Number type,
                       const AffineShape& shape, const DeviceQuantizer& q, double gradient_scale,
                       float* dscale, float* dzero, Stream stream) {
  const std::size_t scales = shape.scales();
  if (shape.size() == 0) {
    cuda::fill_bytes(dscale, 0, scales * sizeof(float), stream);
    if (dzero) cuda::fill_bytes(dzero, 0, scales * sizeof(float), stream);
    return;
  }
  const DeviceLayout layout(shape);
  const Plan p = plan_for(shape);
  cuda::Memory partial(2 * p.units * p.parts * sizeof(double), stream);
  cuda::Grid grid;
  grid.stream = stream;
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    if (p.runs) {
      grid.blocks = dim3(static_cast<unsigned>(p.parts),
                         static_cast<unsigned>(std::min<std::size_t>(p.units, 65535)));
    } else {
      grid.blocks = dim3(static_cast<unsigned>((p.units + kThreads - 1) / kThreads),
                         static_cast<unsigned>(p.parts));
    }
    cuda::launch("lsq_backward", grid, p.runs ? lsq_runs_kernel<T> : lsq_columns_kernel<T>,
                 static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<T*>(dx), layout,
                 q, p.runs ? p.units : shape.outer, partial.as<double>());
  });
  grid.blocks = dim3(static_cast<unsigned>(std::min<std::size_t>(scales, 65535)));
  cuda::launch("lsq_backward", grid, lsq_finish_kernel, partial.as<double>(), q, scales, p.outer,
               p.outer_step, p.inner, gradient_scale, dscale, dzero);
}

}  // namespace tersor::quantization
