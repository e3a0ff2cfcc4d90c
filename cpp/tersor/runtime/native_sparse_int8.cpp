// int8 convolutions and dense layers with weights pruned in blocks of 1 x 4 input channels: a
// sparse matrix times padded planes, whose words are four codes of a pixel.
#include <algorithm>
#include <bit>
#include <cstring>

#include "tersor/base/threads.h"
#include "tersor/quantization/finish_int8.h"
#include "tersor/runtime/conv_spec_int8.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/sparse_pays.h"
#include "tersor/runtime/sparse_planes.h"
#include "tersor/sparse/offsets_int8.h"

namespace tersor::runtime {
namespace {

using quantization::ConvInt8Shape;
using quantization::FinishedInt8;
using sparse::OffsetInt8Product;
using sparse::SparseRows;
using sparse::SpmmInt8Offsets;

constexpr uint32_t kFlip = 0x80808080u;  // four int8 as uint8: plus 128

// Rows of output channels; a column is the offset of four input channels at one kernel position.
SparseRows rows_of(const ConvSpecInt8& conv, const SparseGeometry& g) {
  const ConvInt8Shape& s = conv.shape;
  const int64_t positions = s.kernel_h * s.kernel_w;
  SparseRows out;
  out.rows = s.out_channels;
  out.columns = s.channels / 4 * g.plane;
  out.start.push_back(0);
  std::vector<std::pair<int32_t, uint32_t>> row;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    row.clear();
    for (int64_t q = 0; q < s.channels / 4; ++q) {
      for (int64_t p = 0; p < positions; ++p) {
        uint32_t four = 0;
        for (int64_t i = 0; i < 4; ++i) {
          const int8_t code = conv.weights[(o * s.channels + 4 * q + i) * positions + p];
          four |= static_cast<uint32_t>(static_cast<uint8_t>(code)) << (8 * i);
        }
        if (four) {
          const int64_t at = g.offset(q, p / s.kernel_w, p % s.kernel_w);
          row.emplace_back(static_cast<int32_t>(at), four);
        }
      }
    }
    std::sort(row.begin(), row.end());
    for (const auto& [column, value] : row) {
      out.column.push_back(column);
      out.value.push_back(std::bit_cast<float>(value));
    }
    out.start.push_back(out.entries());
  }
  return out;
}

// bias - (zero point + 128) * sum of the weights, modulo 2^32.
std::vector<int32_t> folded_bias(const ConvSpecInt8& conv) {
  const int64_t taps = conv.shape.channels * conv.shape.kernel_h * conv.shape.kernel_w;
  std::vector<int32_t> out;
  for (int64_t o = 0; o < conv.shape.out_channels; ++o) {
    int32_t sum = 0;
    for (int64_t k = 0; k < taps; ++k) sum += conv.weights[o * taps + k];
    const auto bias = static_cast<uint32_t>(conv.bias ? conv.bias[o] : 0);
    out.push_back(static_cast<int32_t>(bias - static_cast<uint32_t>(conv.zero_point + 128) *
                                                  static_cast<uint32_t>(sum)));
  }
  return out;
}

class SparseInt8Step final : public Step {
 public:
  SparseInt8Step(ConvSpecInt8 conv, const SparseGeometry& g, double density)
      : planes_(g, 0x01010101u * static_cast<uint8_t>(conv.zero_point + 128), kFlip,
                SpmmInt8Offsets::slack(g.columns)),
        product_(rows_of(conv, g), g.tile_depth(density), g.block_rows()),
        bias_(folded_bias(conv)),
        residual_(conv.residual),
        finish_(std::move(conv.epilogue)) {}

  void run(const StepBuffers& buffers) const override {
    const SparseGeometry& g = planes_.geometry();
    const int64_t blocks = product_.blocks(), tasks = g.strips * blocks;
    const size_t bytes = worker_bytes();
    parallel_tasks(static_cast<size_t>(tasks), buffers.threads, [&](size_t task, int worker) {
      const auto t = static_cast<int64_t>(task);
      auto* mine = static_cast<char*>(buffers.scratch) + bytes * static_cast<size_t>(worker);
      compute(buffers, g.strip(t / blocks), t % blocks, mine);
    });
  }

  size_t scratch_bytes(int threads) const override {
    return worker_bytes() * static_cast<size_t>(std::max(threads, 1));
  }
  std::string kernel() const override {
    const char* form = planes_.geometry().is_line ? " sparse gemm" : " sparse direct";
    return "native " + product_.kernel() + form + (finish_.exact() ? " exact" : "");
  }
  size_t packed_bytes() const override { return product_.bytes() + bias_.size() * 4; }

