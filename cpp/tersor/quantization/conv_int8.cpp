#include "tersor/quantization/conv_int8.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/winograd_int8.h"

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

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
constexpr int64_t divide_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

void check_shape(const ConvInt8Shape& s) {
  const auto positive = [](const char* name, int64_t value) {
    TERSOR_CHECK(value > 0 && value < (int64_t{1} << 31), "conv_int8: ", name,
                 " must be in [1, 2^31), got ", value);
  };
  positive("height", s.height);
  positive("width", s.width);
  positive("channels", s.channels);
  positive("out_channels", s.out_channels);
  positive("kernel height", s.kernel_h);
  positive("kernel width", s.kernel_w);
  positive("stride", std::min(s.stride_h, s.stride_w));
  positive("dilation", std::min(s.dilation_h, s.dilation_w));
  positive("groups", s.groups);
  TERSOR_CHECK(s.batch >= 0, "conv_int8: batch must be >= 0, got ", s.batch);
  const int64_t pad = std::min({s.pad_top, s.pad_left, s.pad_bottom, s.pad_right});
  TERSOR_CHECK(pad >= 0, "conv_int8: padding must be >= 0, got ", pad);
  TERSOR_CHECK(s.channels % s.groups == 0 && s.out_channels % s.groups == 0,
               "conv_int8: groups must divide channels and out_channels, got ", s.groups, " for ",
               s.channels, " and ", s.out_channels);
  TERSOR_CHECK(s.height + s.pad_top + s.pad_bottom >= s.dilation_h * (s.kernel_h - 1) + 1 &&
                   s.width + s.pad_left + s.pad_right >= s.dilation_w * (s.kernel_w - 1) + 1,
               "conv_int8: kernel must fit the padded image, got ", s.kernel_h, " x ", s.kernel_w);
}

// Largest |acc| that codes can make; throws if it leaves int32.
int64_t check_sums(const ConvInt8Shape& s, const int8_t* weights, const int32_t* bias) {
  const int64_t taps = s.group_channels() * s.kernel_h * s.kernel_w;
  int64_t largest = 0;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    int64_t sum = 0;
    for (int64_t k = 0; k < taps; ++k) sum += std::abs(static_cast<int>(weights[o * taps + k]));
    const int64_t bound = 255 * sum + (bias ? std::abs(static_cast<int64_t>(bias[o])) : 0);
    TERSOR_CHECK(bound < (int64_t{1} << 31),
                 "conv_int8: 255 * sum |w| + |bias| must be below 2^31, got ", bound,
                 " for output channel ", o);
    largest = std::max(largest, bound);
  }
  return largest;
}

bool is_pointwise(const ConvInt8Shape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         s.pad_top + s.pad_left + s.pad_bottom + s.pad_right == 0;
}

bool winograd_fits(const ConvInt8Shape& s, int64_t largest_sum) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1 && s.channels % 16 == 0 &&
         largest_sum < kWinogradSumLimit;
}

bool depthwise_fits(const ConvInt8Shape& s) {
  return s.groups == s.channels && s.groups == s.out_channels &&
         s.kernel_h * s.kernel_w <= 2 * kDepthwisePairs;
}

ConvInt8Algorithm choose(const ConvInt8Shape& s, int64_t largest_sum) {
  if (depthwise_fits(s)) return ConvInt8Algorithm::depthwise;
  if (winograd_fits(s, largest_sum) && s.out_height() > 2 && s.out_width() > 2) {
    return ConvInt8Algorithm::winograd;
  }
  const bool vnni = conv_u8s8_table.row(conv_u8s8_table.active_row()).needed != Feature::none;
  return vnni ? ConvInt8Algorithm::bytes : ConvInt8Algorithm::direct;
}

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

}  // namespace

const char* name_of(ConvInt8Algorithm algorithm) {
  switch (algorithm) {
    case ConvInt8Algorithm::direct:
      return "direct";
    case ConvInt8Algorithm::bytes:
      return "bytes";
    case ConvInt8Algorithm::winograd:
      return "winograd";
    case ConvInt8Algorithm::depthwise:
      return "depthwise";
    default:
      return "automatic";
  }
}

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

