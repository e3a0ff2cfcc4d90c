// One row of round_matrix (rounding.h); private to cpp/tersor/reconstruction.
#pragma once

#include <cstddef>
#include <vector>

#include "tersor/reconstruction/rounding.h"

namespace tersor::reconstruction {

// What all rows share; columns stand in the order of rounding, groups are consecutive.
struct RowProblem {
  size_t columns = 0, group = 0;
  std::vector<size_t> order;    // original column of each
  std::vector<size_t> starts;   // of each group, and the end: a short one may stand anywhere
  std::vector<double> hessian;  // [columns][columns], with a ridge on its diagonal
  double ridge = 0;
  std::vector<double> factor;  // U of rounding.h, of the damped hessian
  RoundingOptions options;

  double code_min() const { return -(1 << (options.bits - 1)) + (options.narrow ? 1 : 0); }
  double code_max() const { return (1 << (options.bits - 1)) - 1; }
  // A usable scale: positive, at least `least`, and a float16 (or float32) value.
  double stored(double scale, double least = 0) const;
  // A zero point as it is stored.
  double stored_zero(double zero) const;
};

// ValueError, naming the operation, if an option is out of range for a matrix of so many rows.
void check_rounding(const char* operation, const RoundingOptions& options, size_t rows);

// Of the columns where mask[columns] is not 0, or of all without one. ValueError, naming the
// operation, if no damping up to 1 makes the hessian positive definite.
RowProblem row_problem(const char* operation, const double* hessian, size_t columns,
                       const uint8_t* mask, const RoundingOptions& options);

struct RowResult {
  std::vector<double> codes, scale, zero;  // per column
  double error = 0, nearest_error = 0;
};

// w: the row in the original order. shared > 0: the scale to use; else one of at least `least` is
// found per group.
RowResult round_row(const RowProblem& problem, const double* w, double shared, double least);

// The scale of least squared rounding error for a whole matrix, at least `least`.
double shared_scale(const RowProblem& problem, const double* w, size_t rows, double least);

}  // namespace tersor::reconstruction
