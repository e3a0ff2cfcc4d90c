// Convolutions and dense layers with pruned weights: a sparse matrix times padded planes.
#include <algorithm>
#include <cstring>

#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/sparse_geometry.h"
#include "tersor/runtime/sparse_pays.h"
#include "tersor/sparse/matmul.h"
#include "tersor/sparse/offsets.h"

namespace tersor::runtime {
namespace {

using sparse::OffsetProduct;
using sparse::SparseRows;
using sparse::SpmmOffsets;

constexpr int64_t kPage = 16;  // floats: buffers start at cache lines

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Rows of the matrix are output channels, its columns offsets into the planes.
SparseRows rows_of(const ConvSpecFloat32& conv, const SparseGeometry& g) {
  const ConvShapeFloat32& s = conv.shape;
  const auto* w = conv.weights.as<float>();
  SparseRows out;
  out.rows = s.output_channels;
  out.columns = s.input_channels * g.plane;
  out.start.push_back(0);
  std::vector<std::pair<int32_t, float>> row;
  for (int64_t o = 0; o < s.output_channels; ++o) {
    row.clear();
    for (int64_t c = 0; c < s.input_channels; ++c) {
      for (int64_t ky = 0; ky < s.kernel_height; ++ky) {
        for (int64_t kx = 0; kx < s.kernel_width; ++kx, ++w) {
          if (*w != 0) row.emplace_back(static_cast<int32_t>(g.offset(c, ky, kx)), *w);
        }
      }
    }
    std::sort(row.begin(), row.end());
    for (const auto& [column, value] : row) {
      out.column.push_back(column);
      out.value.push_back(value);
    }
    out.start.push_back(static_cast<int64_t>(out.value.size()));
  }
  return out;
}

// Whole channels of which the planes share L1 with a row of sums; deeper where few entries make the
// sums that every tile loads and stores dear (as in sparse/matmul.cpp).
int64_t tile_depth(const SparseGeometry& g, double density) {
  const int64_t bytes = density > 0.15 ? 28 << 10 : density > 0.07 ? 36 << 10 : 72 << 10;
  const int64_t channels = std::max<int64_t>(1, bytes / (4 * g.plane));
  return std::min<int64_t>(channels, 65535 / g.plane) * g.plane;
}

class SparseConvStep final : public Step {
 public:
  SparseConvStep(const StepSpec& spec, const ConvSpecFloat32& conv, const SparseGeometry& g,
                 double density)
      : g_(g),
        epilogue_(conv.epilogue),
        bias_(conv.bias),
        product_(rows_of(conv, g), tile_depth(g, density), block_rows(g)),
        kernel_(kernel_name_float32("spmm_tile", "", g.is_line ? "sparse gemm" : "sparse direct",
                                    spec)) {}

  void run(const StepBuffers& buffers) const override {
    const int64_t blocks = product_.blocks(), tasks = g_.strips * blocks;
    const size_t bytes = worker_bytes();
    parallel_tasks(static_cast<size_t>(tasks), buffers.threads, [&](size_t task, int worker) {
      const auto t = static_cast<int64_t>(task);
      auto* mine = static_cast<char*>(buffers.scratch) + bytes * static_cast<size_t>(worker);
      compute(buffers, g_.strip(t / blocks), t % blocks, reinterpret_cast<float*>(mine));
    });
  }

  size_t scratch_bytes(int threads) const override {
    return worker_bytes() * static_cast<size_t>(std::max(threads, 1));
  }
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return product_.bytes(); }