void ConvInt8::State::pad_band(const Piece& piece, int64_t group, const int8_t* x,
                               char* image) const {
  const ConvInt8Shape& s = shape;
  const bool whole_channels = algorithm == ConvInt8Algorithm::depthwise;
  PadInt8 a{};
  a.height = s.height;
  a.width = s.width;
  a.channels = whole_channels ? s.channels : s.group_channels();
  a.row_stride = row_stride;
  a.pixel_stride = pixel_stride;
  a.first_row = piece.row * s.stride_h - s.pad_top;
  a.rows = algorithm == ConvInt8Algorithm::winograd
               ? round_up(piece.rows, 4) + 2
               : (piece.rows - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1;
  a.left = s.pad_left;
  a.columns = image_columns;
  a.image_channels = image_channels;
  a.plane_step = whole_channels ? plane_elements() : 0;
  a.zero_point = zero_point;
  for (int64_t b = 0; b < piece.images; ++b) {
    a.x = x + (piece.image + b) * image_stride + group * a.channels;
    a.image = image + b * image_elements() * (bytes() ? 1 : 2);
    pad(a);
  }
}

void ConvInt8::State::run_group(const Piece& piece, int64_t group, Int8Output out,
                                const Int8Epilogue& e, void* image, char* scratch) const {
  const ConvInt8Shape& s = shape;
  const auto* words = static_cast<const int16_t*>(image);
  const int64_t pixel_count = piece.images * piece.rows * s.out_width();
  const int64_t outputs = std::min(s.group_outputs() - 16 * piece.panel, 16 * piece.panels);
  const char* packed_weights = weights.as<char>() + group * group_weights;
  if (algorithm == ConvInt8Algorithm::depthwise) {
    for (int64_t b = 0; b < piece.images; ++b) {
      const int64_t at = b * piece.rows * s.out_width() * s.out_channels;
      depthwise({words + b * image_elements(),
                 plane_elements(),
                 piece.rows,
                 s.out_width(),
                 s.stride_h * image_columns * image_channels,
                 s.stride_w * image_channels,
                 segments.data(),
                 groups,
                 reinterpret_cast<const int16_t*>(packed_weights),
                 s.channels,
                 e,
                 {out.y ? out.y + at : nullptr, out.residual ? out.residual + at : nullptr,
                  out.accumulators ? out.accumulators + at : nullptr, out.stride}});
    }
  } else if (algorithm == ConvInt8Algorithm::winograd) {
    const int64_t count = piece.images * divide_up(piece.rows, 4) * tile_columns;
    const WinogradTile* some = tiles.data();
    std::vector<WinogradTile> last;
    if (piece.rows < band_rows &&
        piece.rows % 4) {  // the bottom of an image that does not divide into bands
      last.assign(some, some + count);
      for (int64_t i = count - tile_columns; i < count; ++i) {
        last[static_cast<size_t>(i)].rows = static_cast<int16_t>(piece.rows % 4);
      }
      some = last.data();
    }
    winograd({words, image_columns * image_channels, s.channels, some, count,
              reinterpret_cast<const int16_t*>(packed_weights + piece.panel * 36 * s.channels * 32),
              outputs, s.out_width() * s.out_channels, e, out, scratch});
  } else {
    const auto segment_count = static_cast<int64_t>(segments.size());
    direct({image, pixels.data(), pixel_count, segments.data(), segment_count, groups,
            packed_weights + piece.panel * segment_count * groups * 64, outputs, e, out});
  }
}

void ConvInt8::State::finish_exact(const Piece& piece, const Targets& t,
                                   const int32_t* sums) const {
  const ConvInt8Shape& s = shape;
  const int64_t first_pixel = (piece.image * s.out_height() + piece.row) * s.out_width();
  const int64_t pixel_count = piece.images * piece.rows * s.out_width();
  const bool all = piece.panels >= panels();
  const int64_t begin = all ? 0 : 16 * piece.panel;
  const int64_t end = all ? s.out_channels : std::min(begin + 16 * piece.panels, s.out_channels);
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int64_t o = begin; o < end; ++o) {
      const int64_t at = (first_pixel + p) * s.out_channels + o;
      int32_t code =
          epilogue.requantizers[static_cast<size_t>(o)].exact(sums[p * s.out_channels + o]);
      if (epilogue.adder) code = epilogue.adder->exact(code, t.residual[at]);
      t.y[at] = static_cast<int8_t>(code);
    }
  }
}

