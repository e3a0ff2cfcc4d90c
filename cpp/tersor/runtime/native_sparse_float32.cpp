// Convolutions and dense layers with pruned weights: a sparse matrix times padded planes.
#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/sparse_geometry.h"
#include "tersor/runtime/sparse_pays.h"
#include "tersor/runtime/sparse_planes.h"
#include "tersor/sparse/matmul.h"
#include "tersor/sparse/offsets.h"

namespace tersor::runtime {
namespace {

using sparse::OffsetProduct;
using sparse::SparseRows;
using sparse::SpmmOffsets;

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

class SparseConvStep final : public Step {
 public:
  SparseConvStep(const StepSpec& spec, const ConvSpecFloat32& conv, const SparseGeometry& g,
                 double density)
      : g_(g),
        planes_(g, 0, 0, SpmmOffsets::slack(g.columns)),
        epilogue_(conv.epilogue),
        bias_(conv.bias),
        product_(rows_of(conv, g), g.tile_depth(density), g.block_rows()),
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
  int64_t y_stride() const { return whole_lines(g_.columns); }
  int64_t output_words() const { return whole_lines(g_.shape.output_channels * y_stride()); }
  size_t worker_bytes() const {
    const auto sums = static_cast<int64_t>(product_.sums_floats(g_.columns));
    return static_cast<size_t>(planes_.words() + output_words() + planes_.row_words() +
                               whole_lines(sums)) *
           4;
  }

  void compute(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
               float* scratch) const {
    float* planes = scratch;
    float* y = planes + planes_.words();
    float* row = y + output_words();
    float* sums = row + planes_.row_words();
    planes_.fill(static_cast<const uint32_t*>(buffers.inputs[0]), strip,
                 reinterpret_cast<uint32_t*>(planes), reinterpret_cast<uint32_t*>(row));
    OffsetProduct p;
    p.x = planes;
    p.columns = planes_.columns(strip);
    p.bias = bias_ ? bias_.as<float>() : nullptr;
    p.low = epilogue_.low;
    p.high = epilogue_.high;
    p.y = y;
    p.y_stride = y_stride();
    p.sums = sums;
    product_.run(block, p);
    give(buffers, strip, block, y);
  }

  // Copies the block's rows of y to channels last, and adds the residual.
  void give(const StepBuffers& buffers, const SparseGeometry::Strip& strip, int64_t block,
            const float* y) const {
    const ConvShapeFloat32& s = g_.shape;
    const int64_t channels = s.output_channels, each = g_.block_rows();
    const int64_t first = block * each, count = std::min(each, channels - first);
    auto* const transpose = transpose_words_table.pick();
    const float* residual = epilogue_.residual_of(buffers);
    auto* out = static_cast<float*>(buffers.outputs[0]);
    const int64_t width = planes_.line_width(strip);
    for (int64_t r = 0; r < planes_.lines(strip); ++r) {
      const int64_t at = planes_.first_pixel(strip, r) * channels + first;
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
  SparsePlanes planes_;
  EpilogueFloat32 epilogue_;
  Tensor bias_;
  SpmmOffsets product_;
  std::string kernel_;
};

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
  if (!g.fits()) return nullptr;
  return std::make_unique<SparseConvStep>(spec, *conv, g, density);
}

}  // namespace

std::unique_ptr<Step> make_native_sparse_float32_step(const StepSpec& spec) {
  return make_step(spec, false);
}

std::unique_ptr<Step> make_sparse_float32_step(const StepSpec& spec) {
  return make_step(spec, true);
}

}  // namespace tersor::runtime
