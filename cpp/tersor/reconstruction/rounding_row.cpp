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
  Row(const RowProblem& problem, const double* w, double least)
      : p_(problem),
        least_(least),
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
    out_.zero.resize(n_);
  }

  RowResult run(double shared) {
    nearest(shared);
    out_.nearest_error = loss();
    left_ = wanted_;
    for (size_t g = 0; g + 1 < p_.starts.size(); ++g) {
      const size_t begin = p_.starts[g], end = p_.starts[g + 1];
      round_group(begin, end, shared > 0 ? Grid{shared} : best_grid(begin, end));
    }
    out_.error = loss();
    if (p_.options.sweeps > 0) descend(shared > 0);
    return std::move(out_);
  }

 private:
  // What the codes of a group stand for: scale * (code - zero).
  struct Grid {
    double scale, zero = 0;
  };

  double code_of(double x, const Grid& g) const {
    return clamp_code(x / g.scale + g.zero, lo_, hi_);
  }
  double rest(double x, const Grid& g) const { return x - g.scale * (code_of(x, g) - g.zero); }
  double level(size_t j) const { return out_.codes[j] - out_.zero[j]; }

  // Plain rounding with the scale of least squared error.
  void nearest(double shared) {
    for (size_t g = 0; g + 1 < p_.starts.size(); ++g) {
      const size_t begin = p_.starts[g], end = p_.starts[g + 1];
      double best = std::numeric_limits<double>::infinity();
      Grid chosen{shared};
      for (const Grid& g :
           shared > 0 ? std::vector<Grid>{{shared}} : candidates(wanted_, begin, end)) {
        double error = 0;
        for (size_t j = begin; j < end; ++j) {
          const double e = rest(wanted_[j], g);
          error += e * e;
        }
        if (error < best) {
          best = error;
          chosen = g;
        }
      }
      for (size_t j = begin; j < end; ++j) set(j, chosen, code_of(wanted_[j], chosen));
    }
  }

  void set(size_t j, const Grid& g, double code) {
    out_.scale[j] = g.scale;
    out_.zero[j] = g.zero;
    out_.codes[j] = code;
  }

  std::vector<Grid> candidates(const std::vector<double>& values, size_t begin, size_t end) const {
    if (p_.options.float_zero_point) return zero_candidates(values, begin, end);
    double most = 0;
    for (size_t j = begin; j < end; ++j) {
      // A range that reaches one code further below holds a little more there.
      most = std::max(most, values[j] > 0 ? values[j] / hi_ : values[j] / lo_);
    }
    std::vector<Grid> out;
    for (int k = 0; k < p_.options.candidates; ++k) {
      const double s = p_.stored(most * share(k), least_);
      if (out.empty() || s != out.back().scale) out.push_back({s});
    }
    return out;
  }

  double share(int k) const {
    const int count = p_.options.candidates;
    return count == 1 ? 1.0 : kMostShare - (kMostShare - kLeastShare) * k / (count - 1);
  }

  // Ranges around the middle of the group's.
  std::vector<Grid> zero_candidates(const std::vector<double>& values, size_t begin,
                                    size_t end) const {
    double lo = values[begin], hi = lo;
    for (size_t j = begin; j < end; ++j) {
      lo = std::min(lo, values[j]);
      hi = std::max(hi, values[j]);
    }
    // Beyond, zero points would lose the bits that tell codes apart (quantization/qparams.h).
    const double floor =
        std::max(std::fabs(lo), std::fabs(hi)) / (p_.options.half_scales ? 0x1p9 : 0x1p20);
    std::vector<Grid> out;
    for (int k = 0; k < p_.options.candidates; ++k) {
      const double s = p_.stored(std::max(floor, (hi - lo) * share(k) / (hi_ - lo_)), least_);
      if (out.empty() || s != out.back().scale) out.push_back({s, zero_for(lo, hi, s)});
    }
    return out;
  }

  // The middle of the values on the middle of the codes.
  double zero_for(double lo, double hi, double s) const {
    return p_.stored_zero(0.5 * (lo_ + hi_) - 0.5 * (lo + hi) / s);
  }

  Grid best_grid(size_t begin, size_t end) {
    std::vector<Grid> grids = candidates(left_, begin, end);
    if (end - begin > kTrialColumns && grids.size() > kTrials) screen(begin, end, grids);
    double best = std::numeric_limits<double>::infinity();
    Grid chosen = grids[0];
    for (const Grid& g : grids) {
      const double loss = trial(begin, end, g, best);
      if (loss < best) {
        best = loss;
        chosen = g;
      }
    }
    return chosen;
  }

  // Keeps the best few by the loss of plain rounding, each column weighted as GPTQ will.
  void screen(size_t begin, size_t end, std::vector<Grid>& grids) const {
    std::vector<std::pair<double, Grid>> rated;
    for (const Grid& g : grids) {
      double loss = 0;
      for (size_t j = begin; j < end; ++j) {
        const double e = rest(left_[j], g) / p_.factor[j * n_ + j];
        loss += e * e;
      }
      rated.emplace_back(loss, g);
    }
    std::stable_sort(rated.begin(), rated.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    grids.clear();
    for (int k = 0; k < kTrials; ++k) grids.push_back(rated[static_cast<size_t>(k)].second);
  }

  // Loss of rounding the group so; gives up above `limit`.
  double trial(size_t begin, size_t end, const Grid& g, double limit) {
    std::copy(left_.begin() + static_cast<ptrdiff_t>(begin),
              left_.begin() + static_cast<ptrdiff_t>(end), trial_.begin());
    double loss = 0;
    for (size_t j = begin; j < end; ++j) {
      const double* u = &p_.factor[j * n_];
      const double e = rest(trial_[j - begin], g) / u[j];
      loss += e * e;
      if (loss >= limit) return loss;
      for (size_t k = j + 1; k < end; ++k) trial_[k - begin] -= e * u[k];
    }
    return loss;
  }

  void round_group(size_t begin, size_t end, const Grid& g) {
    for (size_t j = begin; j < end; ++j) {
      const double* u = &p_.factor[j * n_];
      set(j, g, code_of(left_[j], g));
      const double e = (left_[j] - g.scale * level(j)) / u[j];
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
      const double e = wanted_[j] - out_.scale[j] * level(j);
      const double* h = &p_.hessian[j * n_];
      for (size_t k = 0; k < n_; ++k) gradient_[k] += e * h[k];
    }
  }

  // Of the hessian as it was given, without the ridge.
  double loss() {
    find_gradient();
    double sum = 0;
    for (size_t j = 0; j < n_; ++j) {
      const double e = wanted_[j] - out_.scale[j] * level(j);
      sum += (gradient_[j] - p_.ridge * e) * e;
    }
    return sum;
  }

  void descend(bool fixed_scale) {
    for (int sweep = 0; sweep < p_.options.sweeps; ++sweep) {
      bool moved = false;
      for (size_t j = 0; j < n_; ++j) moved |= improve_code(j);
      if (!fixed_scale) {
        for (size_t g = 0; g + 1 < p_.starts.size(); ++g) {
          moved |= improve_scale(p_.starts[g], p_.starts[g + 1]);
          if (p_.options.float_zero_point) moved |= improve_zero(p_.starts[g], p_.starts[g + 1]);
        }
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
      if (level(j) == 0) continue;
      slope += level(j) * gradient_[j];
      const double* h = &p_.hessian[j * n_];
      double sum = 0;
      for (size_t k = begin; k < end; ++k) sum += h[k] * level(k);
      curve += level(j) * sum;
    }
    if (curve <= 0) return false;
    const double old = out_.scale[begin], s = p_.stored(old + slope / curve, least_);
    const double move = s - old;
    if (old + slope / curve <= 0 || move * (2 * slope - move * curve) <= 1e-12 * curve * old * old)
      return false;
    for (size_t j = begin; j < end; ++j) {
      out_.scale[j] = s;
      const double change = move * level(j);
      if (change == 0) continue;
      const double* h = &p_.hessian[j * n_];
      for (size_t k = 0; k < n_; ++k) gradient_[k] -= change * h[k];
    }
    return true;
  }

  // The best zero point for a group's codes and scale.
  bool improve_zero(size_t begin, size_t end) {
    double slope = 0, curve = 0;
    for (size_t j = begin; j < end; ++j) {
      slope += gradient_[j];
      const double* h = &p_.hessian[j * n_];
      for (size_t k = begin; k < end; ++k) curve += h[k];
    }
    const double s = out_.scale[begin], old = out_.zero[begin];
    if (curve <= 0) return false;
    const double zero = p_.stored_zero(old - slope / curve / s);
    const double move = -s * (zero - old);  // of every value of the group
    if (move * (2 * slope - move * curve) <= 1e-12 * curve * s * s) return false;
    for (size_t j = begin; j < end; ++j) {
      out_.zero[j] = zero;
      const double* h = &p_.hessian[j * n_];
      for (size_t k = 0; k < n_; ++k) gradient_[k] -= move * h[k];
    }
    return true;
  }

  const RowProblem& p_;
  double least_;
  size_t n_;
  double lo_, hi_;
  std::vector<double> wanted_;  // the row
  std::vector<double> left_;    // the row as compensated so far
  std::vector<double> trial_, step_;
  std::vector<double> gradient_;
  RowResult out_;
};

}  // namespace

