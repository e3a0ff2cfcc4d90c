// Compiled once per instruction set (cmake/instruction_sets.cmake). Three instructions for a vector
// of int4 weights: a mask, a conversion, a multiply-add.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

constexpr int kRows = static_cast<int>(kDenseRows);
// Rows of x at a time: 4 x 2 sums of AVX2 leave half of its registers, 4 x 4 of AVX-512 too.
constexpr int kMostX = kLanes == 16 ? 4 : 2;

TERSOR_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512BW__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;  // two roundings: no such instruction here
#endif
}

// v[index[i]]
TERSOR_INLINE F32 pick(F32 v, I32 index) {
#if defined(__AVX512BW__)
  return (F32)_mm512_permutexvar_ps((__m512i)index, (__m512)v);
#elif defined(__AVX2__)
  return (F32)_mm256_permutevar8x32_ps((__m256)v, (__m256i)index);
#else
  F32 r;
  for (int i = 0; i < kLanes; ++i) r[i] = v[index[i]];
  return r;
#endif
}

TERSOR_INLINE float sum_of(F32 v) {
  float lane[kLanes];
  store(lane, v);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

template <int kX>
TERSOR_INLINE void write(const DenseCodesBlocks& a, const F32 sums[kRows][kX], int64_t block,
                         int64_t m) {
  for (int r = 0; r < kRows && kRows * block + r < a.outputs; ++r) {
    for (int x = 0; x < kX; ++x) {
      const int64_t o = kRows * block + r;
      float y = sum_of(sums[r][x]) + a.bias[o];
      y = y < a.low ? a.low : y;
      a.y[(m + x) * a.outputs + o] = y > a.high ? a.high : y;
    }
  }
}

// Sixteen bytes as int32, part i of kParts.
TERSOR_INLINE void widen_bytes(const int8_t* p, I32 out[kParts]) { widen(load<Codes>(p), out); }

template <int kX, bool kZero>
TERSOR_INLINE void int4_tile(const DenseCodesBlocks& a, int64_t block, int64_t m) {
  // A block of 128 inputs holds whole groups, or lies in one. No division inside the loop.
  const int64_t inner_group = a.group < kInt4Inputs ? a.group : kInt4Inputs;
  const int64_t blocks_of_group = a.group / inner_group;
  int64_t base = 0, blocks_left = blocks_of_group;
  I32 lane_group;  // which of the scales that a vector meets belongs to a lane
  for (int i = 0; i < kLanes; ++i) lane_group[i] = static_cast<int32_t>(8 * i / inner_group);
  int64_t part_group[kParts];  // the first of them
  for (int part = 0; part < kParts; ++part) part_group[part] = 8 * kLanes * part / inner_group;
  const auto* words =
      static_cast<const int32_t*>(a.weights) + block * (a.depth / kInt4Inputs) * kRows * 16;
  const float* scale = a.scale + kRows * block * a.scale_stride;
  const float* zero = kZero ? a.zero_point + kRows * block * a.scale_stride : nullptr;
  const float* arranged = a.x + m * a.x_stride;
  F32 sums[kRows][kX] = {};
  for (int64_t k = 0; k < a.depth; k += kInt4Inputs, words += kRows * 16) {
    const float* x[kX];
    for (int i = 0; i < kX; ++i) x[i] = arranged + i * a.x_stride;
    arranged += kArrangedFloats;
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const int64_t group = base + part_group[part];
      const int lane = part * kLanes;
      I32 w[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) w[r] = load<I32>(words + 16 * r + lane);
      F32 inner[kRows][kX];
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
        const F32 start = load<F32>(x[i] + 128 + lane);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) inner[r][i] = start;
      }
      if constexpr (kZero) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const F32 z = -pick(load<F32>(zero + r * a.scale_stride + group), lane_group);
#pragma GCC unroll 4
          for (int i = 0; i < kX; ++i) {
            inner[r][i] = fma(z, load<F32>(x[i] + 144 + lane), inner[r][i]);
          }
        }
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const I32 mask = splat(static_cast<int32_t>(0xFu << (4 * j)));
        F32 values[kX];
#pragma GCC unroll 4
        for (int i = 0; i < kX; ++i) values[i] = load<F32>(x[i] + 16 * j + lane);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const F32 weight = to_float(w[r] & mask);
