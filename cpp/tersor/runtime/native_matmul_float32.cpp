// Float matrix products: the right matrix as panels (packed once when it is constant), rows as
// pixels of a line.
#include <algorithm>
#include <cstring>
#include <limits>

#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/operand.h"

namespace tersor::runtime {
namespace {

constexpr int64_t kSplitMacs = 200'000;  // as for convolutions
constexpr int64_t kRowsAtOnce = 96;  // of a piece of work: whole blocks of every instruction set

// left[offset + m * depth + k] times right[offset + k * columns + n], one pair of offsets for each
// product.
struct Products {
  int64_t rows = 1, columns = 1, depth = 1;
  std::vector<int64_t> left, right;
};

Products products_of(const StepSpec& spec) {
  const Shape& a = spec.inputs[0]->shape;
  const Shape& b = spec.inputs[1]->shape;
  const Shape batch(spec.outputs[0]->shape.begin(), spec.outputs[0]->shape.end() - 2);
  Products p;
  p.rows = a[a.size() - 2];
  p.depth = a.back();
  p.columns = b.back();
  const Shape left = broadcast_strides(Shape(a.begin(), a.end() - 2), batch);
  const Shape right = broadcast_strides(Shape(b.begin(), b.end() - 2), batch);
  const int64_t count = element_count(batch);
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at_left = 0, at_right = 0;
    for (size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
      at_left += rest % batch[d] * left[d];
      at_right += rest % batch[d] * right[d];
    }
    p.left.push_back(at_left * p.rows * p.depth);
    p.right.push_back(at_right * p.depth * p.columns);
  }
  // One right matrix for many left ones that follow each other: one product of many rows.
  const bool one_right =
      std::all_of(p.right.begin(), p.right.end(), [](int64_t at) { return at == 0; });
  for (int64_t i = 0; i < count; ++i) {
    if (!one_right || p.left[static_cast<size_t>(i)] != i * p.rows * p.depth) return p;
  }
  p.rows *= count;
  p.left = p.right = {0};
  return p;
}

class MatmulStep final : public Step {
 public:
  explicit MatmulStep(const StepSpec& spec) : products_(products_of(spec)) {
    const auto& table = conv_line_float32_table;
    kernel_ =
        kernel_name_float32("matmul_float32", table.row(table.active_row()).variant, "gemm", spec);
    panels_ = (products_.columns + kPanel - 1) / kPanel;
    matrix_floats_ = panels_ * products_.depth * kPanel;
    if (!spec.inputs[1]->constant) return;
    for (const int64_t at : products_.right) {
      packed_.emplace_back(static_cast<size_t>(matrix_floats_) * sizeof(float));
      pack(spec.inputs[1]->constant.as<float>() + at, packed_.back().as<float>());
    }
  }

  void run(const StepBuffers& buffers) const override {
    const auto count = static_cast<int64_t>(products_.left.size());
    const int64_t macs = count * products_.rows * products_.columns * products_.depth;
    const bool split = buffers.threads > 1 && macs >= kSplitMacs;
    if (split && count >= 2 * buffers.threads) {
      parallel_tasks(static_cast<size_t>(count), buffers.threads, [&](size_t i, int worker) {
        multiply(buffers, i, right_of(buffers, i, worker), 0, products_.rows);
      });
      return;
    }
    for (size_t i = 0; i < products_.left.size(); ++i) {
      const float* right = right_of(buffers, i, 0);
      if (!split) {
        multiply(buffers, i, right, 0, products_.rows);
        continue;
      }
      const int64_t pieces = (products_.rows + kRowsAtOnce - 1) / kRowsAtOnce;
      parallel_tasks(static_cast<size_t>(pieces), buffers.threads, [&](size_t piece, int) {
        const int64_t first = static_cast<int64_t>(piece) * kRowsAtOnce;
        multiply(buffers, i, right, first, std::min(products_.rows, first + kRowsAtOnce));
      });
    }
  }

  size_t scratch_bytes(int threads) const override {
    return packed_.empty()
               ? static_cast<size_t>(std::max(1, threads) * matrix_floats_) * sizeof(float)
               : 0;
  }
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override {
    size_t bytes = 0;
    for (const Buffer& matrix : packed_) bytes += matrix.size();
    return bytes;
  }

 private:
  void pack(const float* right, float* to) const {
    for (int64_t p = 0; p < panels_; ++p) {
      const int64_t width = std::min<int64_t>(kPanel, products_.columns - p * kPanel);
      const float* from = right + p * kPanel;
      for (int64_t k = 0; k < products_.depth; ++k, from += products_.columns, to += kPanel) {
        std::memcpy(to, from, static_cast<size_t>(width) * sizeof(float));
        std::fill(to + width, to + kPanel, 0.0f);
      }
    }
  }

  const float* right_of(const StepBuffers& buffers, size_t i, int worker) const {
    if (!packed_.empty()) return packed_[i].as<float>();
    float* scratch = static_cast<float*>(buffers.scratch) + worker * matrix_floats_;
    pack(static_cast<const float*>(buffers.inputs[1]) + products_.right[i], scratch);
    return scratch;
  }

  void multiply(const StepBuffers& buffers, size_t i, const float* right, int64_t first,
                int64_t end) const {
    static constexpr int64_t kOrigin = 0;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const auto at = static_cast<int64_t>(i) * products_.rows + first;
    ConvLineFloat32 line{};
    line.input =
        static_cast<const float*>(buffers.inputs[0]) + products_.left[i] + first * products_.depth;
    line.input_stride = line.depth = products_.depth;
    line.pixels = end - first;
    line.tap_input = line.tap_weight = &kOrigin;
    line.taps = 1;
    line.weights = right;
    line.panel_stride = products_.depth * kPanel;
    line.output = static_cast<float*>(buffers.outputs[0]) + at * products_.columns;
    line.output_stride = line.channels = products_.columns;
    line.low = -kInfinity;
    line.high = kInfinity;
    conv_line_float32_table.pick()(line);
  }

  Products products_;
  int64_t panels_, matrix_floats_;
  std::vector<Buffer> packed_;
  std::string kernel_;
};

}  // namespace

std::unique_ptr<Step> make_native_matmul_float32_step(const StepSpec& spec) {
  if (spec.op != Op::matmul || spec.post_add) return nullptr;
  for (const PlanEdge* edge : {spec.inputs.at(0), spec.inputs.at(1), spec.outputs.at(0)}) {
    if (edge->dtype != DType::float32 || edge->qparams || edge->size() == 0) return nullptr;
  }
  if (spec.inputs[0]->constant) return nullptr;
  return std::make_unique<MatmulStep>(spec);
}

}  // namespace tersor::runtime
