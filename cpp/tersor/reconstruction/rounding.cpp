#include "tersor/reconstruction/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/reconstruction/factorize.h"
#include "tersor/reconstruction/rounding_row.h"

namespace tersor::reconstruction {
namespace {

void check_finite(const double* x, size_t n, const char* name) {
  for (size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(std::isfinite(x[i]), "round_matrix: ", name, " must be finite, got ", x[i]);
  }
}

// Columns in the order of rounding: groups stay together.
std::vector<size_t> rounding_order(const double* h, size_t columns, size_t group, bool reorder) {
  std::vector<size_t> order(columns);
  std::iota(order.begin(), order.end(), size_t{0});
  if (!reorder) return order;
  const size_t groups = (columns + group - 1) / group;
  std::vector<double> weight(groups, 0.0);
  for (size_t g = 0; g < groups; ++g) {
    const size_t end = std::min(columns, (g + 1) * group);
    for (size_t j = g * group; j < end; ++j) weight[g] += h[j * columns + j];
    weight[g] /= static_cast<double>(end - g * group);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const size_t ga = a / group, gb = b / group;
    if (ga != gb) return weight[ga] != weight[gb] ? weight[ga] > weight[gb] : ga < gb;
    return h[a * columns + a] > h[b * columns + b];
  });
  return order;
}

std::vector<double> permuted(const double* h, size_t columns, const std::vector<size_t>& order) {
  const size_t n = order.size();
  std::vector<double> out(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) out[i * n + j] = h[order[i] * columns + order[j]];
  }
  return out;
}

// Raises the diagonal until the factorization exists.
std::vector<double> damped_factor(const char* operation, std::vector<double> h, size_t n,
                                  double damping) {
  const double mean = mean_diagonal(h.data(), n);
  std::vector<double> u;
  double added = 0;
  for (double share = std::max(damping, 1e-10); share <= 1.0 + 1e-9; share *= 10) {
    for (size_t i = 0; i < n; ++i) h[i * n + i] += share * mean - added;
    added = share * mean;
    if (inverse_factor(h.data(), n, u)) return u;
  }
  TERSOR_CHECK(false, operation, ": hessian must be positive semidefinite, got one that is not");
  return u;
}

}  // namespace

double RoundingOptions::least_of(size_t row) const {
  return least_scale.empty() ? 0 : least_scale[row];
}

double RoundingOptions::least_of_all() const {
  return least_scale.empty() ? 0 : *std::max_element(least_scale.begin(), least_scale.end());
}

void check_rounding(const char* operation, const RoundingOptions& o, size_t rows) {
  TERSOR_CHECK(o.bits >= 2 && o.bits <= 8, operation, ": bits must be in [2, 8], got ", o.bits);
  TERSOR_CHECK(!o.one_scale || o.group_size == 0, operation,
               ": group_size must be 0 where one scale holds for all, got ", o.group_size);
  TERSOR_CHECK(!o.float_zero_point || (!o.one_scale && !o.narrow), operation,
               ": float_zero_point must be without narrow and one_scale, got both");
  const std::vector<double>& least = o.least_scale;
  TERSOR_CHECK(least.empty() || least.size() == rows, operation, ": least_scale must have ", rows,
               " elements, got ", least.size());
  for (double s : least) {
    TERSOR_CHECK(std::isfinite(s) && s >= 0, operation,
                 ": least_scale must be finite and >= 0, got ", s);
  }
  TERSOR_CHECK(o.damping >= 0 && o.damping <= 1, operation, ": damping must be in [0, 1], got ",
               o.damping);
  TERSOR_CHECK(o.candidates >= 1 && o.candidates <= 1000, operation,
               ": candidates must be in [1, 1000], got ", o.candidates);
  TERSOR_CHECK(o.sweeps >= 0, operation, ": sweeps must be >= 0, got ", o.sweeps);
}

