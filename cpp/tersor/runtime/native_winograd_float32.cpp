// 3 x 3 float convolution with stride 1 as F(4 x 4, 3 x 3): transform blocks of tiles, multiply the
// 36 planes by the transformed weights (conv_line_float32), transform back.
#include <algorithm>
#include <limits>

#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"

namespace tersor::runtime {
namespace {

constexpr int64_t kSplitMacs =
    400'000;  // as for direct convolutions; a quarter of them is computed

class WinogradStep final : public Step {
 public:
  WinogradStep(const StepSpec& spec, const ConvSpecFloat32& conv)
      : shape_(conv.shape), epilogue_(conv.epilogue) {
    const auto& table = conv_line_float32_table;
    kernel_ = kernel_name_float32("winograd_float32", table.row(table.active_row()).variant,
                                  "4x4 3x3", spec);
    pack(conv);
    tiles_y_ = (shape_.output_height + kWinogradOutput - 1) / kWinogradOutput;
    tiles_x_ = (shape_.output_width + kWinogradOutput - 1) / kWinogradOutput;
    tiles_ = shape_.batch * tiles_y_ * tiles_x_;
    // Both sets of planes of a block take about 192 KiB of the second-level cache; at least 12
    // tiles, or the weights would be read too often.
    const int64_t floats = kWinogradPlanes * (shape_.input_channels + shape_.output_channels);
    block_ = std::min(tiles_, std::clamp<int64_t>(49'152 / floats / 12 * 12, 12, 96));
    blocks_ = (tiles_ + block_ - 1) / block_;
    input_plane_ = plane_floats(shape_.input_channels);
    output_plane_ = plane_floats(shape_.output_channels);
  }

  void run(const StepBuffers& buffers) const override {
    const bool split = buffers.threads > 1 && shape_.macs() >= kSplitMacs;
    if (split && blocks_ < 2 * buffers.threads) return run_phases(buffers);
    const auto all_of = [&](size_t block, int worker) {
      float* input = scratch_of(buffers, worker);
      float* output = input + kWinogradPlanes * input_plane_;
      const int64_t first = static_cast<int64_t>(block) * block_;
      const int64_t count = std::min(block_, tiles_ - first);
      for (int64_t t = 0; t < count; ++t) transform_input(buffers, first, t, input);
      for (int p = 0; p < kWinogradPlanes; ++p) multiply(p, count, 0, channels_, input, output);
      for (int64_t t = 0; t < count; ++t) transform_output(buffers, first, t, output);
    };
    if (split) {
      parallel_tasks(static_cast<size_t>(blocks_), buffers.threads, all_of);
    } else {
      for (int64_t b = 0; b < blocks_; ++b) all_of(static_cast<size_t>(b), 0);
    }
  }

  size_t scratch_bytes(int threads) const override {
    return static_cast<size_t>(std::max(1, threads)) * worker_floats() * sizeof(float);
  }
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return weights_.size() + bias_.size(); }

 private:
  // Planes a power of two apart would all fall on the same few cache sets: an odd number of cache
  // lines.
  int64_t plane_floats(int64_t channels) const {
    const int64_t lines = (block_ * channels + 15) / 16;
    return (lines | 1) * 16;
  }
  size_t worker_floats() const {
    return static_cast<size_t>(kWinogradPlanes * (input_plane_ + output_plane_));
  }
  float* scratch_of(const StepBuffers& buffers, int worker) const {
    return static_cast<float*>(buffers.scratch) + static_cast<size_t>(worker) * worker_floats();
  }

  void pack(const ConvSpecFloat32& conv) {
    const int64_t inputs = shape_.input_channels, outputs = shape_.output_channels;
    channels_ = outputs;
    panels_ = (outputs + kPanel - 1) / kPanel;
    const int64_t plane = panels_ * inputs * kPanel;
    weights_ = Buffer(static_cast<size_t>(kWinogradPlanes * plane) * sizeof(float));
    auto* to = weights_.as<float>();
    std::fill_n(to, kWinogradPlanes * plane, 0.0f);
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t c = 0; c < inputs; ++c) {
        float u[kWinogradPlanes];
        winograd_weights(conv.weights.as<float>() + (o * inputs + c) * 9, u);
        const int64_t at = (o / kPanel * inputs + c) * kPanel + o % kPanel;
        for (int p = 0; p < kWinogradPlanes; ++p) to[p * plane + at] = u[p];
      }
    }
    if (!conv.bias) return;
    bias_ = Buffer(conv.bias.size_bytes());
    std::copy_n(conv.bias.as<float>(), outputs, bias_.as<float>());
  }

  void transform_input(const StepBuffers& buffers, int64_t first, int64_t t, float* planes) const {
    const int64_t tile = first + t;
    const int64_t image = tile / (tiles_y_ * tiles_x_);
    const int64_t y = tile / tiles_x_ % tiles_y_ * kWinogradOutput - shape_.pad_top;
    const int64_t x = tile % tiles_x_ * kWinogradOutput - shape_.pad_left;
    const int64_t row = shape_.input_width * shape_.input_channels;
    WinogradInputFloat32 in;
    in.input = static_cast<const float*>(buffers.inputs[0]) + image * shape_.input_height * row +
               y * row + x * shape_.input_channels;
    in.row_stride = row;
    in.first_row = static_cast<int>(std::max<int64_t>(0, -y));
    in.end_row = static_cast<int>(std::min<int64_t>(kWinogradTile, shape_.input_height - y));
    in.first_column = static_cast<int>(std::max<int64_t>(0, -x));
    in.end_column = static_cast<int>(std::min<int64_t>(kWinogradTile, shape_.input_width - x));
    in.channels = shape_.input_channels;
    in.planes = planes + t * shape_.input_channels;
    in.plane_stride = input_plane_;
    winograd_input_float32_table.pick()(in);
  }