void ConvInt8::State::run_piece(const Piece& piece, const Targets& t, char* scratch) const {
  const ConvInt8Shape& s = shape;
  char* image = scratch;
  char* inner = scratch + image_bytes();
  auto* exact_sums = reinterpret_cast<int32_t*>(inner + winograd_bytes());
  const bool exact = epilogue.exact && !t.sums;
  const int64_t first = (piece.image * s.out_height() + piece.row) * s.out_width() * s.out_channels;
  const int64_t padded = round_up(s.group_outputs(), 16);
  const bool depthwise_layer = algorithm == ConvInt8Algorithm::depthwise;
  for (int64_t g = 0; g < (depthwise_layer ? 1 : s.groups); ++g) {
    pad_band(piece, g, t.x, image);
    const int64_t channel = g * s.group_outputs() + 16 * piece.panel;
    Int8Output out{};
    out.stride = s.out_channels;
    if (t.sums) {
      out.accumulators = t.sums + first + channel;
    } else if (exact) {
      out.accumulators = exact_sums + channel;
    } else {
      out.y = t.y + first + channel;
      out.residual = t.residual ? t.residual + first + channel : nullptr;
    }
    Int8Epilogue e = packed;
    if (!depthwise_layer) {
      e.bias += g * padded + 16 * piece.panel;
      e.multiplier += g * padded + 16 * piece.panel;
      e.rounding_offset += g * padded + 16 * piece.panel;
    }
    run_group(piece, g, out, e, image, inner);
  }
  if (exact) finish_exact(piece, t, exact_sums);
}

void ConvInt8::State::run_all(const Targets& t, void* scratch, int threads) const {
  const ConvInt8Shape& s = shape;
  const int64_t out_h = s.out_height();
  if (s.batch == 0) return;
  int64_t rows = band_rows, images = band_images, panel_step = std::max<int64_t>(panels(), 1);
  const auto pieces_of = [&] { return divide_up(s.batch, images) * divide_up(out_h, rows); };
  if (threads > 1 && pieces_of() < threads) {
    // Rows when each thread gets two steps of them, else panels of output channels, whose weights
    // are then read by one thread only.
    const int64_t step = algorithm == ConvInt8Algorithm::winograd ? 4 : column ? 12 : 1;
    const bool split_panels = algorithm != ConvInt8Algorithm::depthwise && panels() >= threads;
    images = 1;
    if (s.batch < threads && (divide_up(out_h, step) >= 2 * threads || !split_panels)) {
      rows = std::min(rows, round_up(divide_up(out_h, threads), step));
    }
    if (pieces_of() < threads && split_panels) panel_step = divide_up(panels(), threads);
  }
  const int64_t row_pieces = divide_up(out_h, rows), panel_pieces = divide_up(panels(), panel_step);
  const int64_t count = divide_up(s.batch, images) * row_pieces * panel_pieces;
  const auto piece_at = [&](int64_t i) {
    const int64_t panel = i % panel_pieces * panel_step, row = i / panel_pieces % row_pieces * rows;
    const int64_t image = i / panel_pieces / row_pieces * images;
    return Piece{image, std::min(images, s.batch - image),
                 row,   std::min(rows, out_h - row),
                 panel, panel_step};
  };
  auto* base = static_cast<char*>(scratch);
  if (threads <= 1 || count == 1) {
    for (int64_t i = 0; i < count; ++i) run_piece(piece_at(i), t, base);
    return;
  }
  parallel_tasks(static_cast<size_t>(count), threads, [&](size_t i, int worker) {
    run_piece(piece_at(static_cast<int64_t>(i)), t, base + worker * worker_bytes());
  });
}

