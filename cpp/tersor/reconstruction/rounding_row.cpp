#include "tersor/reconstruction/rounding_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tersor::reconstruction {
namespace {

// Candidates lie between these shares of the scale that holds the largest magnitude: at 2 bits the
// best one clips more than half of it, and compensation pushes single weights beyond the range.
constexpr double kLeastShare = 0.35, kMostShare = 1.15;
// A trial costs group^2 / 2 products, so larger groups try only the best few by plain rounding.
constexpr size_t kTrialColumns = 128;
constexpr int kTrials = 6;

double clamp_code(double code, double lo, double hi) {
  return std::min(hi, std::max(lo, std::nearbyint(code)));
}

// Nearest float16 value: 11 significant bits, least 2^-24 (subnormal), largest 65504.
double to_half(double x) {
  int exponent;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
  return std::min(65504.0, std::nearbyint(x / unit) * unit);
}

class Row {
 public:
  Row(const RowProblem& problem, const double* w)
      : p_(problem),
        n_(problem.columns),
        lo_(problem.code_min()),
        hi_(problem.code_max()),
        wanted_(n_),
        left_(n_),
        trial_(problem.group),
        step_(problem.group) {
    for (size_t i = 0; i < n_; ++i) wanted_[i] = w[p_.order[i]];
    out_.codes.resize(n_);
    out_.scale.resize(n_);
  }

  RowResult run(double shared) {
    nearest(shared);
    out_.nearest_error = loss();
    left_ = wanted_;
    for (size_t g = 0; g + 1 < p_.starts.size(); ++g) {
      const size_t begin = p_.starts[g], end = p_.starts[g + 1];
      const double scale = shared > 0 ? shared : best_scale(begin, end);
      round_group(begin, end, scale);
    }
    out_.error = loss();
    if (p_.options.sweeps > 0) descend(shared > 0);
    return std::move(out_);
  }

 private:
  // Plain rounding with the scale of least squared error.
  void nearest(double shared) {
    for (size_t g = 0; g + 1 < p_.starts.size(); ++g) {
      const size_t begin = p_.starts[g], end = p_.starts[g + 1];
      double best = std::numeric_limits<double>::infinity(), chosen = shared;
      for (double s : shared > 0 ? std::vector<double>{shared} : candidates(wanted_, begin, end)) {
        double error = 0;
        for (size_t j = begin; j < end; ++j) {
          const double e = wanted_[j] - s * clamp_code(wanted_[j] / s, lo_, hi_);
          error += e * e;
        }
        if (error < best) {
          best = error;
          chosen = s;
        }
      }
      for (size_t j = begin; j < end; ++j) {
        out_.scale[j] = chosen;
        out_.codes[j] = clamp_code(wanted_[j] / chosen, lo_, hi_);
      }
    }
  }

  std::vector<double> candidates(const std::vector<double>& values, size_t begin,
                                 size_t end) const {
    double most = 0;
    for (size_t j = begin; j < end; ++j) {
      // A range that reaches one code further below holds a little more there.
      most = std::max(most, values[j] > 0 ? values[j] / hi_ : values[j] / lo_);
    }
    std::vector<double> out;
    const int count = p_.options.candidates;
    for (int k = 0; k < count; ++k) {
      const double share =
          count == 1 ? 1.0 : kMostShare - (kMostShare - kLeastShare) * k / (count - 1);
      const double s = p_.stored(most * share);
      if (out.empty() || s != out.back()) out.push_back(s);
    }
    return out;
  }

  double best_scale(size_t begin, size_t end) {
    std::vector<double> scales = candidates(left_, begin, end);
    if (end - begin > kTrialColumns && scales.size() > kTrials) screen(begin, end, scales);
    double best = std::numeric_limits<double>::infinity(), chosen = scales[0];
    for (double s : scales) {
      const double loss = trial(begin, end, s, best);
      if (loss < best) {
        best = loss;
        chosen = s;
      }
    }
    return chosen;
  }