  // Output channels [begin, end) of one plane; begin is a multiple of kPanel.
  void multiply(int plane, int64_t count, int64_t begin, int64_t end, const float* input,
                float* output) const {
    static constexpr int64_t kOrigin = 0;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const int64_t panel_floats = shape_.input_channels * kPanel;
    ConvLineFloat32 line{};
    line.input = input + plane * input_plane_;
    line.input_stride = shape_.input_channels;
    line.pixels = count;
    line.tap_input = line.tap_weight = &kOrigin;
    line.taps = 1;
    line.depth = shape_.input_channels;
    line.weights = weights_.as<float>() + (plane * panels_ + begin / kPanel) * panel_floats;
    line.panel_stride = panel_floats;
    line.output = output + plane * output_plane_ + begin;
    line.output_stride = channels_;
    line.channels = end - begin;
    line.low = -kInfinity;
    line.high = kInfinity;
    conv_line_float32_table.pick()(line);
  }

  void transform_output(const StepBuffers& buffers, int64_t first, int64_t t,
                        const float* planes) const {
    const int64_t tile = first + t;
    const int64_t image = tile / (tiles_y_ * tiles_x_);
    const int64_t y = tile / tiles_x_ % tiles_y_ * kWinogradOutput;
    const int64_t x = tile % tiles_x_ * kWinogradOutput;
    const int64_t row = shape_.output_width * channels_;
    const int64_t at = (image * shape_.output_height + y) * row + x * channels_;
    const float* residual = epilogue_.residual_of(buffers);
    WinogradOutputFloat32 out;
    out.planes = planes + t * channels_;
    out.plane_stride = output_plane_;
    out.bias = bias_.as<float>();
    out.residual = residual ? residual + at : nullptr;
    out.output = static_cast<float*>(buffers.outputs[0]) + at;
    out.row_stride = row;
    out.rows = static_cast<int>(std::min<int64_t>(kWinogradOutput, shape_.output_height - y));
    out.columns = static_cast<int>(std::min<int64_t>(kWinogradOutput, shape_.output_width - x));
    out.channels = channels_;
    out.low = epilogue_.low;
    out.high = epilogue_.high;
    out.post_low = epilogue_.post_low;
    out.post_high = epilogue_.post_high;
    winograd_output_float32_table.pick()(out);
  }

  // Few blocks: threads share each block, tiles in the transforms and planes in between.
  void run_phases(const StepBuffers& buffers) const {
    float* input = scratch_of(buffers, 0);
    float* output = input + kWinogradPlanes * input_plane_;
    const int threads = buffers.threads;
    const auto split = [threads](int64_t n, auto&& fn) {
      const int64_t tasks = std::min<int64_t>(n, 2 * threads);
      parallel_tasks(static_cast<size_t>(tasks), threads, [&](size_t task, int) {
        const auto i = static_cast<int64_t>(task);
        for (int64_t t = n * i / tasks; t < n * (i + 1) / tasks; ++t) fn(t);
      });
    };
    for (int64_t first = 0; first < tiles_; first += block_) {
      const int64_t count = std::min(block_, tiles_ - first);
      split(count, [&](int64_t t) { transform_input(buffers, first, t, input); });
      split(kWinogradPlanes,
            [&](int64_t p) { multiply(static_cast<int>(p), count, 0, channels_, input, output); });
      split(count, [&](int64_t t) { transform_output(buffers, first, t, output); });
    }
  }

  ConvShapeFloat32 shape_;
  EpilogueFloat32 epilogue_;
  Buffer weights_, bias_;
  int64_t channels_ = 0, panels_ = 0;
  int64_t tiles_y_, tiles_x_, tiles_;
  int64_t block_, blocks_;
  int64_t input_plane_, output_plane_;
  std::string kernel_;
};

}  // namespace

bool winograd_pays(const ConvShapeFloat32& s) {
  const bool fits = s.kernel_height == 3 && s.kernel_width == 3 && s.stride_y == 1 &&
                    s.stride_x == 1 && s.dilation_y == 1 && s.dilation_x == 1 && s.groups == 1 &&
                    !s.transposed;
  if (!fits) return false;
  // At least half of the tiles' outputs must be used (7 x 7: 77 %, 5 x 5: 39 %).
  const int64_t tiles = ((s.output_height + 3) / 4) * ((s.output_width + 3) / 4);
  const int64_t used = s.output_height * s.output_width;
  return s.input_channels >= 8 && s.output_channels >= 8 && used * 2 >= tiles * 16;
}

std::unique_ptr<Step> make_native_winograd_float32_step(const StepSpec& spec) {
  const auto conv = read_conv_float32(spec);
  if (!conv || spec.op != Op::conv || !winograd_pays(conv->shape)) return nullptr;
  return std::make_unique<WinogradStep>(spec, *conv);
}

}  // namespace tersor::runtime
