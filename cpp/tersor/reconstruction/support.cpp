#include "tersor/reconstruction/support.h"

#include <algorithm>
#include <utility>

#include "tersor/reconstruction/factorize.h"

namespace tersor::reconstruction {
namespace {

std::vector<size_t> columns_of(const uint8_t* mask, size_t n, uint8_t value) {
  std::vector<size_t> out;
  for (size_t j = 0; j < n; ++j) {
    if ((mask[j] != 0) == (value != 0)) out.push_back(j);
  }
  return out;
}

std::vector<double> part(const double* h, size_t n, const std::vector<size_t>& rows,
                         const std::vector<size_t>& columns) {
  std::vector<double> out(rows.size() * columns.size());
  double* at = out.data();
  for (const size_t i : rows) {
    for (const size_t j : columns) *at++ = h[i * n + j];
  }
  return out;
}

// What a swap costs follows from the matrix that is swept on the kept columns S, P the others:
//   a = (h_SS)^-1, c = a h_SP, d = diagonal of h_PP - h_PS a h_SP,
// with the refitted weights w and g = (h (target - w))_P. Without S_i the loss rises by w_i^2 /
// a_ii, then P_k lowers it by (g_k + w_i c_ik / a_ii)^2 / (d_k + c_ik^2 / a_ii).
class Swapper {
 public:
  Swapper(const double* h, size_t n, const double* target, size_t m, const uint8_t* mask)
      : h_(h),
        n_(n),
        m_(m),
        target_(target),
        kept_(columns_of(mask, n, 1)),
        dropped_(columns_of(mask, n, 0)),
        s_(kept_.size()),
        p_(dropped_.size()) {
    ready_ = s_ > 0 && p_ > 0 && sweep();
  }

  bool ready() const { return ready_; }

  // Makes the best swap; false if none lowers the loss.
  bool step() {
    double best = -least_gain_;
    size_t best_i = s_, best_k = p_;
    for (size_t i = 0; i < s_; ++i) {
      const double inverse = 1 / a_[i * s_ + i], f = w_[i] * inverse, cost = w_[i] * f;
      const double* c = &c_[i * p_];
      for (size_t k = 0; k < p_; ++k) {
        if (m_ > 0 && dropped_[k] / m_ != kept_[i] / m_) continue;
        const double g = g_[k] + f * c[k];
        const double change = cost - g * g / (d_[k] + c[k] * c[k] * inverse);
        if (change < best) {
          best = change;
          best_i = i;
          best_k = k;
        }
      }
    }
    if (best_i == s_) return false;
    swap(best_i, best_k);
    return true;
  }

  void write(uint8_t* mask) const {
    for (const size_t j : kept_) mask[j] = 1;
    for (const size_t j : dropped_) mask[j] = 0;
  }

 private:
  bool sweep() {
    a_ = part(h_, n_, kept_, kept_);
    if (!invert_symmetric(a_.data(), s_)) return false;
    const std::vector<double> cross = part(h_, n_, kept_, dropped_);
    c_.assign(s_ * p_, 0.0);
    for (size_t i = 0; i < s_; ++i) {
      double* row = &c_[i * p_];
      for (size_t t = 0; t < s_; ++t) {
        const double a = a_[i * s_ + t];
        const double* x = &cross[t * p_];
        for (size_t k = 0; k < p_; ++k) row[k] += a * x[k];
      }
    }
    d_.resize(p_);
    w_.resize(s_);
    g_.resize(p_);
    for (size_t k = 0; k < p_; ++k) {
      d_[k] = h_[dropped_[k] * n_ + dropped_[k]];
      for (size_t i = 0; i < s_; ++i) d_[k] -= cross[i * p_ + k] * c_[i * p_ + k];
    }
    double power = 0;
    for (size_t i = 0; i < s_; ++i) {
      w_[i] = target_[kept_[i]];
      for (size_t k = 0; k < p_; ++k) w_[i] += c_[i * p_ + k] * target_[dropped_[k]];
      power += target_[kept_[i]] * target_[kept_[i]] * h_[kept_[i] * n_ + kept_[i]];
    }
    for (size_t k = 0; k < p_; ++k) g_[k] = gradient(dropped_[k]);
    least_gain_ = 1e-9 * power;
    return *std::min_element(d_.begin(), d_.end()) > 0;
  }

