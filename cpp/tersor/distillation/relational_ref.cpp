#include <cmath>

#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

// Cosine of the angle at i between j and k.
double cosine(const Distances& d, std::size_t n, std::size_t i, std::size_t j, std::size_t k) {
  const double opposite =
      double{d.squared[i * n + j]} + d.squared[i * n + k] - d.squared[j * n + k];
  return 0.5 * opposite * d.inverse[i * n + j] * d.inverse[i * n + k];
}

}  // namespace

void squared_distances_ref(const float* x, std::size_t rows, std::size_t dimensions,
                           std::size_t row, float* out) noexcept {
  for (std::size_t j = 0; j < rows; ++j) {
    double sum = 0;
    for (std::size_t c = 0; c < dimensions; ++c) {
      const double d = double{x[row * dimensions + c]} - x[j * dimensions + c];
      sum += d * d;
    }
    out[j] = static_cast<float>(sum);
  }
}

double angles_of_side_ref(const Distances& student, const Distances& teacher, std::size_t n,
                          std::size_t j, double* side, float* across) noexcept {
  double loss = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double inverse = student.inverse[i * n + j];
    for (std::size_t k = 0; k < n; ++k) {
      const double c = cosine(student, n, i, j, k);
      const double d = c - cosine(teacher, n, i, j, k);
      const double slope = std::fabs(d) <= 1 ? d : std::copysign(1.0, d);
      loss += std::fabs(d) <= 1 ? 0.5 * d * d : std::fabs(d) - 0.5;
      const double product = 0.5 * inverse * student.inverse[i * n + k];
      side[i] += 2 * slope * (product - 0.5 * c * inverse * inverse);
      across[k] -= static_cast<float>(slope * product);
    }
  }
  return loss;
}

void weighted_differences_ref(const float* x, const float* w, std::size_t rows,
                              std::size_t dimensions, std::size_t row, float* g) noexcept {
  for (std::size_t c = 0; c < dimensions; ++c) {
    double sum = 0;
    for (std::size_t j = 0; j < rows; ++j) {
      sum += w[j] * (double{x[row * dimensions + c]} - x[j * dimensions + c]);
    }
    g[c] = static_cast<float>(sum);
  }
}

}  // namespace tersor::distillation
