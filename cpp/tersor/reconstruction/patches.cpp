#include "tersor/reconstruction/patches.h"

#include <vector>

#include "tersor/base/error.h"

namespace tersor::reconstruction {

int64_t PatchAxis::input_of(int64_t o, int64_t k, bool transposed) const {
  int64_t i = o * stride + k * dilation - pad;
  if (transposed) {
    const int64_t spread = o - k * dilation + pad;
    if (spread < 0 || spread % stride != 0) return -1;
    i = spread / stride;
  }
  return i >= 0 && i < input ? i : -1;
}

size_t PatchGeometry::taps() const {
  int64_t n = 1;
  for (const PatchAxis& axis : axes) n *= axis.kernel;
  return static_cast<size_t>(n);
}

size_t PatchGeometry::positions() const {
  int64_t n = 1;
  for (const PatchAxis& axis : axes) n *= axis.output;
  return static_cast<size_t>(n);
}

size_t PatchGeometry::input_size() const {
  int64_t n = channels;
  for (const PatchAxis& axis : axes) n *= axis.input;
  return static_cast<size_t>(n);
}

void PatchGeometry::check(const char* what) const {
  TERSOR_CHECK(channels >= 1, what, ": channels must be at least 1, got ", channels);
  for (const PatchAxis& a : axes) {
    TERSOR_CHECK(a.input >= 1 && a.output >= 1 && a.kernel >= 1 && a.stride >= 1 && a.dilation >= 1,
                 what, ": sizes, strides and dilations must be at least 1, got input ", a.input,
                 ", output ", a.output, ", kernel ", a.kernel, ", stride ", a.stride, ", dilation ",
                 a.dilation);
  }
}

void gather_patches(const float* image, const PatchGeometry& geometry, size_t first, size_t count,
                    float* rows, size_t row_stride) {
  const PatchAxis &az = geometry.axes[0], &ay = geometry.axes[1], &ax = geometry.axes[2];
  const size_t taps = geometry.taps();
  const int64_t plane = az.input * ay.input * ax.input;
  std::vector<int64_t> offsets(taps);  // of each tap in a channel's plane, -1 outside
  for (size_t r = 0; r < count; ++r, rows += row_stride) {
    const auto position = static_cast<int64_t>(first + r);
    const int64_t x = position % ax.output, y = position / ax.output % ay.output;
    const int64_t z = position / ax.output / ay.output;
    size_t t = 0;
    for (int64_t kz = 0; kz < az.kernel; ++kz) {
      const int64_t iz = az.input_of(z, kz, geometry.transposed);
      for (int64_t ky = 0; ky < ay.kernel; ++ky) {
        const int64_t iy = ay.input_of(y, ky, geometry.transposed);
        for (int64_t kx = 0; kx < ax.kernel; ++kx) {
          const int64_t ix = ax.input_of(x, kx, geometry.transposed);
          const bool inside = iz >= 0 && iy >= 0 && ix >= 0;
          offsets[t++] = inside ? (iz * ay.input + iy) * ax.input + ix : -1;
        }
      }
    }
    float* out = rows;
    const float* channel = image;
    for (int64_t c = 0; c < geometry.channels; ++c, channel += plane) {
      for (size_t k = 0; k < taps; ++k) *out++ = offsets[k] < 0 ? 0.0f : channel[offsets[k]];
    }
  }
}

}  // namespace tersor::reconstruction
