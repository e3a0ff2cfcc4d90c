#include "tersor/reconstruction/normal_equations.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/reconstruction/factorize.h"

namespace tersor::reconstruction {
namespace {

// Variance as a share of the mean square below which an input counts as constant.
constexpr double kNoise = 0x1p-18;

std::vector<double> scaled(const double* sums, size_t n, double factor) {
  std::vector<double> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = sums[i] * factor;
  return out;
}

}  // namespace

NormalEquations normal_equations(const Moments& moments, size_t group, const float* weights,
                                 size_t outputs, const NormalOptions& options) {
  TERSOR_CHECK(moments.rows() > 0, "normal_equations: moments must hold rows, got none");
  TERSOR_CHECK(group < moments.groups(), "normal_equations: group must be below ", moments.groups(),
               ", got ", group);
  TERSOR_CHECK(moments.outputs() == 0 || moments.outputs() == outputs,
               "normal_equations: outputs must be ", moments.outputs(), ", got ", outputs);
  TERSOR_CHECK(std::isfinite(options.ridge) && options.ridge >= 0,
               "normal_equations: ridge must be finite and >= 0, got ", options.ridge);
  const size_t d = moments.columns();
  const double share = 1.0 / static_cast<double>(moments.rows());
  NormalEquations out;
  out.outputs = outputs;
  out.columns = d;
  out.input_mean = scaled(&moments.x()[group * d], d, share);
  out.hessian = scaled(&moments.xx()[group * d * d], d * d, share);
  const bool has_targets = moments.outputs() > 0;
  std::vector<double> cross;
  if (has_targets) {
    out.target_mean = scaled(&moments.t()[group * outputs], outputs, share);
    cross = scaled(&moments.tx()[group * outputs * d], outputs * d, share);
  } else {
    out.target_mean.assign(outputs, 0.0);
    for (size_t o = 0; o < outputs; ++o) {
      for (size_t j = 0; j < d; ++j)
        out.target_mean[o] += static_cast<double>(weights[o * d + j]) * out.input_mean[j];
    }
  }
  if (options.centred) {
    for (size_t i = 0; i < d; ++i) {
      for (size_t j = 0; j < d; ++j)
        out.hessian[i * d + j] -= out.input_mean[i] * out.input_mean[j];
    }
    for (size_t o = 0; has_targets && o < outputs; ++o) {
      for (size_t j = 0; j < d; ++j) cross[o * d + j] -= out.target_mean[o] * out.input_mean[j];
    }
    // An input that hardly varies: what sums in float32 leave of its variance is noise.
    for (size_t i = 0; i < d; ++i) {
      if (out.hessian[i * d + i] > kNoise * share * moments.xx()[group * d * d + i * d + i])
        continue;
      for (size_t j = 0; j < d; ++j) out.hessian[i * d + j] = out.hessian[j * d + i] = 0;
      for (size_t o = 0; has_targets && o < outputs; ++o) cross[o * d + i] = 0;
    }
  }
  out.target.assign(weights, weights + outputs * d);
  // (target - w) (H + ridge) = cross - w H: the solution of least change.
  for (size_t o = 0; has_targets && o < outputs; ++o) {
    for (size_t j = 0; j < d; ++j) {
      double sum = 0;
      for (size_t k = 0; k < d; ++k)
        sum += static_cast<double>(weights[o * d + k]) * out.hessian[k * d + j];
      cross[o * d + j] -= sum;
    }
  }
  // Products were rounded to float32: where the mean dwarfs the variance, what is left of the
  // difference may be anything of that size, and no row of H must sum to less than 0.
  const double rounding = 0x1p-23 * static_cast<double>(d);
  for (size_t i = 0; i < d; ++i) {
    out.hessian[i * d + i] += rounding * share * moments.xx()[group * d * d + i * d + i];
  }
  if (!has_targets) return out;
  for (double part = options.ridge; part <= 1e3; part = std::max(1e-9, part * 10)) {
    std::vector<double> damped = out.hessian, change = cross;
    const double ridge = part * mean_diagonal(out.hessian.data(), d);
    for (size_t i = 0; i < d; ++i) damped[i * d + i] += ridge;
    if (!solve_symmetric(damped.data(), d, change.data(), outputs)) continue;
    for (size_t i = 0; i < outputs * d; ++i) out.target[i] += change[i];
    break;  // without any solution nothing can be told, and the weights stay
  }
  return out;
}

std::vector<double> best_bias(const NormalEquations& problem, const float* weights) {
  std::vector<double> bias = problem.target_mean;
  for (size_t o = 0; o < problem.outputs; ++o) {
    for (size_t j = 0; j < problem.columns; ++j)
      bias[o] -= static_cast<double>(weights[o * problem.columns + j]) * problem.input_mean[j];
  }
  return bias;
}

double output_error(const double* a, const float* b, size_t outputs, size_t columns,
                    const double* hessian) {
  double total = 0;
  std::vector<double> e(columns);
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t j = 0; j < columns; ++j)
      e[j] = a[o * columns + j] - static_cast<double>(b[o * columns + j]);
    for (size_t i = 0; i < columns; ++i) {
      double sum = 0;
      for (size_t j = 0; j < columns; ++j) sum += hessian[i * columns + j] * e[j];
      total += e[i] * sum;
    }
  }
  return total;
}

}  // namespace tersor::reconstruction
