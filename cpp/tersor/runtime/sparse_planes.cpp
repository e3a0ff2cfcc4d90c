#include "tersor/runtime/sparse_planes.h"

#include <algorithm>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

void flip_words(uint32_t* words, int64_t count, uint32_t flip) {
  if (!flip) return;
  for (int64_t i = 0; i < count; ++i) words[i] ^= flip;
}

}  // namespace

SparsePlanes::SparsePlanes(const SparseGeometry& geometry, uint32_t pad, uint32_t flip,
                           int64_t slack)
    : g_(geometry), pad_(pad), flip_(flip), slack_(slack) {}

int64_t SparsePlanes::words() const {
  return whole_lines(g_.shape.input_channels * g_.plane + slack_);
}

int64_t SparsePlanes::border() const { return round_up(g_.shape.pad_left, 8); }

// A row of every channel, with pad for what kernel columns read outside of the image.
int64_t SparsePlanes::row_stride() const {
  const ConvShapeFloat32& s = g_.shape;
  const int64_t reach = (s.kernel_width - 1) * s.dilation_x + (g_.pitch - 1) * s.stride_x + 1;
  return round_up(border() + std::max(s.input_width, reach - s.pad_left), 8) + 8;
}

int64_t SparsePlanes::row_words() const {
  // Behind the channels a row of pad alone.
  return g_.is_line ? 0 : whole_lines((g_.shape.input_channels + 1) * row_stride());
}

int64_t SparsePlanes::columns(const SparseGeometry::Strip& strip) const {
  return g_.is_line ? strip.count : (strip.count - 1) * g_.pitch + g_.shape.output_width;
}

int64_t SparsePlanes::lines(const SparseGeometry::Strip& strip) const {
  return g_.is_line ? 1 : strip.count;
}

int64_t SparsePlanes::line_width(const SparseGeometry::Strip& strip) const {
  return g_.is_line ? strip.count : g_.shape.output_width;
}

int64_t SparsePlanes::first_pixel(const SparseGeometry::Strip& strip, int64_t line) const {
  if (g_.is_line) return strip.first;
  return (strip.image * g_.shape.output_height + strip.first + line) * g_.shape.output_width;
}

void SparsePlanes::fill(const uint32_t* x, const SparseGeometry::Strip& strip, uint32_t* planes,
                        uint32_t* row) const {
  const ConvShapeFloat32& s = g_.shape;
  auto* const transpose = transpose_words_table.pick();
  const int64_t channels = s.input_channels, used = channels * g_.plane;
  std::fill(planes + used, planes + words(), pad_);
  if (g_.is_line) {
    transpose(x + strip.first * channels, channels, planes, g_.plane, strip.count, channels);
    flip_words(planes, used, flip_);
    return;
  }
  std::fill(row, row + row_words(), pad_);
  const int64_t first_y = strip.first * s.stride_y - s.pad_top;
  const int64_t rows = (strip.count - 1) * s.stride_y + (s.kernel_height - 1) * s.dilation_y + 1;
  ShiftPlanes p{};
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
    uint32_t* const line = planes + r % s.stride_y * g_.phase_floats + r / s.stride_y * g_.pitch;
    if (inside) {
      const int64_t at = (strip.image * s.input_height + y) * s.input_width * channels;
      if (direct) {
        transpose(x + at, s.stride_x * channels, line, g_.plane, s.output_width, channels);
        for (int64_t c = 0; flip_ && c < channels; ++c)
          flip_words(line + c * g_.plane, s.output_width, flip_);
        continue;
      }
      transpose(x + at, channels, row + border(), row_stride(), s.input_width, channels);
      for (int64_t c = 0; flip_ && c < channels; ++c)
        flip_words(row + border() + c * row_stride(), s.input_width, flip_);
    }
    p.row_stride = inside ? row_stride() : 0;
    p.row = inside ? row + border() - s.pad_left : row + channels * row_stride();
    p.planes = line;
    shift_planes_table.pick()(p);
  }
}

}  // namespace tersor::runtime
