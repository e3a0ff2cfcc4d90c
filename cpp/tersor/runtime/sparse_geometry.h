// How a sparse convolution reads channels-last images: strips of output rows, whose inputs are put
// into planes, one for every channel, kernel column and phase of the vertical stride, so that a
// kernel position is an offset.
#pragma once

#include <cstdint>

#include "tersor/runtime/conv_lines.h"

namespace tersor::runtime {

// Output row r of a strip and column x stand at r * pitch + x. A plane has the input of kernel
// column kx at the same columns, so the tap (channel c, ky, kx) of all outputs starts at
//   ((c * kernel_width + kx) * stride_y + ky * dilation_y % stride_y) * phase_floats
//     + ky * dilation_y / stride_y * pitch.
// Where the width is nearly a multiple of 8 the pitch is one: no load crosses a cache line, which
// costs half of the speed (Zen 3). A 1 x 1 convolution with stride 1 takes the pixels of all images
// as one row.
struct SparseGeometry {
  explicit SparseGeometry(const ConvShapeFloat32& shape);

  bool is_line;
  int64_t strips;        // of all images
  int64_t strip_rows;    // output rows of a strip; pixels, for lines
  int64_t image_strips;  // of one image
  int64_t pitch, plane_rows;
  int64_t phase_floats, plane;
  int64_t columns;  // of the product, ends of rows included

  int64_t offset(int64_t channel, int64_t ky, int64_t kx) const;
  // Depth of a tile of whole channels, of which the planes share L1 with a row of sums; deeper
  // where few entries make the sums that every tile loads and stores dear (as in
  // sparse/matmul.cpp).
  int64_t tile_depth(double density) const;
  // Output channels of a task: a lone strip is divided among two threads by rows.
  int64_t block_rows() const;
  // Whether offsets fit the kernels' indices.
  bool fits() const;

  // The strip's image, first output row (pixel) and their number.
  struct Strip {
    int64_t image, first, count;
  };
  Strip strip(int64_t index) const;

  ConvShapeFloat32 shape;
};

}  // namespace tersor::runtime
