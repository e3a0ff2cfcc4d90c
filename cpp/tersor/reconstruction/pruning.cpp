#include "tersor/reconstruction/pruning.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/reconstruction/factorize.h"
#include "tersor/reconstruction/obs.h"
#include "tersor/reconstruction/rounding_row.h"
#include "tersor/reconstruction/support.h"

namespace tersor::reconstruction {
namespace {

void check(const char* operation, const double* w, size_t rows, size_t columns, const double* h,
           const PruningOptions& o) {
  TERSOR_CHECK(rows >= 1 && columns >= 1, operation, ": w must not be empty, got ", rows, " x ",
               columns);
  for (size_t i = 0; i < rows * columns; ++i)
    TERSOR_CHECK(std::isfinite(w[i]), operation, ": w must be finite, got ", w[i]);
  for (size_t i = 0; i < columns * columns; ++i)
    TERSOR_CHECK(std::isfinite(h[i]), operation, ": hessian must be finite, got ", h[i]);
  TERSOR_CHECK(mean_diagonal(h, columns) >= 0, operation,
               ": hessian must be positive semidefinite, got a negative diagonal");
  TERSOR_CHECK(o.sparsity >= 0 && o.sparsity <= 1, operation, ": sparsity must be in [0, 1], got ",
               o.sparsity);
  TERSOR_CHECK(o.n <= o.m, operation, ": n must be in [0, m], got ", o.n);
  TERSOR_CHECK(o.block_rows >= 1 && o.block_columns >= 1, operation,
               ": block must be at least (1, 1), got (", o.block_rows, ", ", o.block_columns, ")");
  TERSOR_CHECK(o.damping >= 0 && o.damping <= 1, operation, ": damping must be in [0, 1], got ",
               o.damping);
  TERSOR_CHECK(o.swaps >= 0, operation, ": swaps must be >= 0, got ", o.swaps);
}

// The matrix of one problem, with the Hessian damped until it is positive definite; its inverse is
// for choosing masks only.
struct Matrix {
  Matrix(const char* operation, const double* weights, size_t row_count, size_t column_count,
         const double* h, const PruningOptions& options, bool chooses)
      : w(weights),
        rows(row_count),
        columns(column_count),
        o(options),
        hessian(h, h + columns * columns) {
    check(operation, w, rows, columns, h, o);
    if (mean_diagonal(h, columns) == 0) {
      std::fill(hessian.begin(), hessian.end(), 0.0);
      for (size_t i = 0; i < columns; ++i) hessian[i * columns + i] = 1;
    }
    damped = hessian;
    const double mean = mean_diagonal(hessian.data(), columns);
    double added = 0;
    for (double share = std::max(o.damping, 1e-10); share <= 1.0 + 1e-9; share *= 10) {
      for (size_t i = 0; i < columns; ++i) damped[i * columns + i] += share * mean - added;
      added = share * mean;
      if (chooses) inverse = damped;
      if (chooses ? invert_symmetric(inverse.data(), columns)
                  : solve_symmetric(damped.data(), columns, nullptr, 0))
        return;
    }
    TERSOR_CHECK(false, operation, ": hessian must be positive semidefinite, got one that is not");
  }

  size_t bands() const { return (rows + o.block_rows - 1) / o.block_rows; }
  size_t units() const { return (columns + o.block_columns - 1) / o.block_columns; }  // of a band
  size_t first_row(size_t band) const { return band * o.block_rows; }
  size_t rows_of(size_t band) const {
    return std::min(rows, first_row(band) + o.block_rows) - first_row(band);
  }

  std::vector<RemovalTrace> traces() const {
    std::vector<RemovalTrace> out(bands());
    parallel_tasks(bands(), o.threads, [&](size_t band, int) {
      out[band] = trace_removal({columns, rows_of(band), o.block_columns, inverse.data(),
                                 w + first_row(band) * columns, o.n, o.m});
    });
    return out;
  }

