// y[m, o] = clamp(bias[o] + sum over k of x[m, k] * weight(code[o, k]), low, high) for weights of
// 4 bits, two in a byte, the first in the lower half, rows of `inputs` codes; inputs a multiple of
// 32. What a code means is the Decode's: dense_codes_cuda.cu, lookup_dense_cuda.cu.
//
// A warp has four outputs, so that a value of x that is read from shared memory serves four codes;
// a lane reads 32 codes of an output at a time (16 bytes), a step ahead of those that it decodes. x
// lies in shared memory so that the k-th values of all lanes are side by side: no bank conflicts.
#pragma once

#include <cuda_runtime.h>

#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/mma.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"

namespace tersor::cuda {

constexpr unsigned kGemvOutputs = 4;            // of a warp
constexpr unsigned kGemvStep = kWarp * 32;      // inputs that a warp reads at once
constexpr unsigned kGemvChunk = 4 * kGemvStep;  // inputs in shared memory: 16 KiB
constexpr unsigned kGemvWarps = kThreads / kWarp;

struct Gemv {
  const std::uint8_t* codes;
  const void* x;
  Number x_type;
  std::size_t rows, outputs, inputs;
  const float* bias;  // or null
  float low, high;
  float* y;
};

// The codes of a warp's outputs from input k on; 0 beyond the end.
__device__ inline void load_codes(const Gemv& a, std::size_t first, std::size_t k,
                                  uint4 (&codes)[kGemvOutputs]) {
#pragma unroll
  for (unsigned i = 0; i < kGemvOutputs; ++i) {
    codes[i] = make_uint4(0, 0, 0, 0);
    if (k < a.inputs && first + i < a.outputs) {
      codes[i] =
          __ldcs(reinterpret_cast<const uint4*>(a.codes + (first + i) * (a.inputs / 2) + k / 2));
    }
  }
}

// Input k = step * 1024 + lane * 32 + i of the chunk goes to step * 1024 + i * 32 + lane.
__device__ inline void stage_inputs(const Gemv& a, std::size_t m, std::size_t chunk,
                                    float* staged) {
  for (unsigned i = threadIdx.x; i < kGemvChunk; i += blockDim.x) {
    const std::size_t k = chunk + i;
    float v = 0;
    if (k < a.inputs) {
      v = a.x_type == Number::bfloat16
              ? to_float(static_cast<const BFloat16*>(a.x)[m * a.inputs + k])
              : static_cast<const float*>(a.x)[m * a.inputs + k];
    }
    staged[i / kGemvStep * kGemvStep + i % 32 * kWarp + i / 32 % kWarp] = v;
  }
}

// Decode: float operator()(const uint4& codes, const float* x, std::size_t o, std::size_t k) const
// is the sum over 32 codes of output o from input k on; x[32 * i] belongs to the i-th. All lanes
// call it together.
template <class Decode>
__global__ void __launch_bounds__(kThreads) gemv_int4_kernel(Gemv a, Decode decode) {
  TERSOR_SHARED(float, staged, kGemvChunk);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const std::size_t first = (blockIdx.x * std::size_t{kGemvWarps} + warp) * kGemvOutputs;
  const std::size_t m = blockIdx.y;
  let_next_grid_start();
  uint4 next[kGemvOutputs];
  load_codes(a, first, std::size_t{lane} * 32, next);
  wait_for_grid_before();
  float sums[kGemvOutputs] = {};
  for (std::size_t chunk = 0; chunk < a.inputs; chunk += kGemvChunk) {
    __syncthreads();
    stage_inputs(a, m, chunk, staged);
    __syncthreads();
    for (unsigned step = 0; step < kGemvChunk; step += kGemvStep) {
      const std::size_t k = chunk + step + lane * 32;
      if (chunk + step >= a.inputs) break;
      uint4 codes[kGemvOutputs];
#pragma unroll
      for (unsigned i = 0; i < kGemvOutputs; ++i) codes[i] = next[i];
      load_codes(a, first, k + kGemvStep, next);
#pragma unroll
      for (unsigned i = 0; i < kGemvOutputs; ++i) {
        const std::size_t o = first + i < a.outputs ? first + i : a.outputs - 1;
        sums[i] += decode(codes[i], staged + step + lane, o, k < a.inputs ? k : a.inputs - 32);
      }
    }
  }
#pragma unroll
  for (unsigned i = 0; i < kGemvOutputs; ++i) {
    float y = warp_reduce(sums[i], Add{});
    if (lane != 0 || first + i >= a.outputs) continue;
    if (a.bias) y += a.bias[first + i];
    if (y < a.low) y = a.low;
    if (y > a.high) y = a.high;
    a.y[m * a.outputs + first + i] = y;
  }
}

template <class Decode>
void gemv_int4(const char* op, const Gemv& a, const Decode& decode, Stream stream) {
  if (a.rows == 0 || a.outputs == 0) return;
  Grid grid;
  constexpr std::size_t kEach = kGemvWarps * kGemvOutputs;
  grid.blocks =
      dim3(static_cast<unsigned>((a.outputs + kEach - 1) / kEach), static_cast<unsigned>(a.rows));
  grid.stream = stream;
  grid.early = true;
  launch(op, grid, gemv_int4_kernel<Decode>, a, decode);
}

}  // namespace tersor::cuda
