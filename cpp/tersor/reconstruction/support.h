// Weights of a row on a fixed set of inputs, and better sets by swapping; private to
// cpp/tersor/reconstruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::reconstruction {

// values[rows][n] on the kept columns that make (values - target) h (values - target)^T least, 0
// elsewhere: values_S = target_S + (h_SS)^-1 h_SP target_P for kept S and dropped P. h[n][n]
// positive definite; false if rounding says that h_SS is not. values may be target.
bool refit_rows(const double* h, size_t n, const double* target, size_t rows, const uint8_t* mask,
                double* values);

// Exchanges a kept and a dropped column of one row while the exact loss after refitting falls, the
// best pair each time, `most` times at most; inside groups of m columns unless m is 0. mask[n] is
// changed in place. Of equal pairs the first.
void swap_columns(const double* h, size_t n, const double* target, size_t m, int most,
                  uint8_t* mask);

}  // namespace tersor::reconstruction
