// Entropy-constrained rounding of a weight matrix: codes that make the layer's output error plus
// the price of their code length small, GPTQ's error propagation included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::reconstruction {

struct RateOptions {
  double price = 0;       // of one bit, in units of the error
  bool reorder = true;    // columns by descending diagonal of the hessian
  double damping = 0.01;  // added to the diagonal, as a share of its mean
  int passes = 2;   // of GPTQ, each with the code lengths that the one before gave; at least 1
  int sweeps = 10;  // most passes of coordinate descent; code lengths follow after each
  int refits = 0;   // how often levels are fitted to the codes and the descent goes on
  bool one_step = false;  // levels keep their ratios: a fit changes one factor for all of them
  int threads = 0;        // 0: tersor::threads()
};

// What codes stand for: scale[row] * level[table of the row][code]. Tables as in QParams::codebook:
// ascending, `tables` of them with k values each, for equal parts of the rows.
struct Levels {
  std::vector<double> level;
  size_t tables = 1;
  std::vector<double> scale;  // one per row; empty: 1

  size_t k() const { return level.size() / tables; }
};

struct TERSOR_API RatedMatrix {
  std::vector<uint8_t> codes;  // [rows][columns]; where a mask is 0: that of level 0
  Levels levels;               // after the last fit
  double error = 0;            // trace((w - q) h (w - q)^T)
  double bits = 0;             // code_bits of all codes
};

// Codes for w[rows][columns] that make
//   trace((w - q) h (w - q)^T) + price * bits
// small; h[columns][columns] symmetric, positive semidefinite; an h of zeros counts as the
// identity.
//
// The code length of a symbol in a row is -log2((n_row(c) + a p(c)) / (n_row + a)), p the share of
// c in the matrix and a = kPriorCount: what an adaptive coder with statistics per row spends.
// Lengths come from the codes of the pass before; each pass of GPTQ (rounding.h) takes for a weight
// the level with the least ((w_j - q_j) / U_jj)^2 + price * length, and coordinate descent the one
// with the least change of error + price * length, all others as they are. With price 0 that is
// GPTQ on any set of levels. Fits set the levels (or their common factor) to the least squares for
// the codes; empty ones stay.
//
// mask[rows][columns], or nullptr: weights where it is 0 become 0, which must then be a level of
// every table; the others make good what that costs.
//
// Rows are independent within a pass, so results do not depend on the number of threads. ValueError
// on values that are not finite, options out of range, or an h that no damping up to 1 makes
// positive definite; UnsupportedError where the library was built without Eigen.
TERSOR_API RatedMatrix round_by_rate(const double* w, size_t rows, size_t columns, const double* h,
                                     size_t groups, const Levels& levels,
                                     const RateOptions& options, const uint8_t* mask = nullptr);

inline constexpr double kPriorCount = 12;

// Bits of codes[rows][columns] < k for an adaptive coder that learns p from the rows so far and
// each row's own shares from its symbols so far: sum of -log2((n_row(c) + a p(c)) / (n_row + a)).
TERSOR_API double code_bits(const uint8_t* codes, size_t rows, size_t columns, size_t k);

}  // namespace tersor::reconstruction