 private:
  static int64_t block_rows(const SparseGeometry& g) {
    const int64_t rows = g.shape.output_channels;
    // A lone strip is divided among two threads by rows.
    const int64_t blocks = g.strips == 1 && rows >= 32 ? 2 : 1;
    return std::min<int64_t>(640, (rows + blocks - 1) / blocks);
  }
  int64_t plane_floats() const {
    return round_up(g_.shape.input_channels * g_.plane + SpmmOffsets::slack(g_.columns), kPage);
  }
  int64_t y_stride() const { return round_up(g_.columns, kPage); }
  // A row of every channel, with zeros for what kernel columns read outside of the image.
  int64_t border() const { return round_up(g_.shape.pad_left, 8); }
  int64_t row_stride() const {
    const ConvShapeFloat32& s = g_.shape;
    const int64_t reach = (s.kernel_width - 1) * s.dilation_x + (g_.pitch - 1) * s.stride_x + 1;
    return round_up(border() + std::max(s.input_width, reach - s.pad_left), 8) + 8;
  }
  int64_t row_floats() const {
    return g_.is_line ? 0 : round_up(g_.shape.input_channels * row_stride(), kPage);
  }
  int64_t output_floats() const { return round_up(g_.shape.output_channels * y_stride(), kPage); }
  size_t worker_bytes() const {
    const auto sums = static_cast<int64_t>(product_.sums_floats(g_.columns));
    return static_cast<size_t>(plane_floats() + output_floats() + row_floats() +
                               round_up(sums, kPage)) *
           4;
  }

  void compute(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
               float* scratch) const {
    float* planes = scratch;
    float* y = planes + plane_floats();
    float* row = y + output_floats();
    float* sums = row + row_floats();
    fill(static_cast<const float*>(buffers.inputs[0]), strip, planes, row);
    OffsetProduct p;
    p.x = planes;
    p.columns = g_.is_line ? strip.count : (strip.count - 1) * g_.pitch + g_.shape.output_width;
    p.bias = bias_ ? bias_.as<float>() : nullptr;
    p.low = epilogue_.low;
    p.high = epilogue_.high;
    p.y = y;
    p.y_stride = y_stride();
    p.sums = sums;
    product_.run(block, p);
    give(buffers, strip, block, y);
  }

  // Copies the strip's inputs into the planes, through rows with zeros around them.
  void fill(const float* x, const SparseGeometry::Strip& strip, float* planes, float* row) const {
    const ConvShapeFloat32& s = g_.shape;
    const auto* words = reinterpret_cast<const uint32_t*>(x);
    auto* const transpose = transpose_words_table.pick();
    const int64_t channels = s.input_channels, used = channels * g_.plane;
    std::memset(planes + used, 0, static_cast<size_t>(plane_floats() - used) * 4);
    if (g_.is_line) {
      transpose(words + strip.first * channels, channels, reinterpret_cast<uint32_t*>(planes),
                g_.plane, strip.count, channels);
      return;
    }
    std::memset(row, 0, static_cast<size_t>(row_floats()) * 4);
    const int64_t first_y = strip.first * s.stride_y - s.pad_top;
    const int64_t rows = (strip.count - 1) * s.stride_y + (s.kernel_height - 1) * s.dilation_y + 1;
    ShiftPlanes p{};
    p.row_stride = row_stride();
    p.channels = channels;
    p.copies = s.kernel_width;
    p.shift = s.dilation_x;
    p.step = s.stride_x;
    p.plane = g_.plane;
    p.copy = s.stride_y * g_.phase_floats;
    p.pitch = g_.pitch;
    // One kernel column that leaves no pixel out of the image: its pixels alone are moved.
    const bool direct =
        s.kernel_width == 1 && s.pad_left == 0 && (s.output_width - 1) * s.stride_x < s.input_width;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = first_y + r;
      const bool inside = 0 <= y && y < s.input_height;
      float* const line = planes + r % s.stride_y * g_.phase_floats + r / s.stride_y * g_.pitch;
      if (inside) {
        const int64_t at = (strip.image * s.input_height + y) * s.input_width * channels;
        if (direct) {
          transpose(words + at, s.stride_x * channels, reinterpret_cast<uint32_t*>(line), g_.plane,
                    s.output_width, channels);
          continue;
        }
        transpose(words + at, channels, reinterpret_cast<uint32_t*>(row + border()), p.row_stride,
                  s.input_width, channels);
      }
      p.row = inside ? row + border() - s.pad_left : nullptr;
      p.planes = line;
      shift_planes_table.pick()(p);
    }
  }