 private:
  int64_t channels() const { return planes_.geometry().shape.output_channels; }
  int64_t y_stride() const { return whole_lines(planes_.geometry().columns); }
  int64_t y_words() const { return whole_lines(channels() * y_stride()); }
  // Sums of a line of pixels, channels last.
  int64_t line_words() const {
    const SparseGeometry& g = planes_.geometry();
    return whole_lines(channels()) * (g.is_line ? g.columns : g.shape.output_width);
  }
  size_t worker_bytes() const {
    const SparseGeometry& g = planes_.geometry();
    const auto sums = static_cast<int64_t>(product_.sums_words(g.columns));
    return static_cast<size_t>(planes_.words() + planes_.row_words() + y_words() + line_words() +
                               whole_lines(sums)) *
           4;
  }

  void compute(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
               char* scratch) const {
    auto* planes = reinterpret_cast<uint32_t*>(scratch);
    uint32_t* row = planes + planes_.words();
    auto* y = reinterpret_cast<int32_t*>(row + planes_.row_words());
    int32_t* line = y + y_words();
    int32_t* sums = line + line_words();
    planes_.fill(static_cast<const uint32_t*>(buffers.inputs[0]), strip, planes, row);
    OffsetInt8Product p{};
    p.x = planes;
    p.columns = planes_.columns(strip);
    p.bias = bias_.data();
    p.y = y;
    p.y_stride = y_stride();
    p.sums = sums;
    product_.run(block, p);
    give(buffers, strip, block, y, line);
  }

  // Codes of the block's rows of sums, channels last.
  void give(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
            const int32_t* y, int32_t* line) const {
    const SparseGeometry& g = planes_.geometry();
    const int64_t each = g.block_rows(), first = block * each;
    const int64_t count = std::min(each, channels() - first), stride = whole_lines(count);
    const int64_t width = planes_.line_width(strip);
    auto* const transpose = transpose_words_table.pick();
    const auto* residual =
        residual_ < 0 ? nullptr : static_cast<const int8_t*>(buffers.inputs[residual_]);
    auto* out = static_cast<int8_t*>(buffers.outputs[0]);
    for (int64_t r = 0; r < planes_.lines(strip); ++r) {
      const int64_t at = planes_.first_pixel(strip, r) * channels() + first;
      transpose(reinterpret_cast<const uint32_t*>(y + first * y_stride() + r * g.pitch), y_stride(),
                reinterpret_cast<uint32_t*>(line), stride, count, width);
      finish_.run(line, stride, first, count, width, residual ? residual + at : nullptr, out + at,
                  channels());
    }
  }

  SparsePlanes planes_;
  SpmmInt8Offsets product_;
  std::vector<int32_t> bias_;
  int residual_;
  FinishedInt8 finish_;
};

// Share of the words of four weights that are not 0.
double density_of(const ConvSpecInt8& conv) {
  const int64_t positions = conv.shape.kernel_h * conv.shape.kernel_w;
  const int64_t quads = conv.shape.out_channels * conv.shape.channels / 4;
  int64_t kept = 0;
  for (int64_t q = 0; q < quads; ++q) {
    const int8_t* w = conv.weights + 4 * q * positions;
    for (int64_t p = 0; p < positions; ++p)
      kept += w[p] || w[p + positions] || w[p + 2 * positions] || w[p + 3 * positions];
  }
  return static_cast<double>(kept) / static_cast<double>(std::max<int64_t>(quads * positions, 1));
}

std::unique_ptr<Step> make_step(const StepSpec& spec, bool always) {
  auto conv = read_conv_int8(spec);
  if (!conv || conv->shape.groups != 1 || conv->shape.channels % 4 != 0) return nullptr;
  const double density = density_of(*conv);
  if (!always && !sparse_pays_int8(conv->shape, density)) return nullptr;
  const SparseGeometry g(shape_in_words(conv->shape));
  // Sums that might leave int32 are refused by the dense maker, with the reason.
  if (!g.fits() || !quantization::sums_fit(conv->shape, conv->weights, conv->bias)) return nullptr;
  return std::make_unique<SparseInt8Step>(std::move(*conv), g, density);
}

}  // namespace

std::unique_ptr<Step> make_native_sparse_int8_step(const StepSpec& spec) {
  return make_step(spec, false);
}

std::unique_ptr<Step> make_sparse_int8_step(const StepSpec& spec) { return make_step(spec, true); }

}  // namespace tersor::runtime