ConvInt8::ConvInt8(const ConvInt8Shape& shape, const int8_t* weights, const int32_t* bias,
                   int32_t zero_point, ConvInt8Epilogue epilogue, ConvInt8Algorithm algorithm)
    : state_(std::make_unique<State>()) {
  check_shape(shape);
  TERSOR_CHECK(-128 <= zero_point && zero_point <= 127,
               "conv_int8: zero_point must be in [-128, 127], got ", zero_point);
  TERSOR_CHECK(epilogue.requantizers.size() == static_cast<size_t>(shape.out_channels),
               "conv_int8: requantizers must be one per output channel, got ",
               epilogue.requantizers.size());
  const int64_t largest = check_sums(shape, weights, bias);
  if (algorithm == ConvInt8Algorithm::automatic) algorithm = choose(shape, largest);
  TERSOR_CHECK(algorithm != ConvInt8Algorithm::winograd || winograd_fits(shape, largest),
               "conv_int8: winograd must have a 3 x 3 kernel, stride 1, dilation 1, one group, "
               "channels a multiple "
               "of 16 and sums below 2^25");
  TERSOR_CHECK(algorithm != ConvInt8Algorithm::depthwise || depthwise_fits(shape),
               "conv_int8: depthwise must have one channel per group and at most 128 taps");
  State& s = *state_;
  s.shape = shape;
  s.pixel_stride = shape.channels;
  s.row_stride = shape.width * shape.channels;
  s.image_stride = shape.height * s.row_stride;
  s.algorithm = algorithm;
  s.skip_pixels();
  s.epilogue = std::move(epilogue);
  s.zero_point = zero_point;
  s.pack_epilogue(bias);
  s.plan_bands();
  s.pad = s.bytes() ? pad_u8_table.pick() : pad_int8_table.pick();
  const auto variant = [](const KernelTableBase& table) {
    return std::string(table.op()) + " " + table.row(table.active_row()).variant;
  };
  if (algorithm == ConvInt8Algorithm::winograd) {
    s.pack_winograd(weights);
    s.plan_tiles();
    s.winograd = winograd_int8_table.pick();
    s.kernel = variant(winograd_int8_table);
  } else if (algorithm == ConvInt8Algorithm::depthwise) {
    s.pack_depthwise(weights);
    s.plan_pixels();
    s.depthwise = depthwise_int8_table.pick();
    s.kernel = variant(depthwise_int8_table);
  } else {
    s.pack_direct(weights);
    s.plan_pixels();
    s.direct = s.bytes() ? conv_u8s8_table.pick() : conv_int8_direct_table.pick();
    s.kernel = s.bytes() ? variant(conv_u8s8_table) : variant(conv_int8_direct_table);
  }
}

ConvInt8::~ConvInt8() = default;

void ConvInt8::run(const int8_t* x, const int8_t* residual, int8_t* y, void* scratch,
                   int threads) const {
  state_->run_all({x, state_->epilogue.adder ? residual : nullptr, y, nullptr}, scratch, threads);
}

void ConvInt8::accumulate(const int8_t* x, int32_t* sums, void* scratch, int threads) const {
  state_->run_all({x, nullptr, nullptr, sums}, scratch, threads);
}

size_t ConvInt8::scratch_bytes(int threads) const {
  return static_cast<size_t>(std::max(threads, 1) * state_->worker_bytes());
}

size_t ConvInt8::packed_bytes() const {
  return state_->weights.size() + state_->bias.size() + state_->multiplier.size() +
         state_->rounding_offset.size() + state_->pixels.size() * sizeof(int32_t) +
         state_->tiles.size() * sizeof(WinogradTile);
}

ConvInt8Algorithm ConvInt8::algorithm() const { return state_->algorithm; }
const char* ConvInt8::kernel() const { return state_->kernel.c_str(); }

}  // namespace tersor::quantization
