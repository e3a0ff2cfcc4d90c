#include "tersor/runtime/sparse_geometry.h"

#include <algorithm>

namespace tersor::runtime {
namespace {

// Sums of 12 vectors of AVX2 stay in registers (sparse/spmm_simd.cpp); twice as many columns read
// fewer rows twice.
constexpr int64_t kLine = 96, kColumns = 192;
constexpr int64_t kLanes = 8;
constexpr double kMostWaste = 1.2;

int64_t divide_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

bool reads_lines(const ConvShapeFloat32& s) {
  return s.kernel_height == 1 && s.kernel_width == 1 && s.stride_y == 1 && s.stride_x == 1 &&
         s.input_height == s.output_height && s.input_width == s.output_width;
}

}  // namespace

SparseGeometry::SparseGeometry(const ConvShapeFloat32& s) : is_line(reads_lines(s)), shape(s) {
  if (is_line) {
    const int64_t pixels = s.batch * s.output_height * s.output_width;
    strips = std::max<int64_t>(1, divide_up(pixels, kLine));
    strip_rows = std::max<int64_t>(1, divide_up(divide_up(pixels, strips), kLanes) * kLanes);
    strips = divide_up(pixels, strip_rows);
    image_strips = strips;
    pitch = columns = plane = phase_floats = strip_rows;
    plane_rows = 1;
    return;
  }
  const int64_t whole = divide_up(s.output_width, kLanes) * kLanes;
  const bool waste = static_cast<double>(whole) > kMostWaste * static_cast<double>(s.output_width);
  pitch = waste ? s.output_width : whole;
  image_strips = divide_up(s.output_height, std::max<int64_t>(1, kColumns / pitch));
  strip_rows = divide_up(s.output_height, image_strips);
  image_strips = divide_up(s.output_height, strip_rows);
  strips = s.batch * image_strips;
  const int64_t reach = (strip_rows - 1) * s.stride_y + (s.kernel_height - 1) * s.dilation_y;
  plane_rows = reach / s.stride_y + 1;
  phase_floats = plane_rows * pitch;
  plane = s.kernel_width * s.stride_y * phase_floats;
  columns = strip_rows * pitch;
}

int64_t SparseGeometry::offset(int64_t channel, int64_t ky, int64_t kx) const {
  const int64_t y = ky * shape.dilation_y;
  const int64_t phase = (channel * shape.kernel_width + kx) * shape.stride_y + y % shape.stride_y;
  return phase * phase_floats + y / shape.stride_y * pitch;
}

int64_t SparseGeometry::tile_depth(double density) const {
  const int64_t bytes = density > 0.15 ? 28 << 10 : density > 0.07 ? 36 << 10 : 72 << 10;
  const int64_t channels = std::max<int64_t>(1, bytes / 4 / plane);
  return std::min<int64_t>(channels, 65535 / plane) * plane;
}

int64_t SparseGeometry::block_rows() const {
  const int64_t rows = shape.output_channels, blocks = strips == 1 && rows >= 32 ? 2 : 1;
  return std::min<int64_t>(640, divide_up(rows, blocks));
}

bool SparseGeometry::fits() const {
  return strips > 0 && plane <= 65535 && shape.input_channels * plane <= INT32_MAX;
}

SparseGeometry::Strip SparseGeometry::strip(int64_t index) const {
  const int64_t image = is_line ? 0 : index / image_strips;
  const int64_t first = (is_line ? index : index % image_strips) * strip_rows;
  const int64_t all =
      is_line ? shape.batch * shape.output_height * shape.output_width : shape.output_height;
  return {image, first, std::min(strip_rows, all - first)};
}

}  // namespace tersor::runtime
