#include "tersor/quantization/conv_int8.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/conv_int8_state.h"

namespace tersor::quantization {
namespace {

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

// Largest |acc| of an output channel that codes can make.
int64_t largest_sum(const ConvInt8Shape& s, const int8_t* weights, const int32_t* bias, int64_t o) {
  const int64_t taps = s.group_channels() * s.kernel_h * s.kernel_w;
  int64_t sum = 0;
  for (int64_t k = 0; k < taps; ++k) sum += std::abs(static_cast<int>(weights[o * taps + k]));
  return 255 * sum + (bias ? std::abs(static_cast<int64_t>(bias[o])) : 0);
}

bool fits_int32(int64_t sum) { return sum < (int64_t{1} << 31); }

// Of all channels; throws if it leaves int32.
int64_t check_sums(const ConvInt8Shape& s, const int8_t* weights, const int32_t* bias) {
  int64_t largest = 0;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    const int64_t bound = largest_sum(s, weights, bias, o);
    TERSOR_CHECK(fits_int32(bound), "conv_int8: 255 * sum |w| + |bias| must be below 2^31, got ",
                 bound, " for output channel ", o);
    largest = std::max(largest, bound);
  }
  return largest;
}

bool winograd_fits(const ConvInt8Shape& s) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1 && s.channels % 16 == 0;
}

bool depthwise_fits(const ConvInt8Shape& s) {
  return s.groups == s.channels && s.groups == s.out_channels &&
         s.kernel_h * s.kernel_w <= 2 * kDepthwisePairs;
}

ConvInt8Algorithm choose(const ConvInt8Shape& s, int64_t largest_sum) {
  if (depthwise_fits(s)) return ConvInt8Algorithm::depthwise;
  if (winograd_pays(s) && largest_sum < kWinogradSumLimit) return ConvInt8Algorithm::winograd;
  const bool vnni = conv_u8s8_table.row(conv_u8s8_table.active_row()).needed != Feature::none;
  return vnni ? ConvInt8Algorithm::bytes : ConvInt8Algorithm::direct;
}

}  // namespace

bool sums_fit(const ConvInt8Shape& s, const int8_t* weights, const int32_t* bias) {
  for (int64_t o = 0; o < s.out_channels; ++o)
    if (!fits_int32(largest_sum(s, weights, bias, o))) return false;
  return true;
}

bool winograd_pays(const ConvInt8Shape& s) {
  return winograd_fits(s) && s.out_height() > 2 && s.out_width() > 2;
}

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
  TERSOR_CHECK(algorithm != ConvInt8Algorithm::winograd ||
                   (winograd_fits(shape) && largest < kWinogradSumLimit),
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