#pragma GCC unroll 4
          for (int i = 0; i < kX; ++i) inner[r][i] = fma(weight, values[i], inner[r][i]);
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const F32 s = pick(load<F32>(scale + r * a.scale_stride + group), lane_group);
#pragma GCC unroll 4
        for (int i = 0; i < kX; ++i) sums[r][i] = fma(inner[r][i], s, sums[r][i]);
      }
    }
    if (--blocks_left == 0) {
      base += kInt4Inputs / inner_group;
      blocks_left = blocks_of_group;
    }
  }
  write<kX>(a, sums, block, m);
}

template <int kX, bool kZero>
TERSOR_INLINE void int8_tile(const DenseCodesBlocks& a, int64_t block, int64_t m) {
  const auto* bytes = static_cast<const int8_t*>(a.weights) + block * a.depth * kRows;
  const float* scale = a.scale + kRows * block * a.scale_stride;
  const float* zero = kZero ? a.zero_point + kRows * block * a.scale_stride : nullptr;
  F32 sums[kRows][kX] = {};
  for (int64_t g = 0; g * a.group < a.depth; ++g) {
    const int64_t begin = g * a.group;
    const int64_t end = begin + a.group < a.depth ? begin + a.group : a.depth;
    F32 inner[kRows][kX] = {};
    for (int64_t k = begin; k < end; k += kInt8Inputs, bytes += kRows * 16) {
      F32 values[kX][kParts];
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) {
          values[i][part] = load<F32>(a.x + (m + i) * a.x_stride + k + part * kLanes);
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        I32 w[kParts];
        widen_bytes(bytes + 16 * r, w);
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) {
          F32 weight = to_float(w[part]);
          if constexpr (kZero) weight = weight - splat(zero[r * a.scale_stride + g]);
#pragma GCC unroll 4
          for (int i = 0; i < kX; ++i) inner[r][i] = fma(weight, values[i][part], inner[r][i]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const F32 s = splat(scale[r * a.scale_stride + g]);
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) sums[r][i] = fma(inner[r][i], s, sums[r][i]);
    }
  }
  write<kX>(a, sums, block, m);
}

template <bool kInt4, int kX, bool kZero>
void tile(const DenseCodesBlocks& a, int64_t block, int64_t m) {
  if constexpr (kInt4) {
    int4_tile<kX, kZero>(a, block, m);
  } else {
    int8_tile<kX, kZero>(a, block, m);
  }
}

// A block's weights stay in L1 while all rows of x pass.
template <bool kInt4, bool kZero>
void all_tiles(const DenseCodesBlocks& a) {
  for (int64_t block = a.first; block < a.end; ++block) {
    int64_t m = 0;
    if constexpr (kMostX == 4) {
      for (; m + 4 <= a.rows; m += 4) tile<kInt4, 4, kZero>(a, block, m);
    }
    for (; m + 2 <= a.rows; m += 2) tile<kInt4, 2, kZero>(a, block, m);
    for (; m < a.rows; ++m) tile<kInt4, 1, kZero>(a, block, m);
  }
}

}  // namespace

void TERSOR_SIMD_NAME(arrange_int4)(const float* x, int64_t n, float* arranged) noexcept {
  for (int64_t b = 0; b < n; b += kInt4Inputs, arranged += kArrangedFloats) {
    float padded[kInt4Inputs];
    const float* from = x + b;
    if (n - b < kInt4Inputs) {
      for (int64_t k = 0; k < kInt4Inputs; ++k) padded[k] = b + k < n ? x[b + k] : 0.0f;
      from = padded;
    }
    float sum[16] = {};
    for (int j = 0; j < 8; ++j) {
      // 2^(14 - 4 j), exact
      const float factor = static_cast<float>(1 << 28 >> (4 * j)) * 0x1p-14f;
      if (j == 7) {
        for (int i = 0; i < 16; ++i) arranged[128 + i] = -8 * sum[i];
      }
      for (int i = 0; i < 16; ++i) {
        arranged[16 * j + i] = from[8 * i + j] * factor;
        sum[i] += from[8 * i + j] * 0x1p14f;
      }
    }
    for (int i = 0; i < 16; ++i) arranged[144 + i] = sum[i];
  }
}

void TERSOR_SIMD_NAME(dense_int4)(const DenseCodesBlocks& a) noexcept {
  a.zero_point ? all_tiles<true, true>(a) : all_tiles<true, false>(a);
}

void TERSOR_SIMD_NAME(dense_int8)(const DenseCodesBlocks& a) noexcept {
  a.zero_point ? all_tiles<false, true>(a) : all_tiles<false, false>(a);
}

}  // namespace tersor::quantization
