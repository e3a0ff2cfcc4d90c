// Second-order pruning of a weight matrix: what the output loses without some weights, made good by
// the weights that stay, and the same jointly with rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/reconstruction/rounding.h"

namespace tersor::reconstruction {

// Units are blocks of block_rows x block_columns from the corner of the matrix on, short at its
// ends; they stand in row-major order. 1 x 1: single weights. All rows x the positions of a kernel:
// input channels of a convolution.
struct PruningOptions {
  double sparsity = 0.5;  // of all units, round_half_even(sparsity * units) go; in [0, 1]
  bool per_row = false;   // the same number in every row of units
  size_t n = 0,
         m = 0;  // instead: of every m units in a row, n stay (a short rest keeps min(n, it))
  size_t block_rows = 1, block_columns = 1;
  double damping = 1e-3;  // added to the diagonal, as a share of its mean, in [0, 1]
  int swaps = 100;        // most exchanges per row; single weights only
  int threads = 0;        // 0: tersor::threads()
};

struct TERSOR_API PrunedMatrix {
  std::vector<uint8_t> mask;  // [rows][columns]: 1 where kept
  std::vector<float> values;  // [rows][columns], exactly 0 where dropped
  std::vector<int8_t>
      codes;  // with rounding: [rows][columns], 0 where dropped; values = scale * code
  std::vector<float> scale;  // as of RoundedMatrix
  size_t groups = 1;         // scales per row
  double error = 0;          // trace((w - values) h (w - values)^T)
  double masked_error = 0;   // the same of w with the mask alone
};

// Mask and values for w[rows][columns] that make the error small; h[columns][columns] symmetric,
// positive semidefinite. An h of zeros counts as the identity.
//
// 1. Every row of units is traced by exact Optimal Brain Surgeon (Frantar and Alistarh 2022,
//    "Optimal Brain Compression"): the unit with the least loss goes, the others make it good. Over
//    the rows the cheapest next removal is taken each time (unless per_row or N:M).
// 2. Kept and dropped weights of a row change places while that lowers the exact loss.
// 3. The kept weights are refitted by least squares.
// 4. With rounding, the kept weights are rounded by GPTQ on the support (round_matrix): what
// rounding
//    a weight costs is made good by kept weights only. Group sizes count dropped weights too.
//
// With a mask[rows][columns] (any pattern), only 3 and 4. Results do not depend on the number of
// threads. ValueError on values that are not finite, options out of range, or an h that no damping
// up to 1 makes positive definite; UnsupportedError where the library was built without Eigen.
TERSOR_API PrunedMatrix prune_matrix(const double* w, size_t rows, size_t columns, const double* h,
                                     const PruningOptions& options,
                                     const RoundingOptions* rounding = nullptr,
                                     const uint8_t* mask = nullptr);

// Element k: the error of step 1 after k of the units are gone, from 0 to all (with N:M: to all
// that may go). What k = sparsity * units costs a layer tells how to share a budget between layers.
TERSOR_API std::vector<double> removal_curve(const double* w, size_t rows, size_t columns,
                                             const double* h, const PruningOptions& options);

}  // namespace tersor::reconstruction