  // Copies the block's rows of y to channels last, and adds the residual.
  void give(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
            const float* y) const {
    const ConvShapeFloat32& s = g_.shape;
    const int64_t channels = s.output_channels, each = block_rows(g_);
    const int64_t first = block * each, count = std::min(each, channels - first);
    auto* const transpose = transpose_words_table.pick();
    const float* residual = epilogue_.residual_of(buffers);
    auto* out = static_cast<float*>(buffers.outputs[0]);
    const int64_t lines = g_.is_line ? 1 : strip.count;
    const int64_t width = g_.is_line ? strip.count : s.output_width;
    for (int64_t r = 0; r < lines; ++r) {
      const int64_t pixel =
          g_.is_line ? strip.first
                     : (strip.image * s.output_height + strip.first + r) * s.output_width;
      const int64_t at = pixel * channels + first;
      transpose(reinterpret_cast<const uint32_t*>(y + first * y_stride() + r * g_.pitch),
                y_stride(), reinterpret_cast<uint32_t*>(out + at), channels, count, width);
      if (!residual) continue;
      BinaryFloat32 sum{};
      sum.a = out + at;
      sum.b = residual + at;
      sum.y = out + at;
      sum.a_step = sum.b_step = 1;
      sum.low = epilogue_.post_low;
      sum.high = epilogue_.post_high;
      // Rows of a block that is not all channels are apart.
      const bool whole = count == channels;
      sum.rows = 1;
      sum.columns = static_cast<size_t>(whole ? width * channels : count);
      for (int64_t n = 0; n < (whole ? 1 : width); ++n) {
        binary_float32_table.pick()(BinaryFunction::add, sum);
        sum.a += channels, sum.b += channels, sum.y += channels;
      }
    }
  }

  SparseGeometry g_;
  EpilogueFloat32 epilogue_;
  Tensor bias_;
  SpmmOffsets product_;
  std::string kernel_;
};

}  // namespace

namespace {

// One pixel: a dense layer of one row.
class SparseVectorStep final : public Step {
 public:
  SparseVectorStep(const StepSpec& spec, const ConvSpecFloat32& conv)
      : epilogue_(conv.epilogue),
        bias_(conv.bias),
        plan_(sparse::rows_of_dense(conv.weights.as<float>(), conv.shape.output_channels,
                                    conv.shape.input_channels, conv.shape.input_channels),
              1),
        kernel_(kernel_name_float32("spmv_tile", "", "sparse", spec)) {}

  void run(const StepBuffers& buffers) const override {
    sparse::SpmmEpilogue e;
    e.bias = bias_ ? bias_.as<float>() : nullptr;
    e.residual = epilogue_.residual_of(buffers);
    e.residual_stride = 1;
    e.low = epilogue_.low;
    e.high = epilogue_.high;
    e.post_low = epilogue_.post_low;
    e.post_high = epilogue_.post_high;
    plan_.run(static_cast<const float*>(buffers.inputs[0]), 1, 1, e,
              static_cast<float*>(buffers.outputs[0]), 1, buffers.scratch,
              std::max(buffers.threads, 1));
  }
  size_t scratch_bytes(int threads) const override {
    return plan_.scratch_bytes(1, std::max(threads, 1));
  }
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return plan_.bytes(); }

 private:
  EpilogueFloat32 epilogue_;
  Tensor bias_;
  sparse::SpmmPlan plan_;
  std::string kernel_;
};

bool is_vector(const ConvShapeFloat32& s) {
  return s.batch * s.output_height * s.output_width == 1 && s.input_height == 1 &&
         s.input_width == 1 && s.kernel_height == 1 && s.kernel_width == 1;
}

std::unique_ptr<Step> make_step(const StepSpec& spec, bool always) {
  const auto conv = read_conv_float32(spec);
  if (!conv || conv->shape.groups != 1 || conv->shape.transposed) return nullptr;
  const ConvShapeFloat32& s = conv->shape;
  const double density = density_of(conv->weights);
  if (!always && !sparse_pays(s, density)) return nullptr;
  if (is_vector(s)) return std::make_unique<SparseVectorStep>(spec, *conv);
  const SparseGeometry g(s);
  if (g.strips == 0 || g.plane > 65535 || s.input_channels * g.plane > INT32_MAX) return nullptr;
  return std::make_unique<SparseConvStep>(spec, *conv, g, density);
}

}  // namespace

std::unique_ptr<Step> make_native_sparse_float32_step(const StepSpec& spec) {
  return make_step(spec, false);
}

std::unique_ptr<Step> make_sparse_step(const StepSpec& spec) { return make_step(spec, true); }

}  // namespace tersor::runtime
