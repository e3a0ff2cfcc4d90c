// Products of small bfloat16 matrices on tensor cores, with float32 sums, a warp together. Where
// there are none for bfloat16 (compute capability 7.5, the host emulation of the tests) lanes hand
// their parts round: the same layout of fragments, slowly.
//
// With g = lane / 4 and t = lane % 4, two values in a register, the lower index in the lower half
// (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type"):
//   a [16 rows][16 k]   a0: row g, k 2t and 2t + 1; a1: row g + 8; a2: row g, k + 8; a3: both
//   b [16 k][8 columns] b0: k 2t and 2t + 1 of column g; b1: k + 8
//   d [16][8]           d0, d1: row g, columns 2t and 2t + 1; d2, d3: row g + 8
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"

namespace tersor::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TERSOR_TENSOR_CORES 1
#endif

// Two bfloat16 plus two others; the sums are representable.
__device__ inline std::uint32_t add_exact2(std::uint32_t a, std::uint32_t b) {
#ifdef TERSOR_TENSOR_CORES
  std::uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(0x3f803f80u), "r"(b));
  return d;
#else
  float a0, a1, b0, b1;
  widen2(a, a0, a1);
  widen2(b, b0, b1);
  return narrow2(a0 + b0, a1 + b1);
#endif
}

#ifndef TERSOR_TENSOR_CORES
__device__ inline float dot2(std::uint32_t a, std::uint32_t b, float sum) {
  float a0, a1, b0, b1;
  widen2(a, a0, a1);
  widen2(b, b0, b1);
  return fmaf(a1, b1, fmaf(a0, b0, sum));
}
__device__ inline std::uint32_t from_lane(std::uint32_t x, unsigned lane) {
  return __shfl_sync(kFullWarp, x, static_cast<int>(lane));
}
#endif

// d += a b.
__device__ inline void multiply_add(float (&d)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
#ifdef TERSOR_TENSOR_CORES
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (unsigned s = 0; s < 4; ++s) {
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint32_t low = from_lane(a[2 * half], 4 * g + s);
      const std::uint32_t high = from_lane(a[2 * half + 1], 4 * g + s);
      for (unsigned c = 0; c < 2; ++c) {
        const std::uint32_t k = from_lane(b[half], 4 * (2 * t + c) + s);
        d[c] = dot2(low, k, d[c]);
        d[2 + c] = dot2(high, k, d[2 + c]);
      }
    }
  }
#endif
}

// The same with a [16 rows][32 k] of which two in every four k are stored ("Matrix Fragments for
// sparse mma.m16n8k32 with .f16 and .bf16 types"):
//   a0: the two of row g in k 4t to 4t + 3; a1: row g + 8; a2, a3: k + 16
//   b0: k 2t and 2t + 1 of column g; b1, b2, b3: k + 8, 16, 24
//   places: of the lanes with t / 2 = selector; bits 0 to 15 row g, 16 to 31 row g + 8, in the 16 k
//           from 16 * (t % 2) on; 4 bits for each four k: the lower place, then the higher
template <int kSelector>
__device__ inline void multiply_add_sparse(float (&d)[4], const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[4], std::uint32_t places) {
#ifdef TERSOR_TENSOR_CORES
  asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
        "r"(places), "n"(kSelector));
#else
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (unsigned s = 0; s < 4; ++s) {  // of four fours of k
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint32_t all = from_lane(places, 4 * g + 2 * kSelector + half);
      const std::uint32_t eight = s < 2 ? b[2 * half] : b[2 * half + 1];
#pragma unroll
      for (unsigned r = 0; r < 2; ++r) {
        const std::uint32_t pair = from_lane(a[2 * half + r], 4 * g + s);
#pragma unroll
        for (unsigned e = 0; e < 2; ++e) {
          float value, unused;
          widen2(e == 0 ? pair : pair >> 16, value, unused);
          const unsigned place = all >> (16 * r + 4 * s + 2 * e) & 3u;
          const unsigned k = 4 * (s % 2) + place;  // in the eight k of a register of b
#pragma unroll
          for (unsigned c = 0; c < 2; ++c) {
            const std::uint32_t both = from_lane(eight, 4 * (2 * t + c) + k / 2);
            float x;
            widen2(k % 2 == 0 ? both : both >> 16, x, unused);
            d[2 * r + c] = fmaf(value, x, d[2 * r + c]);
          }
        }
      }
    }
  }
#endif
}

// Kernels whose grid may start before the one in front of it ends (Grid::early), from compute
// capability 9.0 on: it reads what no kernel writes, then waits; it writes nothing before.
__device__ inline void let_next_grid_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void wait_for_grid_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace tersor::cuda