double RowProblem::stored(double scale, double least) const {
  // A scale of zero would lose the codes; zeros take any scale.
  constexpr double kLeastHalf = 0x1p-24, kLeastFloat = 0x1p-126;
  const double s = std::max(scale, least);
  if (options.half_scales) {
    const double half = std::max(kLeastHalf, to_half(s));
    return half < least ? to_half(half * (1 + 0x1p-10)) : half;
  }
  const auto single = static_cast<float>(std::max(kLeastFloat, s));
  return static_cast<double>(static_cast<double>(single) < least ? std::nextafter(single, INFINITY)
                                                                 : single);
}

double RowProblem::stored_zero(double zero) const {
  return options.half_scales ? std::copysign(to_half(std::fabs(zero)), zero)
                             : static_cast<double>(static_cast<float>(zero));
}

RowResult round_row(const RowProblem& problem, const double* w, double shared, double least) {
  return Row(problem, w, least).run(shared);
}

double shared_scale(const RowProblem& problem, const double* w, size_t rows, double least) {
  const double lo = problem.code_min(), hi = problem.code_max();
  double most = 0, best = std::numeric_limits<double>::infinity(), chosen = 0;
  for (size_t i = 0; i < rows * problem.columns; ++i)
    most = std::max(most, w[i] > 0 ? w[i] / hi : w[i] / lo);
  for (int k = 0; k < problem.options.candidates; ++k) {
    const double share = kMostShare - (kMostShare - kLeastShare) * k / problem.options.candidates;
    const double s = problem.stored(most * share, least);
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
