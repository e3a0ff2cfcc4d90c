#include "tersor/reconstruction/obs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {
namespace {

// The inverse Hessian of what is left is the lower triangle of its leading part: a removed column
// changes places with the last one, so that later steps are cheaper and stay in the cache.
class Removal {
 public:
  explicit Removal(const RemovalProblem& p)
      : p_(p),
        d_(p.columns),
        left_(d_),
        inverse_(d_ * d_),
        weights_(p.weights, p.weights + p.rows * d_),
        place_(d_),
        column_(d_),
        v_(d_),
        scaled_(d_) {
    for (size_t i = 0; i < d_; ++i)
      std::copy(p.inverse + i * d_, p.inverse + i * d_ + i + 1, &inverse_[i * d_]);
    std::iota(place_.begin(), place_.end(), size_t{0});
    std::iota(column_.begin(), column_.end(), size_t{0});
    const size_t units = (d_ + p.unit - 1) / p.unit;
    gone_.resize(units);
    if (p.m > 0) {
      removable_.resize((units + p.m - 1) / p.m);
      for (size_t g = 0; g < removable_.size(); ++g) {
        const size_t length = std::min(units, (g + 1) * p.m) - g * p.m;
        removable_[g] = length - std::min(length, p.n);
      }
    }
  }

  RemovalTrace run() {
    RemovalTrace out;
    for (size_t unit = next(); unit < gone_.size(); unit = next()) {
      double loss = 0;
      for (size_t j = unit * p_.unit; j < end_of(unit); ++j) loss += remove(j);
      gone_[unit] = 1;
      if (p_.m > 0) --removable_[unit / p_.m];
      out.order.push_back(static_cast<uint32_t>(unit));
      out.loss.push_back(loss);
    }
    return out;
  }

 private:
  size_t end_of(size_t unit) const { return std::min(d_, (unit + 1) * p_.unit); }

  double at(size_t i, size_t j) const { return inverse_[std::max(i, j) * d_ + std::min(i, j)]; }

  // Downdates can push what is left of a nearly singular direction below zero.
  static double positive(double x) { return std::max(x, 1e-300); }

  size_t next() {
    size_t best = gone_.size();
    double least = std::numeric_limits<double>::infinity();
    for (size_t unit = 0; unit < gone_.size(); ++unit) {
      if (gone_[unit] || (p_.m > 0 && removable_[unit / p_.m] == 0)) continue;
      const double loss = p_.unit == 1 ? loss_of_column(unit) : loss_of_unit(unit);
      if (loss < least || best == gone_.size()) {
        least = loss;
        best = unit;
      }
    }
    return best;
  }

  double loss_of_column(size_t j) const {
    const size_t i = place_[j];
    double sum = 0;
    for (size_t r = 0; r < p_.rows; ++r) sum += weights_[r * d_ + i] * weights_[r * d_ + i];
    return sum / positive(inverse_[i * d_ + i]);
  }

  // |L^-1 w_U|^2 for h^-1_UU = L L^T.
  double loss_of_unit(size_t unit) {
    const size_t begin = unit * p_.unit, n = end_of(unit) - begin;
    small_.resize(n * n);
    solved_.resize(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double sum = at(place_[begin + i], place_[begin + j]);
        for (size_t k = 0; k < j; ++k) sum -= small_[i * n + k] * small_[j * n + k];
        small_[i * n + j] = i == j ? std::sqrt(positive(sum)) : sum / small_[j * n + j];
      }
    }
    double loss = 0;
    for (size_t r = 0; r < p_.rows; ++r) {
      for (size_t i = 0; i < n; ++i) {
        double value = weights_[r * d_ + place_[begin + i]];
        for (size_t k = 0; k < i; ++k) value -= small_[i * n + k] * solved_[k];
        solved_[i] = value / small_[i * n + i];
        loss += solved_[i] * solved_[i];
      }
    }
    return loss;
  }

  double remove(size_t j) {
    const size_t at_j = place_[j], last = left_ - 1;
    const double pivot = positive(inverse_[at_j * d_ + at_j]);
    for (size_t i = 0; i < left_; ++i) {
      v_[i] = at(i, at_j);
      scaled_[i] = v_[i] / pivot;
    }
    subtract_outer_table.pick()(inverse_.data(), d_, scaled_.data(), v_.data(), left_);
    double loss = 0;
    for (size_t r = 0; r < p_.rows; ++r) {
      double* w = &weights_[r * d_];
      const double own = w[at_j];
      loss += own * own / pivot;
      for (size_t i = 0; i < left_; ++i) w[i] -= own * scaled_[i];
      w[at_j] = w[last];
    }
    for (size_t i = 0; i < at_j; ++i) inverse_[at_j * d_ + i] = inverse_[last * d_ + i];
    for (size_t i = at_j + 1; i < last; ++i) inverse_[i * d_ + at_j] = inverse_[last * d_ + i];
    inverse_[at_j * d_ + at_j] = inverse_[last * d_ + last];
    column_[at_j] = column_[last];
    place_[column_[at_j]] = at_j;
    --left_;
    return loss;
  }

  const RemovalProblem& p_;
  size_t d_, left_;
  std::vector<double> inverse_, weights_;  // [d][d], [rows][d]: the first `left_` places count
  std::vector<size_t> place_, column_;     // of each column, of each place
  std::vector<double> v_, scaled_, small_, solved_;
  std::vector<char> gone_;
  std::vector<size_t> removable_;  // units that may still go, per group of m
};

}  // namespace

RemovalTrace trace_removal(const RemovalProblem& problem) { return Removal(problem).run(); }

}  // namespace tersor::reconstruction
