// Factorizations of symmetric matrices by Eigen; private to cpp/tersor/reconstruction. Matrices are
// row-major float64. UnsupportedError where the library was built without Eigen.
#pragma once

#include <cstddef>
#include <vector>

namespace tersor::reconstruction {

double mean_diagonal(const double* h, size_t n);

// x[rows][n] becomes x h^-1 for h[n][n] positive definite; false if it is not.
bool solve_symmetric(const double* h, size_t n, double* x, size_t rows);

// h[n][n] becomes its inverse; false, with h undefined, if it is not positive definite.
bool invert_symmetric(double* h, size_t n);

// Upper triangular U[n][n] with h^-1 = U^T U. Of the inverse of h's trailing part from i on, row i
// of U holds the first row divided by the root of the first entry: what GPTQ needs of each step.
// False if h is not positive definite.
bool inverse_factor(const double* h, size_t n, std::vector<double>& u);

}  // namespace tersor::reconstruction
