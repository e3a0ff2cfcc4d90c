// Direct float convolution, transposed convolution and dense layers: lines of pixels through
// conv_line_float32.
#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"

namespace tersor::runtime {
namespace {

// Below about 5 us of one core's work, waking a second one does not pay.
constexpr int64_t kSplitMacs = 200'000;

class ConvStep final : public Step {
 public:
  explicit ConvStep(const StepSpec& spec, const ConvSpecFloat32& conv)
      : shape_(conv.shape),
        epilogue_(conv.epilogue),
        packed_(pack_conv_float32(conv)),
        groups_(line_groups(shape_)) {
    const auto& table = conv_line_float32_table;
    kernel_ = kernel_name_float32("conv_float32", table.row(table.active_row()).variant,
                                  spec.op == Op::dense ? "gemm" : "direct", spec);
    images_ = shape_.batch;
    input_image_ = shape_.input_height * shape_.input_width * shape_.input_channels;
    output_image_ = shape_.output_height * shape_.output_width * shape_.output_channels;
    merge_images();
    // Input and output of a piece take at most half of a small (256 KiB) second-level cache;
    // multiples of 12 are whole blocks of every instruction set.
    const int64_t floats =
        groups_[0].depth * static_cast<int64_t>(std::max<size_t>(1, groups_[0].tap_input.size())) +
        shape_.group_outputs();
    jobs_ = line_jobs(groups_, std::clamp<int64_t>(32768 / floats / 12 * 12, 12, 480));
    // The weights of a chunk stay in the second-level cache while all pixels pass by.
    const int64_t panel_bytes = packed_.panel_floats * 4;
    chunk_ = std::max<int64_t>(2, 196'608 / std::max<int64_t>(1, panel_bytes) / 2 * 2);
    chunks_ = (packed_.panels + chunk_ - 1) / chunk_;
  }

  void run(const StepBuffers& buffers) const override {
    const int64_t units = shape_.groups * chunks_ * images_ * static_cast<int64_t>(jobs_.size());
    if (buffers.threads <= 1 || shape_.macs() < kSplitMacs) {
      compute(buffers, 0, units, chunk_);
      return;
    }
    if (units >= 4 * buffers.threads) {
      const int64_t tasks = std::min<int64_t>(units, 8 * buffers.threads);
      parallel_tasks(static_cast<size_t>(tasks), buffers.threads, [&](size_t task, int) {
        const auto t = static_cast<int64_t>(task);
        compute(buffers, units * t / tasks, units * (t + 1) / tasks, chunk_);
      });
      return;
    }
    // Few pixels (a dense layer of one row): threads divide the panels.
    const int64_t chunk = std::max<int64_t>(1, packed_.panels / (4 * buffers.threads));
    const int64_t chunks = (packed_.panels + chunk - 1) / chunk;
    const int64_t all = shape_.groups * chunks * images_ * static_cast<int64_t>(jobs_.size());
    parallel_tasks(static_cast<size_t>(all), buffers.threads, [&](size_t task, int) {
      compute(buffers, static_cast<int64_t>(task), static_cast<int64_t>(task) + 1, chunk);
    });
  }

  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return packed_.weights.size() + packed_.bias.size(); }

 private:
  // 1 x 1 with stride 1: all images are one line.
  void merge_images() {
    LineGroup& g = groups_[0];
    if (groups_.size() != 1 || g.lines != 1) return;
    if (g.pixels * g.input_pixel != input_image_ || g.pixels * g.output_pixel != output_image_)
      return;
    g.pixels *= images_;
    images_ = 1;
  }

  // Units [begin, end) in the order (group, chunk of panels, image, job).
  void compute(const StepBuffers& buffers, int64_t begin, int64_t end, int64_t chunk) const {
    auto* const kernel = conv_line_float32_table.pick();
    const auto* input = static_cast<const float*>(buffers.inputs[0]);
    const float* residual = epilogue_.residual_of(buffers);
    auto* output = static_cast<float*>(buffers.outputs[0]);
    const auto jobs = static_cast<int64_t>(jobs_.size());
    const int64_t chunks = (packed_.panels + chunk - 1) / chunk;
    for (int64_t unit = begin; unit < end; ++unit) {
      const LineJob& job = jobs_[static_cast<size_t>(unit % jobs)];
      const int64_t image = unit / jobs % images_;
      const int64_t panel = unit / jobs / images_ % chunks * chunk;
      const int64_t group = unit / jobs / images_ / chunks;
      const LineGroup& g = groups_[static_cast<size_t>(job.group)];
      const int64_t at = image * output_image_ + g.output_first + job.line * g.output_line +
                         job.first * g.output_pixel + group * shape_.group_outputs() +
                         panel * kPanel;
      const int64_t first_panel = group * packed_.panels + panel;
      ConvLineFloat32 line;
      line.input = input + image * input_image_ + job.line * g.input_line +
                   job.first * g.input_pixel + group * shape_.group_inputs();
      line.input_stride = g.input_pixel;
      line.pixels = job.pixels;
      line.tap_input = g.tap_input.data();
      line.tap_weight = g.tap_weight.data();
      line.taps = static_cast<int>(g.tap_input.size());
      line.depth = g.depth;
      line.weights = packed_.weights.as<float>() + first_panel * packed_.panel_floats;
      line.panel_stride = packed_.panel_floats;
      line.bias = packed_.bias.as<float>() + first_panel * kPanel;
      line.residual = residual ? residual + at : nullptr;
      line.residual_stride = line.output_stride = g.output_pixel;
      line.output = output + at;
      line.channels = std::min(chunk * kPanel, shape_.group_outputs() - panel * kPanel);
      line.low = epilogue_.low;
      line.high = epilogue_.high;
      line.post_low = epilogue_.post_low;
      line.post_high = epilogue_.post_high;
      kernel(line);
    }
  }

  ConvShapeFloat32 shape_;
  EpilogueFloat32 epilogue_;
  PackedConvFloat32 packed_;
  std::vector<LineGroup> groups_;
  std::vector<LineJob> jobs_;
  int64_t images_, input_image_, output_image_;
  int64_t chunk_, chunks_;  // panels at a time
  std::string kernel_;
};

}  // namespace

std::unique_ptr<Step> make_native_conv_float32_step(const StepSpec& spec) {
  const auto conv = read_conv_float32(spec);
  return conv ? std::make_unique<ConvStep>(spec, *conv) : nullptr;
}

}  // namespace tersor::runtime
