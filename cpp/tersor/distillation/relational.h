// Relational knowledge distillation (Park et al. 2019, "Relational Knowledge Distillation"): the
// geometry of a batch of embeddings, not the embeddings themselves. Student and teacher may differ
// in dimensions. With h(x) = x^2 / 2 for |x| <= 1, |x| - 1/2 beyond:
//
//   distance = mean over all (i, j) of h(d_ij / mean d - d'_ij / mean d')        d_ij = |x_i - x_j|
//   angle    = mean over all (i, j, k) of h(cos_ijk - cos'_ijk)    the angle at x_i between x_j and
//   x_k loss     = distance_weight * distance + angle_weight * angle
//
// d' and cos' are the teacher's. mean d is over the pairs of positive distance; an angle with a
// side of length 0 has cosine 0. Angles are computed from distances (law of cosines), so nothing of
// size rows x rows x dimensions is ever stored.
#pragma once

#include <cstddef>

#include "tersor/base/export.h"

namespace tersor::distillation {

struct Embeddings {
  const float* student = nullptr;  // rows x student_dimensions
  const float* teacher = nullptr;  // rows x teacher_dimensions
  std::size_t rows = 0;
  std::size_t student_dimensions = 0;
  std::size_t teacher_dimensions = 0;
};

// Weights finite and >= 0. The gradient has the student's shape; it may be the student's memory or
// nullptr. The result does not depend on the number of threads. ValueError if a value is NaN or
// infinite.
TERSOR_API double relational_loss(const Embeddings& embeddings, float distance_weight,
                                  float angle_weight, float* gradient);

// out[j] = |x_i - x_j|^2 for all j < rows, i = row: within 2^-20 relative.
using squared_distances_sig = void(const float* x, std::size_t rows, std::size_t dimensions,
                                   std::size_t row, float* out) noexcept;

// Squared distances of one side, row-major, and 1 / distance (0 for distance 0).
struct Distances {
  const float* squared = nullptr;
  const float* inverse = nullptr;
};
// All angles with a side that ends in j, at every vertex i, over all k. Returns the sum of
// h(cos_ijk - cos'_ijk). Adds to side[i] and across[k] their gradient in squared[i][j] (both sides
// of the angle) and in squared[j][k].
using angles_of_side_sig = double(const Distances& student, const Distances& teacher,
                                  std::size_t rows, std::size_t j, double* side,
                                  float* across) noexcept;

// g[c] = sum over j of w[j] * (x[row][c] - x[j][c]).
using weighted_differences_sig = void(const float* x, const float* w, std::size_t rows,
                                      std::size_t dimensions, std::size_t row, float* g) noexcept;

}  // namespace tersor::distillation
