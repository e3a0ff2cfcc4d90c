// Convolution, depthwise convolution and dense layers on int8 codes, channels last.
//
//   acc[n, y, x, o] = bias[o] + sum over taps and channels of (code - zero_point) * w[o, i, ky, kx]
//
// in int32, exact on every instruction set; codes outside of the image are zero_point. A dense
// layer is a 1 x 1 convolution of height 1 and width rows. What follows the sum: requantize.h, one
// Requantizer per output channel, in `fast` or `exact` arithmetic; with a residual, adder(code of
// the sum, residual).
//
// A ConvInt8 is immutable; run() may be called concurrently with different scratch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/requantize.h"

namespace tersor::quantization {

struct ConvInt8Shape {
  int64_t batch = 1, height = 1, width = 1, channels = 1, out_channels = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t groups = 1;

  int64_t out_height() const {
    return (height + pad_top + pad_bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  int64_t out_width() const {
    return (width + pad_left + pad_right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
  int64_t group_channels() const { return channels / groups; }
  int64_t group_outputs() const { return out_channels / groups; }
};

// Whether a dense layer of that shape runs by Winograd's form, unless its sums are too large.
TERSOR_API bool winograd_pays(const ConvInt8Shape& shape);

// Whether no sum of 255 * |w| and |bias| leaves int32; ConvInt8 refuses others.
TERSOR_API bool sums_fit(const ConvInt8Shape& shape, const int8_t* weights, const int32_t* bias);

enum class ConvInt8Algorithm : uint8_t {
  automatic,
  direct,     // int16 pairs
  bytes,      // uint8 x int8 quads: the choice for direct sums where the CPU has VNNI
  winograd,   // 3 x 3, stride 1, dilation 1, groups 1, channels a multiple of 16, sums below 2^25
  depthwise,  // groups == channels == out_channels, at most 128 taps
};

TERSOR_API const char* name_of(ConvInt8Algorithm algorithm);

struct ConvInt8Epilogue {
  std::vector<Requantizer>
      requantizers;  // one per output channel: one zero point and range for all
  std::optional<CodeAdder> adder;
  bool exact = false;
};

class TERSOR_API ConvInt8 {
 public:
  // Packs. weights [O, I / groups, KH, KW]; bias [O] or nullptr. ValueError when the shape is
  // inconsistent, a sum can leave int32, or the algorithm is impossible here.
  ConvInt8(const ConvInt8Shape& shape, const int8_t* weights, const int32_t* bias,
           int32_t zero_point, ConvInt8Epilogue epilogue,
           ConvInt8Algorithm algorithm = ConvInt8Algorithm::automatic);
  ~ConvInt8();

  // x [batch, height, width, channels]; y and residual [batch, out height, out width, out
  // channels]. residual exactly when there is an adder. scratch: scratch_bytes(threads), 64-byte
  // aligned.
  void run(const int8_t* x, const int8_t* residual, int8_t* y, void* scratch, int threads) const;
  // The int32 sums alone.
  void accumulate(const int8_t* x, int32_t* sums, void* scratch, int threads) const;

  size_t scratch_bytes(int threads) const;
  size_t packed_bytes() const;
  ConvInt8Algorithm algorithm() const;
  const char* kernel() const;  // such as "winograd_int8 simd_avx2"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::quantization
