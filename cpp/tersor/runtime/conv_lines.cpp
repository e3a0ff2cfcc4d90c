#include "tersor/runtime/conv_lines.h"

#include <algorithm>

#include "tersor/runtime/conv_float32.h"

namespace tersor::runtime {
namespace {

// Taps of one output coordinate that meet the input.
std::vector<AxisRun::Tap> taps_at(int64_t output, int64_t inputs, int64_t kernel, int64_t stride,
                                  int64_t dilation, int64_t pad, bool transposed) {
  std::vector<AxisRun::Tap> taps;
  for (int64_t k = 0; k < kernel; ++k) {
    int64_t at = transposed ? output + pad - k * dilation : output * stride + k * dilation - pad;
    if (transposed) {
      if (at < 0 || at % stride != 0) continue;
      at /= stride;
    }
    if (0 <= at && at < inputs) taps.push_back({k, at});
  }
  return taps;
}

bool continues(const AxisRun& run, const std::vector<AxisRun::Tap>& taps) {
  return std::equal(taps.begin(), taps.end(), run.taps.begin(), run.taps.end(),
                    [&](const AxisRun::Tap& next, const AxisRun::Tap& first) {
                      return next.kernel == first.kernel &&
                             next.input == first.input + run.count * run.input_step;
                    });
}

// Columns whose taps and inputs follow each other are one tap of that many times the depth.
bool adjacent(const AxisRun& columns) {
  for (size_t i = 1; i < columns.taps.size(); ++i) {
    if (columns.taps[i].kernel != columns.taps[i - 1].kernel + 1) return false;
    if (columns.taps[i].input != columns.taps[i - 1].input + 1) return false;
  }
  return true;
}

LineGroup group_of(const ConvShapeFloat32& g, const AxisRun& rows, const AxisRun& columns) {
  const int64_t depth = g.group_inputs();
  const bool merged = g.groups == 1 && adjacent(columns);
  LineGroup group{};
  group.depth = merged ? depth * static_cast<int64_t>(columns.taps.size()) : depth;
  for (const AxisRun::Tap& row : rows.taps) {
    for (const AxisRun::Tap& column : columns.taps) {
      group.tap_input.push_back((row.input * g.input_width + column.input) * g.input_channels);
      group.tap_weight.push_back((row.kernel * g.kernel_width + column.kernel) * depth * kPanel);
      if (merged) break;
    }
  }
  const int64_t in_row = rows.input_step * g.input_width * g.input_channels;
  const int64_t in_column = columns.input_step * g.input_channels;
  const int64_t out_row = rows.step * g.output_width * g.output_channels;
  const int64_t out_column = columns.step * g.output_channels;
  group.output_first = (rows.first * g.output_width + columns.first) * g.output_channels;
  // Borders of one column are lines that run downwards.
  const bool along_row = columns.count >= 6 || columns.count >= rows.count;
  group.lines = along_row ? rows.count : columns.count;
  group.pixels = along_row ? columns.count : rows.count;
  group.input_line = along_row ? in_row : in_column;
  group.input_pixel = along_row ? in_column : in_row;
  group.output_line = along_row ? out_row : out_column;
  group.output_pixel = along_row ? out_column : out_row;
  if (group.input_line == group.pixels * group.input_pixel &&
      group.output_line == group.pixels * group.output_pixel) {
    group.pixels *= group.lines;
    group.lines = 1;
  }
  return group;
}

}  // namespace

int64_t ConvShapeFloat32::macs() const {
  const int64_t pixels = transposed ? input_height * input_width : output_height * output_width;
  const int64_t channels =
      transposed ? input_channels * group_outputs() : output_channels * group_inputs();
  return batch * pixels * kernel_height * kernel_width * channels;
}

std::vector<AxisRun> axis_runs(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride,
                               int64_t dilation, int64_t pad, bool transposed) {
  const int64_t step = transposed ? stride : 1;
  std::vector<AxisRun> runs;
  for (int64_t phase = 0; phase < std::min(step, outputs); ++phase) {
    bool open = false;
    for (int64_t o = phase; o < outputs; o += step) {
      auto taps = taps_at(o, inputs, kernel, stride, dilation, pad, transposed);
      if (open && continues(runs.back(), taps)) {
        ++runs.back().count;
      } else {
        runs.push_back({o, step, 1, transposed ? 1 : stride, std::move(taps)});
        open = true;
      }
    }
  }
  return runs;
}

std::vector<LineGroup> line_groups(const ConvShapeFloat32& g) {
  const auto rows = axis_runs(g.output_height, g.input_height, g.kernel_height, g.stride_y,
                              g.dilation_y, g.pad_top, g.transposed);
  const auto columns = axis_runs(g.output_width, g.input_width, g.kernel_width, g.stride_x,
                                 g.dilation_x, g.pad_left, g.transposed);
  std::vector<LineGroup> groups;
  for (const AxisRun& row : rows) {
    for (const AxisRun& column : columns) groups.push_back(group_of(g, row, column));
  }
  return groups;
}

std::vector<LineJob> line_jobs(const std::vector<LineGroup>& groups, int64_t most_pixels) {
  std::vector<LineJob> jobs;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (int64_t line = 0; line < groups[i].lines; ++line) {
      const int64_t pieces = (groups[i].pixels + most_pixels - 1) / most_pixels;
      int64_t first = 0;
      for (int64_t p = 0; p < pieces; ++p) {
        const int64_t pixels = std::min(most_pixels, groups[i].pixels - first);
        jobs.push_back({static_cast<int>(i), line, first, pixels});
        first += pixels;
      }
    }
  }
  return jobs;
}

}  // namespace tersor::runtime
