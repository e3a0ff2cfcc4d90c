// Kernels of int8 convolution: raw pointers to packed operands, one band of output per call.
//
// Everything is exact: products of int16 (code - zero point) and int16 weights, summed in int32.
// `y` takes codes (int8_epilogue.h), or `accumulators`, when not null, the int32 sums including the
// bias.
#pragma once

#include <cstdint>

#include "tersor/quantization/int8_epilogue.h"

namespace tersor::quantization {

// Where a kernel writes: pixel i, channel c at [i * stride + c]. residual may be null.
struct Int8Output {
  std::int8_t* y;
  const std::int8_t* residual;
  std::int32_t* accumulators;
  std::int64_t stride;
};

// image[r][c][k] = x[first_row + r][c - left][k] - zero_point, 0 outside of x: rows x columns x
// image_channels int16 from height x width x channels int8, row_stride and pixel_stride apart.
// Channels from `channels` to `image_channels` are 0. With planes, image_channels = 16 and channel
// k lies in plane k / 16, plane_step elements from the one before.
struct PadInt8 {
  const std::int8_t* x;
  std::int64_t height, width, channels, row_stride, pixel_stride;
  std::int64_t first_row, rows, left, columns, image_channels;
  std::int64_t plane_step;  // 0: one plane
  std::int32_t zero_point;
  void* image;
};
using pad_int8_sig = void(const PadInt8& a) noexcept;
// The same in uint8: x + 128, and zero_point + 128 outside of x. One plane; image_channels =
// channels.
using pad_u8_sig = void(const PadInt8& a) noexcept;

// acc[i][o] = bias[o] + sum over segments s and k < 2 groups of
//             image[pixels[i] + segments[s] + k] * weights[o / 16][s][k / 2][o % 16][k % 2]
// A segment is a run of taps that lie together in the image; an odd one has a zero weight at its
// end.
struct ConvInt8Direct {
  const void* image;  // int16
  const std::int32_t* pixels;
  std::int64_t count;
  const std::int32_t* segments;
  std::int64_t segment_count, groups;
  const void* weights;  // int16
  std::int64_t out_channels;
  Int8Epilogue epilogue;
  Int8Output out;
};
using conv_int8_direct_sig = void(const ConvInt8Direct& a) noexcept;
// The same with groups of four: image is uint8 and weights[..][k / 4][o % 16][k % 4] int8. Sums are
// modulo 2^32: bias holds -(128 + zero point) * sum of the weights, which may leave int32 on the
// way.
using conv_u8s8_sig = void(const ConvInt8Direct& a) noexcept;

// 3 x 3, stride 1 by the minimal filtering algorithm F(4 x 4, 3 x 3) in integers (winograd_int8.h).
// Tile i reads 6 x 6 pixels from image[tiles[i].image] and writes the rows x columns first pixels
// of 4 x 4 outputs from output element tiles[i].output; out.stride between pixels, out_row between
// rows.
struct WinogradTile {
  std::int32_t image, output;
  std::int16_t rows, columns;
};
struct WinogradInt8 {
  const std::int16_t* image;
  std::int64_t image_row, channels;  // elements from row to row; channels a multiple of 16
  const WinogradTile* tiles;
  std::int64_t count;
  const std::int16_t* weights;  // [out_channels / 16 rounded up][36][channels / 2][16][2]
  std::int64_t out_channels, out_row;
  Int8Epilogue epilogue;
  Int8Output out;
  void* scratch;  // winograd_scratch_bytes(channels)
};
using winograd_int8_sig = void(const WinogradInt8& a) noexcept;

// Tiles whose transforms are held at a time: two register tiles of AVX2, one of AVX-512.
inline constexpr std::int64_t kWinogradTiles = 12;
constexpr std::int64_t winograd_scratch_bytes(std::int64_t channels) {
  return 36 * kWinogradTiles * (2 * channels + 4 * 16);
}

// acc[p][c] = bias[c] + sum over t < 2 pairs of
//             image[c / 16 * plane_step + pixel p + taps[t] + c % 16] * weights[c / 16][t / 2][c %
//             16][t % 2]
// for rows x columns pixels, row_step and column_step elements apart. A plane of 16 channels is a
// dense image, so that rows stay in L1 however many channels there are. At most 64 pairs.
struct DepthwiseInt8 {
  const std::int16_t* image;
  std::int64_t plane_step;
  std::int64_t rows, columns, row_step, column_step;
  const std::int32_t* taps;
  std::int64_t pairs;
  const std::int16_t* weights;
  std::int64_t channels;
  Int8Epilogue epilogue;
  Int8Output out;
};
using depthwise_int8_sig = void(const DepthwiseInt8& a) noexcept;
inline constexpr std::int64_t kDepthwisePairs = 64;

// Codes (int8_epilogue.h) of sums that are there already, bias included.
struct FinishInt8 {
  const std::int32_t* sums;  // [pixels][sums_stride]; whole panels of 16 channels can be read
  std::int64_t pixels, channels, sums_stride;
  Int8Epilogue epilogue;
  Int8Output out;
};
using finish_int8_sig = void(const FinishInt8& a) noexcept;

}  // namespace tersor::quantization
