// Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin & Gray 2016, arXiv:1509.09308): 36 instead of
// 144 multiplications for 16 outputs of a 3 x 3 convolution with stride 1.
//
//   Y = A^T [ sum over input channels of (G g G^T) . (B^T d B) ] A
//
// for a 6 x 6 input tile d, a 3 x 3 kernel g and 4 x 4 outputs Y.
//
// Interpolation points 0, +-sqrt(2), +-1/sqrt(2), infinity: their transforms amplify rounding
// errors half as much as the usual 0, +-1, +-2 (measured: worst |error| / max|y| of a 64-channel
// layer 1.5e-6 against 3.4e-6; direct summation 0.3e-6). A NaN or infinity of the input spoils the
// outputs of the tiles that read it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::runtime {

inline constexpr int kWinogradTile = 6;    // side of an input tile
inline constexpr int kWinogradOutput = 4;  // side of its outputs
inline constexpr int kWinogradPlanes = kWinogradTile * kWinogradTile;

// planes[(6 * i + j) * plane_stride + c] = (B^T d B)[i][j] for c < channels, where
// d[i][j] = input[i * row_stride + j * channels + c] for first_row <= i < end_row and
// first_column <= j < end_column, 0 elsewhere (not read).
struct WinogradInputFloat32 {
  const float* input;
  ptrdiff_t row_stride;
  int first_row, end_row, first_column, end_column;
  int64_t channels;
  float* planes;
  ptrdiff_t plane_stride;
};
using winograd_input_float32_sig = void(const WinogradInputFloat32& tile) noexcept;

// output[i * row_stride + j * channels + c] = epilogue((A^T m A)[i][j]) for i < rows, j < columns
// (at most 4), m[i][j] = planes[(6 * i + j) * plane_stride + c]; the epilogue is that of
// ConvLineFloat32: bias, clamp, residual (laid out as the output), clamp.
struct WinogradOutputFloat32 {
  const float* planes;
  ptrdiff_t plane_stride;
  const float* bias;
  const float* residual;
  float* output;
  ptrdiff_t row_stride;
  int rows, columns;
  int64_t channels;
  float low, high;
  float post_low, post_high;
};
using winograd_output_float32_sig = void(const WinogradOutputFloat32& tile) noexcept;

// u[36] = G g G^T of one 3 x 3 kernel, computed in double.
void winograd_weights(const float* kernel, float* u);

}  // namespace tersor::runtime
