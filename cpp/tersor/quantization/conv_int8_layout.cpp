// Packing of weights and epilogue, and the cut of an image into bands that fit a cache.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "tersor/quantization/conv_int8_state.h"

namespace tersor::quantization {
namespace {

// Bytes of the padded int16 image that one piece of work holds. 96 KiB leave most of a 512 KiB L2
// to the weights; a 1 x 1 layer re-reads its pixels for every panel of 16 outputs, so they stay in
// L1 (24 KiB) unless that makes fewer than 48 pixels, which would stream the weights too often. A
// depthwise layer has few weights, and pads the rows above and below each piece again: with 96 KiB,
// MobileNetV2's were a fifth slower.
constexpr int64_t kImageBytes = 96 << 10;
constexpr int64_t kDepthwiseBytes = 224 << 10;
constexpr int64_t kPointwiseBytes = 24 << 10;
constexpr int64_t kPointwisePixels = 48;

bool is_pointwise(const ConvInt8Shape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         s.pad_top + s.pad_left + s.pad_bottom + s.pad_right == 0;
}

}  // namespace

Int8Epilogue make_epilogue(const ConvInt8Epilogue& from, const int32_t* bias,
                           const float* multiplier, const float* rounding_offset) {
  Int8Epilogue e;
  const Requantizer& first = from.requantizers.front();
  e.bias = bias;
  e.multiplier = multiplier;
  e.rounding_offset = rounding_offset;
  e.zero_point = first.zero_point;
  e.low = first.range.low;
  e.high = first.range.high;
  if (from.adder) {
    e.scale_a = from.adder->multiplier_a;
    e.scale_b = from.adder->sign > 0 ? from.adder->multiplier_b : -from.adder->multiplier_b;
    e.residual_zero_point = from.adder->zero_point_b;
    e.add_zero_point = from.adder->output.zero_point;
    e.add_low = from.adder->output.range.low;
    e.add_high = from.adder->output.range.high;
  }
  return e;
}

// 1 x 1: one column of all pixels, or with a stride the image that it reads.
void ConvInt8::State::skip_pixels() {
  ConvInt8Shape& s = shape;
  if (is_pointwise(s) && dense_sums()) {
    s.height = s.batch * s.height * s.width;
    s.width = 1;
    s.batch = s.height > 0 ? 1 : 0;
    s.height = std::max<int64_t>(s.height, 1);
    row_stride = pixel_stride;
    column = true;
  } else if (s.kernel_h == 1 && s.kernel_w == 1 &&
             s.pad_top + s.pad_left + s.pad_bottom + s.pad_right == 0) {
    row_stride *= s.stride_h;
    pixel_stride *= s.stride_w;
    const int64_t height = s.out_height(), width = s.out_width();
    s.height = height;
    s.width = width;
    s.stride_h = s.stride_w = 1;
  }
}

void ConvInt8::State::pack_epilogue(const int32_t* bias_values) {
  const int64_t outputs =
      algorithm == ConvInt8Algorithm::depthwise ? shape.channels : shape.group_outputs();
  const int64_t padded = round_up(outputs, 16);
  const auto count = static_cast<size_t>(shape.out_channels / outputs * padded);
  bias = Buffer(count * sizeof(int32_t));
  multiplier = Buffer(count * sizeof(float));
  rounding_offset = Buffer(count * sizeof(float));
  std::memset(bias.data(), 0, bias.size());
  std::memset(multiplier.data(), 0, multiplier.size());
  std::memset(rounding_offset.data(), 0, rounding_offset.size());
  for (int64_t o = 0; o < shape.out_channels; ++o) {
    const int64_t at = o / outputs * padded + o % outputs;
    if (bias_values) bias.as<int32_t>()[at] = bias_values[o];
    const Requantizer& requantizer = epilogue.requantizers[static_cast<size_t>(o)];
    multiplier.as<float>()[at] = requantizer.multiplier;
    rounding_offset.as<float>()[at] = requantizer.rounding_offset;
  }
  packed = make_epilogue(epilogue, bias.as<int32_t>(), multiplier.as<float>(),
                         rounding_offset.as<float>());
}

void ConvInt8::State::pack_direct(const int8_t* w) {
  const int64_t channels = shape.group_channels(), outputs = shape.group_outputs();
  // Taps of a kernel row lie together in the image unless they are dilated.
  const int64_t runs = shape.dilation_w == 1 ? 1 : shape.kernel_w;
  const int64_t run_taps = shape.kernel_w / runs, width = bytes() ? 4 : 2;  // elements of a group
  groups = divide_up(run_taps * channels, width);
  const int64_t segment_groups = shape.kernel_h * runs * groups;
  group_weights = panels() * segment_groups * 64;
  weights = Buffer(static_cast<size_t>(shape.groups * group_weights));
  std::memset(weights.data(), 0, weights.size());
  for (int64_t o = 0; o < shape.out_channels; ++o) {
    const int64_t local = o % outputs;
    const int64_t panel =
        (o / outputs * panels() + local / 16) * segment_groups * 16 * width + local % 16 * width;
    for (int64_t ky = 0; ky < shape.kernel_h; ++ky) {
      for (int64_t kx = 0; kx < shape.kernel_w; ++kx) {
        for (int64_t i = 0; i < channels; ++i) {
          const int64_t segment = ky * runs + kx / run_taps, k = kx % run_taps * channels + i;
          const int64_t at = panel + (segment * groups + k / width) * 16 * width + k % width;
          const int8_t code = w[((o * channels + i) * shape.kernel_h + ky) * shape.kernel_w + kx];
          if (bytes()) {
            weights.as<int8_t>()[at] = code;
          } else {
            weights.as<int16_t>()[at] = code;
          }
        }
      }
    }
  }
  if (bytes()) fold_zero_point(w);
}

// sum((x - z) w) = sum((x + 128) w) - (128 + z) sum(w).
void ConvInt8::State::fold_zero_point(const int8_t* w) {
  const int64_t taps = shape.group_channels() * shape.kernel_h * shape.kernel_w;
  const int64_t outputs = shape.group_outputs(), padded = round_up(outputs, 16);
  for (int64_t o = 0; o < shape.out_channels; ++o) {
    const int64_t sum = std::accumulate(w + o * taps, w + (o + 1) * taps, int64_t{0});
    int32_t& b = bias.as<int32_t>()[o / outputs * padded + o % outputs];
    b = static_cast<int32_t>(static_cast<uint32_t>(b - (128 + zero_point) * sum));
  }
}

void ConvInt8::State::pack_winograd(const int8_t* w) {
  const int64_t channels = shape.channels;
  group_weights = panels() * 36 * channels * 32;
  weights = Buffer(static_cast<size_t>(group_weights));
  std::memset(weights.data(), 0, weights.size());
  for (int64_t o = 0; o < shape.out_channels; ++o) {
    for (int64_t i = 0; i < channels; ++i) {
      int16_t u[36];
      transform_filter(w + (o * channels + i) * 9, u);
      int16_t* panel =
          weights.as<int16_t>() + o / 16 * 36 * channels * 16 + i / 2 * 32 + o % 16 * 2 + i % 2;
      for (int64_t p = 0; p < 36; ++p) panel[p * channels * 16] = u[p];
    }
  }
}

// The taps of a window, row-major index by position. 3 x 3: pairs of rows 0 and 1, then row 2, so
// that neighbouring pixels share pairs (depthwise_int8_simd.cpp).
std::vector<int64_t> ConvInt8::State::tap_order() const {
  if (shape.kernel_h == 3 && shape.kernel_w == 3) return {0, 3, 1, 4, 2, 5, 6, 7, 8};
  std::vector<int64_t> order(static_cast<size_t>(shape.kernel_h * shape.kernel_w));
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

void ConvInt8::State::pack_depthwise(const int8_t* w) {
  const std::vector<int64_t> order = tap_order();
  const auto taps = static_cast<int64_t>(order.size());
  const int64_t blocks = divide_up(shape.channels, 16);
  groups = divide_up(taps, 2);
  weights = Buffer(static_cast<size_t>(blocks * groups * 32) * sizeof(int16_t));
  std::memset(weights.data(), 0, weights.size());
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t t = 0; t < taps; ++t) {
      weights.as<int16_t>()[(c / 16 * groups + t / 2) * 32 + c % 16 * 2 + t % 2] =
          w[c * taps + order[static_cast<size_t>(t)]];
    }
  }
}

