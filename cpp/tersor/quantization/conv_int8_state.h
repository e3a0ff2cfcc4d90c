// What a ConvInt8 holds: packed weights, and how its image is cut into pieces; private to
// cpp/tersor/quantization. conv_int8_layout.cpp fills it, conv_int8.cpp runs it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/memory.h"
#include "tersor/quantization/conv_int8.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/winograd_int8.h"

namespace tersor::quantization {

inline constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
inline constexpr int64_t divide_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

// The epilogue as the kernels read it. The arrays are by channel, in whole panels of 16.
Int8Epilogue make_epilogue(const ConvInt8Epilogue& from, const int32_t* bias,
                           const float* multiplier, const float* rounding_offset);

struct ConvInt8::State {
  // A pointwise layer is seen as one column of pixels; one with a stride has only the pixels that
  // it reads.
  ConvInt8Shape shape;
  bool column = false;
  int64_t row_stride, pixel_stride, image_stride;  // of the caller's x, in elements
  ConvInt8Algorithm algorithm;
  ConvInt8Epilogue epilogue;
  Int8Epilogue packed;
  int32_t zero_point;
  Buffer weights, bias, multiplier, rounding_offset;
  int64_t group_weights = 0;  // elements
  // A band: output rows of one image, or several whole images. Tables below are those of a full
  // band; a smaller one uses their beginning.
  int64_t band_rows = 1, band_images = 1;
  // The padded image of one band image: of all channels of a group, or planes of 16 (depthwise).
  int64_t image_rows = 0, image_columns = 0, image_channels = 0, planes = 1;
  std::vector<int32_t> pixels, segments;  // segments: taps of a depthwise window
  int64_t groups = 0;                     // of four bytes, per segment; depthwise: pairs of taps
  std::vector<WinogradTile> tiles;
  int64_t tile_columns = 0;
  pad_int8_sig* pad = nullptr;
  conv_int8_direct_sig* direct = nullptr;
  winograd_int8_sig* winograd = nullptr;
  depthwise_int8_sig* depthwise = nullptr;
  std::string kernel;

  void skip_pixels();
  void pack_epilogue(const int32_t* bias_values);
  bool bytes() const { return algorithm == ConvInt8Algorithm::bytes; }
  bool dense_sums() const { return bytes() || algorithm == ConvInt8Algorithm::direct; }
  void pack_direct(const int8_t* w);
  void fold_zero_point(const int8_t* w);
  void pack_winograd(const int8_t* w);
  void pack_depthwise(const int8_t* w);
  std::vector<int64_t> tap_order() const;
  void plan_bands();
  void plan_pixels();
  void plan_tiles();

  struct Piece {
    int64_t image, images, row, rows, panel, panels;
  };
  struct Targets {
    const int8_t* x;
    const int8_t* residual;
    int8_t* y;
    int32_t* sums;
  };
  void run_all(const Targets& t, void* scratch, int threads) const;
  void run_piece(const Piece& piece, const Targets& t, char* scratch) const;
  void run_group(const Piece& piece, int64_t group, Int8Output out, const Int8Epilogue& e,
                 void* image, char* scratch) const;
  void pad_band(const Piece& piece, int64_t group, const int8_t* x, char* image) const;
  void finish_exact(const Piece& piece, const Targets& t, const int32_t* sums) const;
  int64_t panels() const { return divide_up(shape.group_outputs(), 16); }
  int64_t plane_elements() const { return image_rows * image_columns * image_channels; }
  int64_t image_elements() const { return planes * plane_elements(); }
  int64_t image_bytes() const { return round_up((band_images * image_elements() + 32) * 2, 64); }
  int64_t winograd_bytes() const {
    return algorithm == ConvInt8Algorithm::winograd
               ? round_up(winograd_scratch_bytes(shape.channels), 64)
               : 0;
  }
  int64_t exact_bytes() const {
    if (!epilogue.exact) return 0;
    return round_up(band_images * band_rows * shape.out_width() * shape.out_channels * 4, 64);
  }
  int64_t worker_bytes() const { return image_bytes() + winograd_bytes() + exact_bytes(); }
};

}  // namespace tersor::quantization
