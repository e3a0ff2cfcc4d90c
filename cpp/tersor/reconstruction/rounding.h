// Second-order rounding of a weight matrix (GPTQ): each weight's rounding error is made good by the
// weights that are not rounded yet, and then weight by weight until no single code can improve.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::reconstruction {

struct RoundingOptions {
  int bits = 4;             // 2..8, signed
  bool narrow = false;      // codes from -(2^(bits-1) - 1) on instead of -2^(bits-1)
  size_t group_size = 0;    // a scale per row and this many columns; 0: one per row
  bool one_scale = false;   // one scale for the matrix; group_size must be 0
  bool half_scales = true;  // scales (and zero points) are float16 values
  // Codes stand for scale * (code - zero point), a float per scale; neither narrow nor one_scale.
  bool float_zero_point = false;
  bool reorder = true;    // groups, and columns inside one, by descending diagonal of the hessian
  double damping = 0.01;  // added to the diagonal, as a share of its mean
  int candidates = 32;    // scales tried per group
  int sweeps = 10;        // most passes of coordinate descent; 0: GPTQ alone
  int threads = 0;        // 0: tersor::threads()
  // Least scale of every row, where something else needs it to be so wide; empty: none.
  std::vector<double> least_scale;

  double least_of(size_t row) const;
  double least_of_all() const;
};

struct TERSOR_API RoundedMatrix {
  std::vector<int8_t> codes;  // [rows][columns]
  std::vector<float> scale;   // [rows][groups], or one
  std::vector<float> zero;    // zero points, as many as scales; empty where all are 0
  size_t groups = 1;          // per row
  double error = 0;           // trace((w - scale * codes) h (w - scale * codes)^T)
  double nearest_error = 0;   // the same of rounding to nearest with the scale of least |w - q|^2

  std::vector<float> values(size_t rows, size_t columns, size_t group_size) const;
};

// Codes and scales for w[rows][columns] that make trace((w - q) h (w - q)^T) small, q = scale *
// (code - zero point); h[columns][columns] symmetric, positive semidefinite. An h of zeros counts
// as the identity.
//
// Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers", algorithm 1, with h = U^-1 U^-T, U upper triangular: column j is rounded to q_j,
// and the later ones of the row move by -(w_j - q_j) / U_jj * U_j,:. The loss that this leaves is
// exactly the sum of ((w_j - q_j) / U_jj)^2, so each group's scale is the candidate that leaves
// least when the group is rounded with it. Coordinate descent then takes for every weight the code
// that is best for the others as they are, and for every group the scale that is best for its
// codes (and the zero point that is best for both), while that lowers the loss.
//
// Rows are independent, so results do not depend on the number of threads. ValueError on values
// that are not finite, options out of range, or an h that no damping up to 1 makes positive
// definite; UnsupportedError where the library was built without Eigen.
TERSOR_API RoundedMatrix round_matrix(const double* w, size_t rows, size_t columns, const double* h,
                                      const RoundingOptions& options);

}  // namespace tersor::reconstruction