void ConvInt8::State::plan_bands() {
  const ConvInt8Shape& s = shape;
  const bool whole_channels = algorithm == ConvInt8Algorithm::depthwise;
  image_channels = whole_channels ? 16 : s.group_channels();
  planes = whole_channels ? divide_up(s.channels, 16) : 1;
  const int64_t image_limit = whole_channels ? kDepthwiseBytes : kImageBytes;
  const int64_t out_h = s.out_height(), out_w = s.out_width();
  const bool tiled = algorithm == ConvInt8Algorithm::winograd;
  image_columns = tiled ? round_up(out_w, 4) + 2
                        : (out_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
  const int64_t row_bytes = planes * image_columns * image_channels * 2;
  const int64_t tap_rows = (s.kernel_h - 1) * s.dilation_h + 1;
  if (column) {
    const int64_t fits = kPointwiseBytes / (row_bytes + s.out_channels);
    band_rows = round_up(std::clamp(fits, kPointwisePixels, int64_t{384}), 12);
    // A remainder of a few pixels (49 = 48 + 1) would stream the weights once more.
    if (out_h < band_rows + band_rows / 2) band_rows = std::max(band_rows, out_h);
  } else {
    const int64_t fits =
        std::max<int64_t>((image_limit / row_bytes - tap_rows) / s.stride_h + 1, 1);
    band_rows = tiled ? std::max<int64_t>(fits / 4 * 4, 4) : fits;
  }
  if (band_rows >= out_h) {
    band_rows = out_h;
    image_rows = tiled ? round_up(out_h, 4) + 2 : (out_h - 1) * s.stride_h + tap_rows;
    band_images = std::clamp<int64_t>(image_limit / (image_rows * row_bytes), 1,
                                      std::max<int64_t>(s.batch, 1));
  } else {
    image_rows = tiled ? band_rows + 2 : (band_rows - 1) * s.stride_h + tap_rows;
  }
}

void ConvInt8::State::plan_pixels() {
  const ConvInt8Shape& s = shape;
  const int64_t pitch = image_columns * image_channels;
  for (int64_t b = 0; b < band_images; ++b) {
    for (int64_t r = 0; r < band_rows; ++r) {
      for (int64_t c = 0; c < s.out_width(); ++c) {
        pixels.push_back(static_cast<int32_t>(b * image_elements() + r * s.stride_h * pitch +
                                              c * s.stride_w * image_channels));
      }
    }
  }
  const auto tap = [&](int64_t ky, int64_t kx) {
    return static_cast<int32_t>(ky * s.dilation_h * pitch + kx * s.dilation_w * image_channels);
  };
  if (algorithm == ConvInt8Algorithm::depthwise) {
    for (const int64_t t : tap_order()) segments.push_back(tap(t / s.kernel_w, t % s.kernel_w));
    // The partner of an odd last tap has weight 0.
    if (segments.size() % 2) segments.push_back(segments.back());
    return;
  }
  for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < (s.dilation_w > 1 ? s.kernel_w : 1); ++kx)
      segments.push_back(tap(ky, kx));
  }
}

void ConvInt8::State::plan_tiles() {
  const ConvInt8Shape& s = shape;
  const int64_t out_w = s.out_width();
  tile_columns = divide_up(out_w, 4);
  for (int64_t b = 0; b < band_images; ++b) {
    for (int64_t r = 0; r < band_rows; r += 4) {
      for (int64_t c = 0; c < out_w; c += 4) {
        tiles.push_back(
            {static_cast<int32_t>(b * image_elements() + (r * image_columns + c) * image_channels),
             static_cast<int32_t>(((b * band_rows + r) * out_w + c) * s.out_channels),
             static_cast<int16_t>(std::min<int64_t>(band_rows - r, 4)),
             static_cast<int16_t>(std::min<int64_t>(out_w - c, 4))});
      }
    }
  }
}

}  // namespace tersor::quantization
