// The linear map inside a convolution: which inputs each output position reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::reconstruction {

// Up to three spatial axes (z, y, x); the leading ones of a network with fewer are 1 wide.
struct TERSOR_API PatchAxis {
  int64_t input = 1, output = 1, kernel = 1;
  int64_t stride = 1, dilation = 1, pad = 0;  // pad: in front

  // Index of the input that output position o reads through tap k, or -1 (padding, or between the
  // inputs of a transposed convolution).
  //   convolution             i = o * stride + k * dilation - pad
  //   transposed convolution  i = (o - k * dilation + pad) / stride, where that is whole
  int64_t input_of(int64_t o, int64_t k, bool transposed) const;
};

struct TERSOR_API PatchGeometry {
  int64_t channels = 1;  // of the input
  std::array<PatchAxis, 3> axes;
  bool transposed = false;

  size_t taps() const;        // kernel positions
  size_t positions() const;   // output positions of one image
  size_t input_size() const;  // values of one image
  size_t row_size() const { return static_cast<size_t>(channels) * taps(); }
  // ValueError naming `what` unless every size, stride and dilation is at least 1.
  void check(const char* what) const;
};

// rows[r][c * taps + k] for output positions first .. first + count - 1 of one image
// image[channels][z][y][x]: the input that the position reads through tap k of channel c, 0
// outside. The order of columns is that of a convolution's weight [out][channels][kernel...]; the
// rows of group g of a grouped convolution begin at column g * row_size() / groups.
TERSOR_API void gather_patches(const float* image, const PatchGeometry& geometry, size_t first,
                               size_t count, float* rows, size_t row_stride);

}  // namespace tersor::reconstruction