RowProblem row_problem(const char* operation, const double* hessian, size_t columns,
                       const uint8_t* mask, const RoundingOptions& options) {
  const size_t group = options.group_size ? std::min(options.group_size, columns) : columns;
  RowProblem problem;
  problem.group = group;
  for (const size_t j : rounding_order(hessian, columns, group, options.reorder)) {
    if (!mask || mask[j]) problem.order.push_back(j);
  }
  const size_t n = problem.order.size();
  problem.columns = n;
  for (size_t i = 0; i < n; ++i) {
    if (i == 0 || problem.order[i] / group != problem.order[i - 1] / group)
      problem.starts.push_back(i);
  }
  problem.starts.push_back(n);
  problem.options = options;
  problem.hessian = permuted(hessian, columns, problem.order);
  if (n > 0) problem.factor = damped_factor(operation, problem.hessian, n, options.damping);
  // Directions that the samples do not show must not decide: a trace of the damping stays.
  problem.ridge = 0.1 * options.damping * mean_diagonal(hessian, columns);
  for (size_t i = 0; i < n; ++i) problem.hessian[i * n + i] += problem.ridge;
  return problem;
}

std::vector<float> RoundedMatrix::values(size_t rows, size_t columns, size_t group_size) const {
  std::vector<float> out(rows * columns);
  const size_t group = group_size ? group_size : std::max<size_t>(1, columns);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < columns; ++j) {
      const size_t at = scale.size() == 1 ? 0 : r * groups + j / group;
      const float z = zero.empty() ? 0.0f : zero[at];
      out[r * columns + j] = scale[at] * (static_cast<float>(codes[r * columns + j]) - z);
    }
  }
  return out;
}

RoundedMatrix round_matrix(const double* w, size_t rows, size_t columns, const double* h,
                           const RoundingOptions& options) {
  check_rounding("round_matrix", options, rows);
  TERSOR_CHECK(rows >= 1 && columns >= 1, "round_matrix: w must not be empty, got ", rows, " x ",
               columns);
  check_finite(w, rows * columns, "w");
  check_finite(h, columns * columns, "hessian");
  std::vector<double> hessian(h, h + columns * columns);
  TERSOR_CHECK(mean_diagonal(h, columns) >= 0,
               "round_matrix: hessian must be positive semidefinite, got a negative diagonal");
  if (mean_diagonal(h, columns) == 0) {
    std::fill(hessian.begin(), hessian.end(), 0.0);
    for (size_t i = 0; i < columns; ++i) hessian[i * columns + i] = 1;
  }
  const size_t group = options.group_size ? std::min(options.group_size, columns) : columns;
  const RowProblem problem = row_problem("round_matrix", hessian.data(), columns, nullptr, options);

  RoundedMatrix out;
  out.groups = (columns + group - 1) / group;
  out.codes.resize(rows * columns);
  std::vector<double> scale(rows * out.groups), zero(scale.size()), nearest(rows), error(rows);
  double shared = 0;
  if (options.one_scale) shared = shared_scale(problem, w, rows, options.least_of_all());
  parallel_tasks(rows, options.threads, [&](size_t r, int) {
    RowResult row = round_row(problem, w + r * columns, shared, options.least_of(r));
    for (size_t i = 0; i < columns; ++i) {
      out.codes[r * columns + problem.order[i]] = static_cast<int8_t>(row.codes[i]);
    }
    for (size_t g = 0; g < out.groups; ++g) {
      const size_t first = problem.starts[g];
      scale[r * out.groups + problem.order[first] / group] = row.scale[first];
      zero[r * out.groups + problem.order[first] / group] = row.zero[first];
    }
    error[r] = row.error;
    nearest[r] = row.nearest_error;
  });
  if (options.one_scale) scale.resize(1);
  out.scale.assign(scale.begin(), scale.end());
  if (options.float_zero_point) out.zero.assign(zero.begin(), zero.end());
  out.error = std::accumulate(error.begin(), error.end(), 0.0);
  out.nearest_error = std::accumulate(nearest.begin(), nearest.end(), 0.0);
  return out;
}

}  // namespace tersor::reconstruction
