#include "tersor/reconstruction/factorize.h"

#include "tersor/base/config.h"
#include "tersor/base/error.h"

#if TERSOR_HAVE_EIGEN
#include <Eigen/Cholesky>
#include <Eigen/Core>
#endif

namespace tersor::reconstruction {

double mean_diagonal(const double* h, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += h[i * n + i];
  return sum / static_cast<double>(n);
}

#if TERSOR_HAVE_EIGEN

namespace {
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Matrix = Eigen::MatrixXd;
}  // namespace

bool solve_symmetric(const double* h, size_t n, double* x, size_t rows) {
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::Map<const RowMajor> matrix(h, size, size);
  const Eigen::LLT<Matrix> factor(matrix);
  if (factor.info() != Eigen::Success) return false;
  if (rows == 0) return true;
  Eigen::Map<RowMajor> values(x, static_cast<Eigen::Index>(rows), size);
  const Matrix solved = factor.solve(values.transpose());
  values = solved.transpose();
  return true;
}

bool invert_symmetric(double* h, size_t n) {
  const auto size = static_cast<Eigen::Index>(n);
  Eigen::Map<RowMajor> matrix(h, size, size);
  const Eigen::LLT<Matrix> factor(matrix);
  if (factor.info() != Eigen::Success) return false;
  matrix = factor.solve(Matrix::Identity(size, size));
  return true;
}

bool inverse_factor(const double* h, size_t n, std::vector<double>& u) {
  // With both axes reversed, h = L L^T; turned back, h = R R^T for R upper triangular, and
  // h^-1 = R^-T R^-1. One factorization instead of two and an inverse.
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::Map<const RowMajor> matrix(h, size, size);
  const Matrix reversed = matrix.reverse();
  const Eigen::LLT<Matrix> factor(reversed);
  if (factor.info() != Eigen::Success) return false;
  Matrix inverse = Matrix::Identity(size, size);
  factor.matrixL().solveInPlace(inverse);
  u.resize(n * n);
  Eigen::Map<RowMajor>(u.data(), size, size) = inverse.reverse();
  return true;
}

#else

namespace {
[[noreturn]] void refuse() {
  throw UnsupportedError(
      "reconstruction: this build of tersor has no Eigen: install cmeel-eigen and build it anew");
}
}  // namespace

bool solve_symmetric(const double*, size_t, double*, size_t) { refuse(); }
bool invert_symmetric(double*, size_t) { refuse(); }
bool inverse_factor(const double*, size_t, std::vector<double>&) { refuse(); }

#endif

}  // namespace tersor::reconstruction
