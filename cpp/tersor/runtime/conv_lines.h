// How a convolution becomes lines of output pixels with one list of taps each (conv_float32.h):
// borders are lines with fewer taps, so that nothing is padded and nothing multiplied by zero.
#pragma once

#include <cstdint>
#include <vector>

namespace tersor::runtime {

// Two-dimensional geometry, channels last; one-dimensional convolutions have height 1.
struct ConvShapeFloat32 {
  int64_t batch = 1;
  int64_t input_height = 1, input_width = 1, input_channels = 0;
  int64_t output_height = 1, output_width = 1, output_channels = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_y = 1, stride_x = 1;
  int64_t dilation_y = 1, dilation_x = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;
  bool transposed = false;

  int64_t group_inputs() const { return input_channels / groups; }
  int64_t group_outputs() const { return output_channels / groups; }
  int64_t macs() const;
  bool depthwise() const {
    return groups == input_channels && groups == output_channels && groups > 1;
  }
};

// Output coordinates first, first + step, ... (count of them) of one axis that use the same kernel
// taps; the tap's input coordinate advances by input_step from one output to the next.
struct AxisRun {
  struct Tap {
    int64_t kernel;
    int64_t input;  // of the first output
  };
  int64_t first, step, count, input_step;
  std::vector<Tap> taps;
};
std::vector<AxisRun> axis_runs(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride,
                               int64_t dilation, int64_t pad, bool transposed);

// `lines` lines of `pixels` output pixels each; offsets in floats from the start of an image.
struct LineGroup {
  int64_t lines, pixels;
  int64_t input_line, input_pixel;
  int64_t output_first, output_line, output_pixel;
  int64_t depth;
  std::vector<int64_t> tap_input;   // of the first pixel of the first line
  std::vector<int64_t> tap_weight;  // in floats of a packed panel
};
// All groups of one image; with one image per batch where rows and images follow each other
// seamlessly (1 x 1).
std::vector<LineGroup> line_groups(const ConvShapeFloat32& g);

// A piece of a group that one kernel call computes.
struct LineJob {
  int group;
  int64_t line, first, pixels;
};
// Lines cut into pieces of at most `most_pixels`.
std::vector<LineJob> line_jobs(const std::vector<LineGroup>& groups, int64_t most_pixels);

}  // namespace tersor::runtime
