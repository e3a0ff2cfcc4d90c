// Copies of strided views as few, long runs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/tensor/shape.h"

namespace tersor::runtime {

// dst[sum i_k * to_k] = src[sum i_k * from_k] for all indices below `sizes`; strides in elements,
// any sign; no two elements of dst coincide. Made once, run often: dimensions that both sides walk
// alike are merged, and a transposition goes through square blocks that fit L1.
class StridedCopy {
 public:
  StridedCopy(const Shape& sizes, const Shape& from, const Shape& to, size_t element_bytes);
  void run(const void* src, void* dst) const;
  int64_t elements() const { return elements_; }

 private:
  void run_inner(const char* src, char* dst) const;

  size_t bytes_;
  int64_t elements_;
  Shape sizes_, from_, to_;  // outer dimensions, in bytes
  // The innermost two: rows x columns. A run of bytes when contiguous_.
  int64_t rows_ = 1, columns_ = 1;
  int64_t row_from_ = 0, row_to_ = 0, column_from_ = 0, column_to_ = 0;  // bytes
  bool contiguous_ = false;
};

}  // namespace tersor::runtime