  const double* w;
  size_t rows, columns;
  PruningOptions o;
  std::vector<double> hessian, damped, inverse;
};

// Takes the cheapest next removal of any band, `count` times; calls taken(band, loss).
void take_cheapest(const std::vector<RemovalTrace>& traces, size_t count,
                   const std::function<void(size_t, double)>& taken) {
  using Next = std::tuple<double, size_t, size_t>;  // loss, band, step
  std::priority_queue<Next, std::vector<Next>, std::greater<>> queue;
  for (size_t band = 0; band < traces.size(); ++band) {
    if (!traces[band].loss.empty()) queue.emplace(traces[band].loss[0], band, size_t{0});
  }
  for (; count > 0 && !queue.empty(); --count) {
    const auto [loss, band, step] = queue.top();
    queue.pop();
    taken(band, loss);
    if (step + 1 < traces[band].loss.size())
      queue.emplace(traces[band].loss[step + 1], band, step + 1);
  }
}

// Units that go, per band.
std::vector<size_t> removals(const Matrix& matrix, const std::vector<RemovalTrace>& traces) {
  std::vector<size_t> out(matrix.bands(), 0);
  const auto share = [&](size_t units) {
    return static_cast<size_t>(std::nearbyint(matrix.o.sparsity * static_cast<double>(units)));
  };
  if (matrix.o.m > 0) {
    for (size_t band = 0; band < out.size(); ++band) out[band] = traces[band].order.size();
  } else if (matrix.o.per_row) {
    std::fill(out.begin(), out.end(), share(matrix.units()));
  } else {
    take_cheapest(traces, share(matrix.bands() * matrix.units()),
                  [&](size_t band, double) { ++out[band]; });
  }
  return out;
}

std::vector<uint8_t> chosen_mask(const Matrix& matrix) {
  const size_t columns = matrix.columns, width = matrix.o.block_columns;
  std::vector<uint8_t> mask(matrix.rows * columns, 1);
  const std::vector<RemovalTrace> traces = matrix.traces();
  const std::vector<size_t> counts = removals(matrix, traces);
  for (size_t band = 0; band < counts.size(); ++band) {
    for (size_t k = 0; k < counts[band]; ++k) {
      const size_t first = traces[band].order[k] * width, end = std::min(columns, first + width);
      for (size_t r = 0; r < matrix.rows_of(band); ++r) {
        uint8_t* row = &mask[(matrix.first_row(band) + r) * columns];
        std::fill(row + first, row + end, uint8_t{0});
      }
    }
  }
  if (matrix.o.block_rows == 1 && width == 1 && matrix.o.swaps > 0) {
    parallel_tasks(matrix.rows, matrix.o.threads, [&](size_t r, int) {
      swap_columns(matrix.damped.data(), columns, matrix.w + r * columns, matrix.o.m,
                   matrix.o.swaps, &mask[r * columns]);
    });
  }
  return mask;
}

// trace(e h e^T) for e = w - values.
double error_of(const Matrix& matrix, const std::function<double(size_t)>& value) {
  const size_t n = matrix.columns;
  std::vector<double> sums(matrix.rows), e(matrix.rows * n);
  for (size_t i = 0; i < e.size(); ++i) e[i] = matrix.w[i] - value(i);
  parallel_tasks(matrix.rows, matrix.o.threads, [&](size_t r, int) {
    for (size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (size_t j = 0; j < n; ++j) sum += matrix.hessian[i * n + j] * e[r * n + j];
      sums[r] += sum * e[r * n + i];
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

void round_rows(const Matrix& matrix, const RoundingOptions& rounding,
                const std::vector<double>& wanted, PrunedMatrix& out) {
  const size_t n = matrix.columns;
  const size_t group = rounding.group_size ? std::min(rounding.group_size, n) : n;
  out.groups = (n + group - 1) / group;
  out.codes.assign(matrix.rows * n, 0);
  std::vector<double> scale(matrix.rows * out.groups, 0.0);
  double shared = 0;
  if (rounding.one_scale) {
    RowProblem all;
    all.columns = n;
    all.options = rounding;
    shared = shared_scale(all, wanted.data(), matrix.rows, rounding.least_of_all());
  }
  parallel_tasks(matrix.rows, matrix.o.threads, [&](size_t r, int) {
    const RowProblem problem =
        row_problem("prune_matrix", matrix.hessian.data(), n, &out.mask[r * n], rounding);
    double* scales = &scale[r * out.groups];
    double known = shared;
    if (problem.columns > 0) {
      const RowResult row = round_row(problem, &wanted[r * n], shared, rounding.least_of(r));
      for (size_t i = 0; i < problem.columns; ++i) {
        out.codes[r * n + problem.order[i]] = static_cast<int8_t>(row.codes[i]);
        scales[problem.order[i] / group] = row.scale[i];
        known = std::max(known, row.scale[i]);
      }
    }
    // Groups of which nothing is kept take the largest scale of their row.
    for (size_t g = 0; g < out.groups; ++g) {
      if (scales[g] == 0) scales[g] = problem.stored(known > 0 ? known : 1.0, rounding.least_of(r));
    }
  });
  if (rounding.one_scale) scale.resize(1);
  out.scale.assign(scale.begin(), scale.end());
  for (size_t i = 0; i < out.codes.size(); ++i) {
    const float s =
        rounding.one_scale ? out.scale[0] : out.scale[i / n * out.groups + i % n / group];
    out.values[i] = s * static_cast<float>(out.codes[i]);
  }
}

}  // namespace

PrunedMatrix prune_matrix(const double* w, size_t rows, size_t columns, const double* h,
                          const PruningOptions& options, const RoundingOptions* rounding,
                          const uint8_t* mask) {
  if (rounding) {
    check_rounding("prune_matrix", *rounding, rows);
    TERSOR_CHECK(!rounding->float_zero_point,
                 "prune_matrix: float_zero_point must be false, as dropped weights are 0");
  }
  const Matrix matrix("prune_matrix", w, rows, columns, h, options, mask == nullptr);
  PrunedMatrix out;
  out.mask = mask ? std::vector<uint8_t>(mask, mask + rows * columns) : chosen_mask(matrix);
  std::vector<double> values(rows * columns);
  parallel_tasks(matrix.bands(), options.threads, [&](size_t band, int) {
    // Rows of a given mask need not agree, even in a band.
    const size_t together = mask ? 1 : matrix.rows_of(band), first = matrix.first_row(band);
    for (size_t r = first; r < first + matrix.rows_of(band); r += together) {
      refit_rows(matrix.damped.data(), columns, w + r * columns, together, &out.mask[r * columns],
                 &values[r * columns]);
    }
  });
  out.values.assign(values.begin(), values.end());
  if (rounding) round_rows(matrix, *rounding, values, out);
  out.error = error_of(matrix, [&](size_t i) { return static_cast<double>(out.values[i]); });
  out.masked_error = error_of(matrix, [&](size_t i) { return out.mask[i] ? w[i] : 0; });
  return out;
}

std::vector<double> removal_curve(const double* w, size_t rows, size_t columns, const double* h,
                                  const PruningOptions& options) {
  const Matrix matrix("removal_curve", w, rows, columns, h, options, true);
  const std::vector<RemovalTrace> traces = matrix.traces();
  std::vector<double> out{0.0};
  take_cheapest(traces, std::numeric_limits<size_t>::max(),
                [&](size_t, double loss) { out.push_back(out.back() + loss); });
  return out;
}

}  // namespace tersor::reconstruction