  // (h (target - w))_j with w as it is.
  double gradient(size_t j) const {
    const double* h = h_ + j * n_;
    double sum = 0;
    for (size_t t = 0; t < n_; ++t) sum += h[t] * target_[t];
    for (size_t i = 0; i < s_; ++i) sum -= h[kept_[i]] * w_[i];
    return sum;
  }

  void swap(size_t i, size_t k) {
    const double inverse = 1 / a_[i * s_ + i], f = w_[i] * inverse;
    const std::vector<double> a_i(&a_[i * s_], &a_[i * s_] + s_);
    const std::vector<double> c_i(&c_[i * p_], &c_[i * p_] + p_);
    for (size_t q = 0; q < p_; ++q) {
      g_[q] += f * c_i[q];
      d_[q] += c_i[q] * c_i[q] * inverse;
    }
    std::vector<double> c(s_), r(p_);
    for (size_t t = 0; t < s_; ++t) {
      if (t != i) c[t] = c_[t * p_ + k] - a_i[t] * inverse * c_i[k];
    }
    const size_t in = dropped_[k], out = kept_[i];
    for (size_t q = 0; q < p_; ++q) r[q] = h_[in * n_ + dropped_[q]];
    for (size_t t = 0; t < s_; ++t) {
      if (t == i) continue;
      const double* h = h_ + kept_[t] * n_;
      for (size_t q = 0; q < p_; ++q) r[q] -= c[t] * h[dropped_[q]];
    }
    const double d = std::max(d_[k], 1e-300), gain = g_[k] / d;
    for (size_t t = 0; t < s_; ++t) {
      if (t == i) continue;
      const double less = a_i[t] * inverse, more = c[t] / d;
      w_[t] -= f * a_i[t] + gain * c[t];
      double *a = &a_[t * s_], *row = &c_[t * p_];
      for (size_t u = 0; u < s_; ++u) a[u] += more * c[u] - less * a_i[u];
      a[i] = -more;
      for (size_t q = 0; q < p_; ++q) row[q] -= less * c_i[q] + more * r[q];
    }
    for (size_t u = 0; u < s_; ++u) a_[i * s_ + u] = -c[u] / d;
    a_[i * s_ + i] = 1 / d;
    w_[i] = gain;
    for (size_t q = 0; q < p_; ++q) {
      c_[i * p_ + q] = r[q] / d;
      d_[q] -= r[q] * r[q] / d;
      g_[q] -= gain * r[q];
    }
    kept_[i] = in;
    dropped_[k] = out;
    d_[k] = h_[out * n_ + out];
    for (size_t t = 0; t < s_; ++t) {
      double sum = 0;
      for (size_t u = 0; u < s_; ++u) sum += a_[t * s_ + u] * h_[out * n_ + kept_[u]];
      c_[t * p_ + k] = sum;
      d_[k] -= sum * h_[out * n_ + kept_[t]];
    }
    g_[k] = gradient(out);
  }

  const double* h_;
  size_t n_, m_;
  const double* target_;
  std::vector<size_t> kept_, dropped_;
  size_t s_, p_;
  bool ready_ = false;
  double least_gain_ = 0;
  std::vector<double> a_, c_, d_, w_, g_;  // [s][s], [s][p], [p], [s], [p]
};

}  // namespace

bool refit_rows(const double* h, size_t n, const double* target, size_t rows, const uint8_t* mask,
                double* values) {
  const std::vector<size_t> kept = columns_of(mask, n, 1), dropped = columns_of(mask, n, 0);
  const size_t s = kept.size();
  std::vector<double> change(rows * s, 0.0);
  for (size_t r = 0; r < rows; ++r) {
    for (const size_t j : dropped) {
      const double t = target[r * n + j];
      for (size_t i = 0; i < s; ++i) change[r * s + i] += t * h[j * n + kept[i]];
    }
  }
  const bool solved =
      s == 0 || solve_symmetric(part(h, n, kept, kept).data(), s, change.data(), rows);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < s; ++i)
      values[r * n + kept[i]] = target[r * n + kept[i]] + (solved ? change[r * s + i] : 0);
    for (const size_t j : dropped) values[r * n + j] = 0;
  }
  return solved;
}

void swap_columns(const double* h, size_t n, const double* target, size_t m, int most,
                  uint8_t* mask) {
  Swapper swapper(h, n, target, m, mask);
  if (!swapper.ready()) return;
  while (most-- > 0 && swapper.step()) {
  }
  swapper.write(mask);
}

}  // namespace tersor::reconstruction
