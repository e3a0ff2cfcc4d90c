// The transforms of F(4 x 4, 3 x 3), each applied to rows and then to columns, vectors over
// channels.
#include "tersor/base/vector_float32.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr float kR = 1.41421356237309504880f;  // sqrt(2)

// y = B^T x of winograd_float32_ref.cpp, in place: even and odd parts of each pair of points are
// shared.
inline void transform_input(Vec& x0, Vec& x1, Vec& x2, Vec& x3, Vec& x4, Vec& x5) {
  const Vec half = broadcast(-0.5f), two = broadcast(-2.0f), c = broadcast(-2.5f);
  const Vec even1 = fma(half, x2, x4), even2 = fma(two, x2, x4);
  const Vec odd1 = fma(half, x1, x3), odd2 = fma(two, x1, x3);
  x0 = fma(c, x2, x0 + x4);
  x5 = fma(c, x3, x1 + x5);
  x1 = fma(broadcast(kR), odd1, even1);
  x2 = fma(broadcast(-kR), odd1, even1);
  x3 = fma(broadcast(kR / 2), odd2, even2);
  x4 = fma(broadcast(-kR / 2), odd2, even2);
}

// (y0, y1, y2, y3) = A^T m, in place of m0..m3.
inline void transform_output(Vec& m0, Vec& m1, Vec& m2, Vec& m3, Vec m4, Vec m5) {
  const Vec sum1 = m1 + m2, difference1 = m1 - m2;
  const Vec sum2 = m3 + m4, difference2 = m3 - m4;
  m0 = m0 + sum1 + sum2;
  m1 = fma(broadcast(kR / 2), difference2, broadcast(kR) * difference1);
  m2 = fma(broadcast(0.5f), sum2, sum1 + sum1);
  m3 = fma(broadcast(kR / 4), difference2, fma(broadcast(2 * kR), difference1, m5));
}

template <bool Whole>
inline void input_channels(const WinogradInputFloat32& t, int64_t c, int n) noexcept {
  Vec x[6][6];
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const bool inside =
          Whole || (t.first_row <= i && i < t.end_row && t.first_column <= j && j < t.end_column);
      x[i][j] =
          inside ? load_some(t.input + i * t.row_stride + j * t.channels + c, n) : broadcast(0);
    }
    transform_input(x[0][j], x[1][j], x[2][j], x[3][j], x[4][j], x[5][j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    transform_input(x[i][0], x[i][1], x[i][2], x[i][3], x[i][4], x[i][5]);
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) store_some(t.planes + (6 * i + j) * t.plane_stride + c, x[i][j], n);
  }
}

template <bool Whole>
void input_tile(const WinogradInputFloat32& t) noexcept {
  int64_t c = 0;
  for (; c + kLanes <= t.channels; c += kLanes) input_channels<Whole>(t, c, kLanes);
  if (c < t.channels) input_channels<Whole>(t, c, static_cast<int>(t.channels - c));
}

inline void output_channels(const WinogradOutputFloat32& t, int64_t c, int n) noexcept {
  Vec m[6][6];
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) m[i][j] = load_some(t.planes + (6 * i + j) * t.plane_stride + c, n);
    transform_output(m[0][j], m[1][j], m[2][j], m[3][j], m[4][j], m[5][j]);
  }
  const Vec bias = t.bias ? load_some(t.bias + c, n) : broadcast(0);
  for (int i = 0; i < t.rows; ++i) {
    transform_output(m[i][0], m[i][1], m[i][2], m[i][3], m[i][4], m[i][5]);
    for (int j = 0; j < t.columns; ++j) {
      const ptrdiff_t at = i * t.row_stride + j * t.channels + c;
      Vec y = clamp(m[i][j] + bias, broadcast(t.low), broadcast(t.high));
      if (t.residual) {
        y = clamp(y + load_some(t.residual + at, n), broadcast(t.post_low), broadcast(t.post_high));
      }
      store_some(t.output + at, y, n);
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(winograd_input_float32)(const WinogradInputFloat32& tile) noexcept {
  const bool whole =
      tile.first_row == 0 && tile.end_row == 6 && tile.first_column == 0 && tile.end_column == 6;
  if (whole) {
    input_tile<true>(tile);
  } else {
    input_tile<false>(tile);
  }
}

void TERSOR_SIMD_NAME(winograd_output_float32)(const WinogradOutputFloat32& tile) noexcept {
  int64_t c = 0;
  for (; c + kLanes <= tile.channels; c += kLanes) output_channels(tile, c, kLanes);
  if (c < tile.channels) output_channels(tile, c, static_cast<int>(tile.channels - c));
}

}  // namespace tersor::runtime