  // Keeps the best few by the loss of plain rounding, each column weighted as GPTQ will.
  void screen(size_t begin, size_t end, std::vector<double>& scales) const {
    std::vector<std::pair<double, double>> rated;
    for (double s : scales) {
      double loss = 0;
      for (size_t j = begin; j < end; ++j) {
        const double e =
            (left_[j] - s * clamp_code(left_[j] / s, lo_, hi_)) / p_.factor[j * n_ + j];
        loss += e * e;
      }
      rated.emplace_back(loss, s);
    }
    std::stable_sort(rated.begin(), rated.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    scales.clear();
    for (int k = 0; k < kTrials; ++k) scales.push_back(rated[static_cast<size_t>(k)].second);
  }

  // Loss of rounding the group with scale s; gives up above `limit`.
  double trial(size_t begin, size_t end, double s, double limit) {
    std::copy(left_.begin() + static_cast<ptrdiff_t>(begin),
              left_.begin() + static_cast<ptrdiff_t>(end), trial_.begin());
    double loss = 0;
    for (size_t j = begin; j < end; ++j) {
      const double* u = &p_.factor[j * n_];
      const double v = trial_[j - begin];
      const double e = (v - s * clamp_code(v / s, lo_, hi_)) / u[j];
      loss += e * e;
      if (loss >= limit) return loss;
      for (size_t k = j + 1; k < end; ++k) trial_[k - begin] -= e * u[k];
    }
    return loss;
  }

  void round_group(size_t begin, size_t end, double s) {
    for (size_t j = begin; j < end; ++j) {
      const double* u = &p_.factor[j * n_];
      out_.scale[j] = s;
      out_.codes[j] = clamp_code(left_[j] / s, lo_, hi_);
      const double e = (left_[j] - s * out_.codes[j]) / u[j];
      step_[j - begin] = e;
      for (size_t k = j + 1; k < end; ++k) left_[k] -= e * u[k];
    }
    for (size_t j = begin; j < end; ++j) {
      const double* u = &p_.factor[j * n_];
      const double e = step_[j - begin];
      for (size_t k = end; k < n_; ++k) left_[k] -= e * u[k];
    }
  }

  // gradient_ = (wanted - q) h.
  void find_gradient() {
    gradient_.assign(n_, 0.0);
    for (size_t j = 0; j < n_; ++j) {
      const double e = wanted_[j] - out_.scale[j] * out_.codes[j];
      const double* h = &p_.hessian[j * n_];
      for (size_t k = 0; k < n_; ++k) gradient_[k] += e * h[k];
    }
  }

  // Of the hessian as it was given, without the ridge.
  double loss() {
    find_gradient();
    double sum = 0;
    for (size_t j = 0; j < n_; ++j) {
      const double e = wanted_[j] - out_.scale[j] * out_.codes[j];
      sum += (gradient_[j] - p_.ridge * e) * e;
    }
    return sum;
  }

  void descend(bool fixed_scale) {
    for (int sweep = 0; sweep < p_.options.sweeps; ++sweep) {
      bool moved = false;
      for (size_t j = 0; j < n_; ++j) moved |= improve_code(j);
      if (!fixed_scale) {
        for (size_t g = 0; g + 1 < p_.starts.size(); ++g)
          moved |= improve_scale(p_.starts[g], p_.starts[g + 1]);
      }
      if (!moved) break;
    }
    out_.error = loss();
  }

  // The best code for column j, all others as they are.
  bool improve_code(size_t j) {
    const double* h = &p_.hessian[j * n_];
    const double s = out_.scale[j];
    if (h[j] <= 0) return false;
    const double code = clamp_code(out_.codes[j] + gradient_[j] / (h[j] * s), lo_, hi_);
    const double move = s * (code - out_.codes[j]);
    // The parabola's own gain: never a step on a tie, so the descent ends.
    if (move == 0 || move * (2 * gradient_[j] - move * h[j]) <= 1e-12 * h[j] * s * s) return false;
    out_.codes[j] = code;
    for (size_t k = 0; k < n_; ++k) gradient_[k] -= move * h[k];
    return true;
  }

  // The best scale for a group's codes.
  bool improve_scale(size_t begin, size_t end) {
    double slope = 0, curve = 0;
    for (size_t j = begin; j < end; ++j) {
      if (out_.codes[j] == 0) continue;
      slope += out_.codes[j] * gradient_[j];
      const double* h = &p_.hessian[j * n_];
      double sum = 0;
      for (size_t k = begin; k < end; ++k) sum += h[k] * out_.codes[k];
      curve += out_.codes[j] * sum;
    }
    if (curve <= 0) return false;
    const double old = out_.scale[begin], s = p_.stored(old + slope / curve);
    const double move = s - old;
    if (old + slope / curve <= 0 || move * (2 * slope - move * curve) <= 1e-12 * curve * old * old)
      return false;
    for (size_t j = begin; j < end; ++j) {
      out_.scale[j] = s;
      const double change = move * out_.codes[j];
      if (change == 0) continue;
      const double* h = &p_.hessian[j * n_];
      for (size_t k = 0; k < n_; ++k) gradient_[k] -= change * h[k];
    }
    return true;
  }

  const RowProblem& p_;
  size_t n_;
  double lo_, hi_;
  std::vector<double> wanted_;  // the row
  std::vector<double> left_;    // the row as compensated so far
  std::vector<double> trial_, step_;
  std::vector<double> gradient_;
  RowResult out_;
};

}  // namespace

double RowProblem::stored(double scale) const {
  // A scale of zero would lose the codes; zeros take any scale.
  constexpr double kLeastHalf = 0x1p-24, kLeastFloat = 0x1p-126;
  if (options.half_scales) return std::max(kLeastHalf, to_half(scale));
  return static_cast<double>(static_cast<float>(std::max(kLeastFloat, scale)));
}

RowResult round_row(const RowProblem& problem, const double* w, double shared) {
  return Row(problem, w).run(shared);
}

double shared_scale(const RowProblem& problem, const double* w, size_t rows) {
  const double lo = problem.code_min(), hi = problem.code_max();
  double most = 0, best = std::numeric_limits<double>::infinity(), chosen = 0;
  for (size_t i = 0; i < rows * problem.columns; ++i)
    most = std::max(most, w[i] > 0 ? w[i] / hi : w[i] / lo);
  for (int k = 0; k < problem.options.candidates; ++k) {
    const double share = kMostShare - (kMostShare - kLeastShare) * k / problem.options.candidates;
    const double s = problem.stored(most * share);
    double error = 0;
    for (size_t i = 0; i < rows * problem.columns; ++i) {
      const double e = w[i] - s * clamp_code(w[i] / s, lo, hi);
      error += e * e;
    }
    if (error < best) {
      best = error;
      chosen = s;
    }
  }
  return chosen;
}

}  // namespace tersor::reconstruction
