// Removal of inputs from rows of weights, one unit after another, by the inverse Hessian; private
// to cpp/tersor/reconstruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::reconstruction {

// a[i * stride + j] -= scaled[i] * v[j] for j <= i < n. Each product is rounded before it is
// subtracted, so variants agree to the last bit.
using subtract_outer_sig = void(double* a, std::size_t stride, const double* scaled,
                                const double* v, std::size_t n) noexcept;

// Rows that share one mask; units are runs of `unit` columns, the last one may be short.
struct RemovalProblem {
  size_t columns = 0, rows = 1, unit = 1;
  const double* inverse = nullptr;  // [columns][columns]: h^-1
  const double* weights = nullptr;  // [rows][columns]
  size_t n = 0, m = 0;              // of every m units in a row, n stay; m 0: none need to
};

struct RemovalTrace {
  std::vector<uint32_t> order;  // units as they go
  std::vector<double> loss;     // what each removal adds to sum (w - t) h (w - t)^T
};

// Hassibi and Stork 1993, "Optimal Brain Surgeon", for every row exactly (Frantar and Alistarh
// 2022, "Optimal Brain Compression", algorithm 1): the unit U with the least loss w_U (h^-1_UU)^-1
// w_U^T goes, the others move by -w_U (h^-1_UU)^-1 h^-1_U:, and h^-1 loses U's part. All units are
// removed, or with N:M all that may be. Of equal losses the first unit goes first.
RemovalTrace trace_removal(const RemovalProblem& problem);

}  // namespace tersor::reconstruction
