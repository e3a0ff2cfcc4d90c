// Second moments of what a linear layer y = W x sees: sum x x^T (half of the Hessian of its squared
// output error), and sum t x^T with what it should give.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/reconstruction/patches.h"

namespace tersor::reconstruction {

// out[i * out_stride + j] += sum over r < rows of a[r * a_stride + i] * b[r * b_stride + j], for
// i < m and j < n. Products are summed in float32 in ascending r, at most kProductRows of them, and
// then added in float64: |error| <= rows * eps * sum_r |a * b|. Every variant may round products
// before adding them or not (fma). Rows of a and b may be read up to kProductPad - 1 values beyond
// m and n.
inline constexpr size_t kProductRows = 256;
inline constexpr size_t kProductPad = 16;
using add_products_sig = void(const float* a, size_t a_stride, const float* b, size_t b_stride,
                              size_t rows, size_t m, size_t n, double* out,
                              size_t out_stride) noexcept;

// Sums for `groups` independent layers of `columns` inputs and `outputs` outputs each (a grouped
// convolution has groups; a depthwise one as many as channels).
//
// The threads share blocks of the sums, each of which is added in the order of the rows: results do
// not depend on their number. Chunks of kProductRows rows are gathered at a time, so a
// convolution's patches are never all in memory.
class TERSOR_API Moments {
 public:
  // ValueError unless groups and columns are at least 1. outputs 0: no targets.
  Moments(size_t groups, size_t columns, size_t outputs, int threads = 0);

  // x[rows][groups * columns]; t[rows][groups * outputs] or nullptr where outputs is 0. ValueError
  // on NaN or infinity.
  void add_rows(const float* x, const float* t, size_t rows);

  // x: `images` images of geometry.input_size() values; t: images of groups * outputs channels of
  // geometry.positions() values (channels first), or nullptr. The rows are the patches of all
  // output positions. ValueError as above, or if the geometry does not give groups * columns.
  void add_patches(const float* x, const float* t, size_t images, const PatchGeometry& geometry);

  size_t groups() const { return groups_; }
  size_t columns() const { return columns_; }
  size_t outputs() const { return outputs_; }
  int64_t rows() const { return rows_; }

  // Sums over all rows so far, group after group: [columns][columns], symmetric; [columns];
  // [outputs][columns]; [outputs]; [outputs] of squares.
  const std::vector<double>& xx() const { return xx_; }
  const std::vector<double>& x() const { return x_; }
  const std::vector<double>& tx() const { return tx_; }
  const std::vector<double>& t() const { return t_; }
  const std::vector<double>& tt() const { return tt_; }

  // Adds the sums of another accumulator of the same sizes. ValueError otherwise.
  void merge(const Moments& other);

 private:
  // Adds rows that lie in the chunk's buffers.
  void add_chunk(size_t rows);
  void add_sums(size_t rows);

  size_t groups_, columns_, outputs_;
  int threads_;
  size_t x_stride_, t_stride_;
  std::vector<float> x_rows_, t_rows_;  // one chunk, zero padded
  std::vector<double> xx_, x_, tx_, t_, tt_;
  int64_t rows_ = 0;
};

}  // namespace tersor::reconstruction
