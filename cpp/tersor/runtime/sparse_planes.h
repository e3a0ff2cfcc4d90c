// The inputs of a strip as planes of 32-bit words (sparse_geometry.h): floats, or four int8 codes.
#pragma once

#include <cstdint>

#include "tersor/runtime/sparse_geometry.h"

namespace tersor::runtime {

class SparsePlanes {
 public:
  // The geometry's input channels are words of a pixel; a plane holds word ^ flip, and `pad`
  // outside of the image. `slack` words behind the planes may be read and are pad, too.
  SparsePlanes(const SparseGeometry& geometry, uint32_t pad, uint32_t flip, int64_t slack);

  const SparseGeometry& geometry() const { return g_; }
  int64_t words() const;      // of the planes, slack included; whole cache lines
  int64_t row_words() const;  // scratch of fill()
  // Columns of the product for a strip.
  int64_t columns(const SparseGeometry::Strip& strip) const;

  // From images of channels-last words.
  void fill(const uint32_t* x, const SparseGeometry::Strip& strip, uint32_t* planes,
            uint32_t* row) const;

  // Lines of pixels into which a strip's output falls: all outputs of line r start at pixel
  // first_pixel(strip, r) of y, and at r * pitch in the product.
  int64_t lines(const SparseGeometry::Strip& strip) const;
  int64_t line_width(const SparseGeometry::Strip& strip) const;
  int64_t first_pixel(const SparseGeometry::Strip& strip, int64_t line) const;

 private:
  int64_t border() const;
  int64_t row_stride() const;

  SparseGeometry g_;
  uint32_t pad_, flip_;
  int64_t slack_;
};

inline constexpr int64_t kLineWords = 16;  // of a cache line
constexpr int64_t whole_lines(int64_t words) {
  return (words + kLineWords - 1) / kLineWords * kLineWords;
}

}  // namespace tersor::runtime
