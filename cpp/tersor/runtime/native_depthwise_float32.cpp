// Depthwise float convolution: lines of pixels through depthwise_line_float32.
#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"

namespace tersor::runtime {
namespace {

constexpr int64_t kSplitMacs = 100'000;  // as for dense convolutions, at about half their speed

// All outputs of one run of rows and one run of columns share their taps.
struct Region {
  int64_t lines, pixels;
  int64_t input_first, input_line, input_pixel;
  int64_t output_first, output_line, output_pixel;
  int rows, columns;
  int64_t weights_first;
};

class DepthwiseStep final : public Step {
 public:
  DepthwiseStep(const StepSpec& spec, const ConvSpecFloat32& conv)
      : shape_(conv.shape), epilogue_(conv.epilogue) {
    const auto& table = depthwise_line_float32_table;
    kernel_ = kernel_name_float32("depthwise_float32", table.row(table.active_row()).variant,
                                  "direct", spec);
    pack(conv);
    const auto rows = axis_runs(shape_.output_height, shape_.input_height, shape_.kernel_height,
                                shape_.stride_y, shape_.dilation_y, shape_.pad_top, false);
    const auto columns = axis_runs(shape_.output_width, shape_.input_width, shape_.kernel_width,
                                   shape_.stride_x, shape_.dilation_x, shape_.pad_left, false);
    for (const AxisRun& r : rows) {
      for (const AxisRun& c : columns) add_region(r, c);
    }
  }

  void run(const StepBuffers& buffers) const override {
    const int64_t units = shape_.batch * static_cast<int64_t>(jobs_.size());
    if (buffers.threads <= 1 || shape_.macs() < kSplitMacs) return compute(buffers, 0, units);
    const int64_t tasks = std::min<int64_t>(units, 8 * buffers.threads);
    parallel_tasks(static_cast<size_t>(tasks), buffers.threads, [&](size_t task, int) {
      const auto t = static_cast<int64_t>(task);
      compute(buffers, units * t / tasks, units * (t + 1) / tasks);
    });
  }

  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return weights_.size() + bias_.size(); }

 private:
  struct Job {
    size_t region;
    int64_t line;
  };

  void pack(const ConvSpecFloat32& conv) {
    const int64_t taps = shape_.kernel_height * shape_.kernel_width,
                  channels = shape_.input_channels;
    weights_ = Buffer(static_cast<size_t>(taps * channels) * sizeof(float));
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        weights_.as<float>()[t * channels + c] = conv.weights.as<float>()[c * taps + t];
      }
    }
    if (!conv.bias) return;
    bias_ = Buffer(conv.bias.size_bytes());
    std::copy_n(conv.bias.as<float>(), channels, bias_.as<float>());
  }

  void add_region(const AxisRun& rows, const AxisRun& columns) {
    const int64_t channels = shape_.input_channels;
    const bool along_row = columns.count >= 4 || columns.count >= rows.count;
    const int64_t in_row = rows.input_step * shape_.input_width * channels,
                  in_column = columns.input_step * channels;
    const int64_t out_row = shape_.output_width * channels, out_column = channels;
    Region g{};
    g.lines = along_row ? rows.count : columns.count;
    g.pixels = along_row ? columns.count : rows.count;
    g.input_line = along_row ? in_row : in_column;
    g.input_pixel = along_row ? in_column : in_row;
    g.output_line = along_row ? out_row : out_column;
    g.output_pixel = along_row ? out_column : out_row;
    g.output_first = (rows.first * shape_.output_width + columns.first) * channels;
    // Taps that meet the input are neighbours in the kernel: a rectangle.
    if (!rows.taps.empty() && !columns.taps.empty()) {
      g.rows = static_cast<int>(rows.taps.size());
      g.columns = static_cast<int>(columns.taps.size());
      g.input_first = (rows.taps[0].input * shape_.input_width + columns.taps[0].input) * channels;
      g.weights_first =
          (rows.taps[0].kernel * shape_.kernel_width + columns.taps[0].kernel) * channels;
    }
    for (int64_t line = 0; line < g.lines; ++line) jobs_.push_back({regions_.size(), line});
    regions_.push_back(g);
  }

  void compute(const StepBuffers& buffers, int64_t begin, int64_t end) const {
    auto* const kernel = depthwise_line_float32_table.pick();
    const int64_t channels = shape_.input_channels;
    const int64_t input_image = shape_.input_height * shape_.input_width * channels;
    const int64_t output_image = shape_.output_height * shape_.output_width * channels;
    const float* residual = epilogue_.residual_of(buffers);
    const auto jobs = static_cast<int64_t>(jobs_.size());
    for (int64_t unit = begin; unit < end; ++unit) {
      const Job& job = jobs_[static_cast<size_t>(unit % jobs)];
      const Region& g = regions_[job.region];
      const int64_t at = unit / jobs * output_image + g.output_first + job.line * g.output_line;
      DepthwiseLineFloat32 line;
      line.input = static_cast<const float*>(buffers.inputs[0]) + unit / jobs * input_image +
                   g.input_first + job.line * g.input_line;
      line.input_stride = g.input_pixel;
      line.row_stride = shape_.dilation_y * shape_.input_width * channels;
      line.column_stride = shape_.dilation_x * channels;
      line.pixels = g.pixels;
      line.rows = g.rows;
      line.columns = g.columns;
      line.weights = weights_.as<float>() + g.weights_first;
      line.weight_row = shape_.kernel_width;
      line.weight_stride = channels;
      line.bias = bias_.as<float>();
      line.residual = residual ? residual + at : nullptr;
      line.residual_stride = line.output_stride = g.output_pixel;
      line.output = static_cast<float*>(buffers.outputs[0]) + at;
      line.channels = channels;
      line.low = epilogue_.low;
      line.high = epilogue_.high;
      line.post_low = epilogue_.post_low;
      line.post_high = epilogue_.post_high;
      kernel(line);
    }
  }

  ConvShapeFloat32 shape_;
  EpilogueFloat32 epilogue_;
  Buffer weights_, bias_;
  std::vector<Region> regions_;
  std::vector<Job> jobs_;
  std::string kernel_;
};

}  // namespace

std::unique_ptr<Step> make_native_depthwise_float32_step(const StepSpec& spec) {
  const auto conv = read_conv_float32(spec);
  if (!conv || !conv->shape.depthwise() || conv->shape.transposed) return nullptr;
  return std::make_unique<DepthwiseStep>(spec, *conv);
}

}  // namespace tersor::runtime
