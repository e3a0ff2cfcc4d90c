#include "tersor/reconstruction/rate_rounding.h"

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

// Of levels beyond these the nearest ones and the cheapest are tried: no other can be best by much.
constexpr size_t kTriedAll = 24;
constexpr size_t kTriedBeside = 3;

void check(const double* w, size_t rows, size_t columns, const double* h, size_t groups,
           const Levels& levels, const RateOptions& o, const uint8_t* mask) {
  const char* op = "round_by_rate";
  TERSOR_CHECK(rows >= 1 && columns >= 1, op, ": w must not be empty, got ", rows, " x ", columns);
  TERSOR_CHECK(groups >= 1 && rows % groups == 0, op, ": groups must divide ", rows, " rows, got ",
               groups);
  TERSOR_CHECK(std::isfinite(o.price) && o.price >= 0, op, ": price must be finite and >= 0, got ",
               o.price);
  TERSOR_CHECK(o.damping >= 0 && o.damping <= 1, op, ": damping must be in [0, 1], got ",
               o.damping);
  TERSOR_CHECK(o.passes >= 1 && o.sweeps >= 0 && o.refits >= 0, op,
               ": passes must be >= 1, sweeps and refits >= 0, got ", o.passes, ", ", o.sweeps,
               " and ", o.refits);
  TERSOR_CHECK(levels.tables >= 1 && levels.tables <= rows &&
                   (levels.tables - 1) * ((rows + levels.tables - 1) / levels.tables) < rows,
               op, ": levels must have tables for equal parts of ", rows, " rows, got ",
               levels.tables);
  const size_t k = levels.level.size() / levels.tables;
  TERSOR_CHECK(k >= 1 && k <= 256 && k * levels.tables == levels.level.size(), op,
               ": levels must have 1 to 256 values for each of ", levels.tables, " tables, got ",
               levels.level.size());
  for (size_t i = 0; i < levels.level.size(); ++i) {
    TERSOR_CHECK(
        std::isfinite(levels.level[i]) && (i % k == 0 || levels.level[i - 1] <= levels.level[i]),
        op, ": levels must be finite and ascend, got ", levels.level[i], " at ", i);
  }
  TERSOR_CHECK(levels.scale.empty() || levels.scale.size() == rows, op, ": scale must have ", rows,
               " elements, got ", levels.scale.size());
  for (double s : levels.scale)
    TERSOR_CHECK(std::isfinite(s) && s > 0, op, ": scale must be finite and > 0, got ", s);
  const auto finite = [&](const double* x, size_t n, const char* name) {
    for (size_t i = 0; i < n; ++i)
      TERSOR_CHECK(std::isfinite(x[i]), op, ": ", name, " must be finite, got ", x[i]);
  };
  finite(w, rows * columns, "w");
  finite(h, groups * columns * columns, "hessian");
  for (size_t g = 0; g < groups; ++g) {
    TERSOR_CHECK(mean_diagonal(h + g * columns * columns, columns) >= 0, op,
                 ": hessian must be positive semidefinite, got a negative diagonal");
  }
  if (!mask) return;
  for (size_t t = 0; t < levels.tables; ++t) {
    const auto begin = levels.level.begin() + static_cast<ptrdiff_t>(t * k);
    TERSOR_CHECK(std::count(begin, begin + static_cast<ptrdiff_t>(k), 0.0) > 0, op,
                 ": levels must hold 0 where a mask is given, got a table without");
  }
}

// Code lengths of one row in bits.
class Lengths {
 public:
  explicit Lengths(size_t k) : bits_(k, 0.0) {}

  // p: shares of the symbols in the matrix; counts of the row sum up to n.
  void set(const std::vector<double>& p, const uint32_t* counts, double n) {
    for (size_t c = 0; c < bits_.size(); ++c)
      bits_[c] = -std::log2((counts[c] + kPriorCount * p[c]) / (n + kPriorCount));
  }
  const double* data() const { return bits_.data(); }

 private:
  std::vector<double> bits_;
};

// One row: what is wanted, and the codes so far. Columns in the order of rounding.
class RatedRow {
 public:
  RatedRow(const RowProblem& problem, const double* w, const uint8_t* mask, double scale, size_t k)
      : p_(problem), n_(problem.columns), k_(k), scale_(scale), wanted_(n_), codes_(n_, 0) {
    for (size_t i = 0; i < n_; ++i) {
      wanted_[i] = w[p_.order[i]];
      if (!mask || mask[p_.order[i]]) kept_.push_back(i);
    }
  }

  bool is_masked() const { return kept_.size() < n_; }
  const std::vector<size_t>& kept() const { return kept_; }
  const std::vector<uint8_t>& codes() const { return codes_; }
  void drop_all(uint8_t zero) { std::fill(codes_.begin(), codes_.end(), zero); }

  // GPTQ with prices.
  void round(const double* level, const double* bits, double price) {
    if (is_masked()) return round_kept(level, bits, price);
    left_ = wanted_;
    sweep(p_.factor, level, bits, price);
  }

  void find_gradient(const double* level) {
    gradient_.assign(n_, 0.0);
    for (size_t j = 0; j < n_; ++j) {
      const double e = wanted_[j] - scale_ * level[codes_[j]];
      if (e == 0) continue;
      const double* h = &p_.hessian[j * n_];
      for (size_t i = 0; i < n_; ++i) gradient_[i] += e * h[i];
    }
  }

  // One pass over the weights; whether any code changed.
  bool descend(const double* level, const double* bits, double price) {
    bool moved = false;
    for (const size_t j : kept_) {
      const double* h = &p_.hessian[j * n_];
      if (h[j] <= 0) continue;
      const double now = scale_ * level[codes_[j]];
      // The error as a function of this weight alone: h_jj (q - free)^2 + const.
      const double free = now + gradient_[j] / h[j];
      const uint8_t code = best(free, h[j], level, bits, price);
      if (code == codes_[j]) continue;
      const double after = scale_ * level[code];
      const double gain = h[j] * ((now - free) * (now - free) - (after - free) * (after - free)) +
                          price * (bits[codes_[j]] - bits[code]);
      if (gain <= 1e-12 * h[j] * scale_ * scale_) continue;
      const double move = after - now;
      for (size_t i = 0; i < n_; ++i) gradient_[i] -= move * h[i];
      codes_[j] = code;
      moved = true;
    }
    return moved;
  }

  // Without the ridge.
  double error(const double* level) {
    find_gradient(level);
    double sum = 0;
    for (size_t j = 0; j < n_; ++j) {
      const double e = wanted_[j] - scale_ * level[codes_[j]];
      sum += (gradient_[j] - p_.ridge * e) * e;
    }
    return sum;
  }

  // Adds the normal equations of the levels: a[k][k] x = b[k].
  void add_equations(double* a, double* b) const {
    std::vector<double> row(k_);
    for (const size_t j : kept_) {
      const double* h = &p_.hessian[j * n_];
      std::fill(row.begin(), row.end(), 0.0);
      double wanted = 0;
      for (size_t i = 0; i < n_; ++i) wanted += h[i] * wanted_[i];
      for (const size_t i : kept_) row[codes_[i]] += h[i];
      for (size_t c = 0; c < k_; ++c) a[codes_[j] * k_ + c] += scale_ * scale_ * row[c];
      b[codes_[j]] += scale_ * wanted;
    }
  }

 private:
  // left_ on the kept columns: rounded one by one with the factor of their hessian.
  void sweep(const std::vector<double>& factor, const double* level, const double* bits,
             double price) {
    const size_t n = kept_.size();
    for (size_t j = 0; j < n; ++j) {
      const double* u = &factor[j * n];
      const uint8_t code = best(left_[j], 1 / (u[j] * u[j]), level, bits, price);
      codes_[kept_[j]] = code;
      const double e = (left_[j] - scale_ * level[code]) / u[j];
      if (e == 0) continue;
      for (size_t i = j + 1; i < n; ++i) left_[i] -= e * u[i];
    }
  }

  // The same where only some weights may be other than 0: these start from the least squares.
  void round_kept(const double* level, const double* bits, double price) {
    const size_t n = kept_.size();
    if (n == 0) return;
    std::vector<double> h(n * n), factor;
    double mean = 0;
    left_.assign(n, 0.0);
    for (size_t i = 0; i < n; ++i) {
      const double* row = &p_.hessian[kept_[i] * n_];
      for (size_t j = 0; j < n; ++j) h[i * n + j] = row[kept_[j]];
      left_[i] = std::inner_product(row, row + n_, wanted_.begin(), 0.0);
      mean += h[i * n + i] / static_cast<double>(n);
    }
    if (!solve_symmetric(h.data(), n, left_.data(), 1)) {
      for (size_t i = 0; i < n; ++i) left_[i] = wanted_[kept_[i]];
    }
    for (size_t i = 0; i < n; ++i) h[i * n + i] += p_.options.damping * mean;
    if (!inverse_factor(h.data(), n, factor)) {  // no propagation then
      factor.assign(n * n, 0.0);
      for (size_t i = 0; i < n; ++i) factor[i * n + i] = 1 / std::sqrt(h[i * n + i]);
    }
    sweep(factor, level, bits, price);
  }

  uint8_t best(double x, double weight, const double* level, const double* bits,
               double price) const {
    const double* end = level + k_;
    const auto above = static_cast<size_t>(std::lower_bound(level, end, x / scale_) - level);
    size_t first = 0, last = k_;
    if (k_ > kTriedAll) {
      first = above > kTriedBeside ? above - kTriedBeside : 0;
      last = std::min(k_, above + kTriedBeside);
    }
    double least = std::numeric_limits<double>::infinity();
    size_t chosen = 0;
    const auto consider = [&](size_t c) {
      const double e = x - scale_ * level[c];
      const double cost = weight * e * e + price * bits[c];
      if (cost < least) {
        least = cost;
        chosen = c;
      }
    };
    for (size_t c = first; c < last; ++c) consider(c);
    if (k_ > kTriedAll && price > 0) {
      consider(static_cast<size_t>(std::min_element(bits, bits + k_) - bits));
    }
    return static_cast<uint8_t>(chosen);
  }

  const RowProblem& p_;
  size_t n_, k_;
  double scale_;
  std::vector<size_t> kept_;
  std::vector<double> wanted_, left_, gradient_;
  std::vector<uint8_t> codes_;
};

// All rows of a matrix.
class Rounder {
 public:
  Rounder(const double* w, size_t rows, size_t columns, const double* h, size_t groups,
          const Levels& levels, const RateOptions& options, const uint8_t* mask)
      : rows_(rows),
        columns_(columns),
        per_group_(rows / groups),
        options_(options),
        levels_(levels),
        k_(levels.k()),
        per_table_((rows + levels.tables - 1) / levels.tables),
        counts_(rows * k_),
        lengths_(rows, Lengths(k_)) {
    RoundingOptions shared;
    shared.damping = options.damping;
    shared.reorder = options.reorder;
    problems_.resize(groups);
    parallel_tasks(groups, options.threads, [&](size_t g, int) {
      problems_[g] =
          row_problem("round_by_rate", h + g * columns * columns, columns, nullptr, shared);
    });
    for (size_t r = 0; r < rows; ++r) {
      const double scale = levels.scale.empty() ? 1.0 : levels.scale[r];
      rows_of_.emplace_back(problems_[r / per_group_], w + r * columns,
                            mask ? mask + r * columns : nullptr, scale, k_);
      if (mask) rows_of_[r].drop_all(zero_of(r));
    }
  }

  RatedMatrix run(const double* w, const double* h) {
    start();
    for (int pass = 0; pass < options_.passes; ++pass) {
      for_rows([&](size_t r) { rows_of_[r].round(level(r), lengths_[r].data(), options_.price); });
      learn();
    }
    descend();
    for (int refit = 0; refit < options_.refits; ++refit) {
      if (!fit_levels()) break;
      descend();
    }
    return result(w, h);
  }

 private:
  const double* level(size_t r) const { return &levels_.level[r / per_table_ * k_]; }
  uint8_t zero_of(size_t r) const {
    return static_cast<uint8_t>(std::find(level(r), level(r) + k_, 0.0) - level(r));
  }
  template <class Work>
  void for_rows(const Work& work) {
    parallel_tasks(rows_, options_.threads, [&](size_t r, int) { work(r); });
  }

  // Lengths before there are codes: of a first pass without a price.
  void start() {
    for_rows([&](size_t r) {
      const std::vector<double> none(k_, 0.0);
      rows_of_[r].round(level(r), none.data(), 0);
    });
    learn();
  }

  void learn() {
    std::fill(counts_.begin(), counts_.end(), 0);
    std::vector<double> p(levels_.tables * k_, 0.0);
    for (size_t r = 0; r < rows_; ++r) {
      for (const uint8_t c : rows_of_[r].codes()) ++counts_[r * k_ + c];
      for (size_t c = 0; c < k_; ++c) p[r / per_table_ * k_ + c] += counts_[r * k_ + c];
    }
    for (size_t t = 0; t < levels_.tables; ++t) {
      double sum = 0;
      for (size_t c = 0; c < k_; ++c) sum += p[t * k_ + c] += 0.5 / static_cast<double>(k_);
      for (size_t c = 0; c < k_; ++c) p[t * k_ + c] /= sum;
    }
    for (size_t r = 0; r < rows_; ++r) {
      const std::vector<double> own(p.begin() + static_cast<ptrdiff_t>(r / per_table_ * k_),
                                    p.begin() + static_cast<ptrdiff_t>((r / per_table_ + 1) * k_));
      lengths_[r].set(own, &counts_[r * k_], static_cast<double>(rows_of_[r].codes().size()));
    }
  }

  void descend() {
    for_rows([&](size_t r) { rows_of_[r].find_gradient(level(r)); });
    std::vector<uint8_t> moved(rows_);
    for (int sweep = 0; sweep < options_.sweeps; ++sweep) {
      for_rows([&](size_t r) {
        moved[r] = rows_of_[r].descend(level(r), lengths_[r].data(), options_.price);
      });
      learn();
      if (std::none_of(moved.begin(), moved.end(), [](uint8_t m) { return m != 0; })) break;
    }
  }

  // Least squares for the codes. Whether the levels still ascend and changed.
  bool fit_levels() {
    std::vector<double> next = levels_.level;
    std::vector<double> a(levels_.tables * k_ * k_, 0.0), b(levels_.tables * k_, 0.0);
    parallel_tasks(levels_.tables, options_.threads, [&](size_t t, int) {
      for (size_t r = t * per_table_; r < std::min(rows_, (t + 1) * per_table_); ++r)
        rows_of_[r].add_equations(&a[t * k_ * k_], &b[t * k_]);
    });
    if (options_.one_step) {
      double slope = 0, curve = 0;
      for (size_t i = 0; i < next.size(); ++i) {
        const size_t t = i / k_;
        slope += b[i] * next[i];
        for (size_t c = 0; c < k_; ++c) curve += next[i] * a[i * k_ + c] * next[t * k_ + c];
      }
      if (curve <= 0 || slope <= 0) return false;
      for (double& v : next) v *= slope / curve;
    } else {
      for (size_t t = 0; t < levels_.tables; ++t)
        solve_levels(&a[t * k_ * k_], &b[t * k_], &next[t * k_]);
    }
    for (size_t i = 0; i < next.size(); ++i) {
      if (i % k_ && next[i] < next[i - 1]) return false;
    }
    if (next == levels_.level) return false;
    levels_.level = next;
    return true;
  }

  // Of levels that are used and are not 0: zero stays exact.
  void solve_levels(const double* a, const double* b, double* level) const {
    std::vector<size_t> used;
    for (size_t c = 0; c < k_; ++c) {
      if (a[c * k_ + c] > 0 && level[c] != 0) used.push_back(c);
    }
    const size_t n = used.size();
    if (n == 0) return;
    std::vector<double> h(n * n), x(n);
    double mean = 0;
    for (size_t i = 0; i < n; ++i) mean += a[used[i] * k_ + used[i]] / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) h[i * n + j] = a[used[i] * k_ + used[j]];
      // A little ridge towards the levels as they are: rarely used ones stay in place.
      const double ridge = 1e-6 * mean;
      h[i * n + i] += ridge;
      x[i] = b[used[i]] + ridge * level[used[i]];
    }
    if (!solve_symmetric(h.data(), n, x.data(), 1)) return;
    for (size_t i = 0; i < n; ++i) level[used[i]] = x[i];
  }

  RatedMatrix result(const double* w, const double* h) {
    RatedMatrix out;
    out.levels = levels_;
    out.codes.resize(rows_ * columns_);
    std::vector<double> error(rows_);
    for_rows([&](size_t r) {
      const double* values = level(r);
      uint8_t* row = &out.codes[r * columns_];
      const std::vector<uint8_t>& codes = rows_of_[r].codes();
      for (size_t i = 0; i < columns_; ++i) row[problems_[r / per_group_].order[i]] = codes[i];
      const double scale = levels_.scale.empty() ? 1.0 : levels_.scale[r];
      std::vector<double> e(columns_);
      for (size_t j = 0; j < columns_; ++j) e[j] = w[r * columns_ + j] - scale * values[row[j]];
      for (size_t j = 0; j < columns_; ++j) {
        const double* row_of_h = h + (r / per_group_ * columns_ + j) * columns_;
        const double sum = std::inner_product(e.begin(), e.end(), row_of_h, 0.0);
        error[r] += e[j] * sum;
      }
    });
    out.error = std::accumulate(error.begin(), error.end(), 0.0);
    out.bits = code_bits(out.codes.data(), rows_, columns_, k_);
    return out;
  }

  size_t rows_, columns_, per_group_;
  RateOptions options_;
  Levels levels_;
  size_t k_, per_table_;
  std::vector<RowProblem> problems_;  // one per group
  std::vector<RatedRow> rows_of_;
  std::vector<uint32_t> counts_;  // [rows][k]
  std::vector<Lengths> lengths_;
};

}  // namespace

RatedMatrix round_by_rate(const double* w, size_t rows, size_t columns, const double* h,
                          size_t groups, const Levels& levels, const RateOptions& options,
                          const uint8_t* mask) {
  check(w, rows, columns, h, groups, levels, options, mask);
  const size_t size = columns * columns;
  std::vector<double> hessian(h, h + groups * size);
  for (size_t g = 0; g < groups; ++g) {
    double* own = &hessian[g * size];
    if (mean_diagonal(own, columns) != 0) continue;
    std::fill(own, own + size, 0.0);
    for (size_t i = 0; i < columns; ++i) own[i * columns + i] = 1;
  }
  Rounder rounder(w, rows, columns, hessian.data(), groups, levels, options, mask);
  return rounder.run(w, hessian.data());
}

double code_bits(const uint8_t* codes, size_t rows, size_t columns, size_t k) {
  TERSOR_CHECK(k >= 1 && k <= 256, "code_bits: k must be in [1, 256], got ", k);
  std::vector<double> all(k, 0.5), own(k);
  double total = 0.5 * static_cast<double>(k), bits = 0;
  for (size_t r = 0; r < rows; ++r) {
    std::fill(own.begin(), own.end(), 0.0);
    for (size_t j = 0; j < columns; ++j) {
      const uint8_t c = codes[r * columns + j];
      TERSOR_CHECK(c < k, "code_bits: codes must be below ", k, ", got ", static_cast<int>(c));
      const double p = all[c] / total;
      bits -= std::log2((own[c] + kPriorCount * p) / (static_cast<double>(j) + kPriorCount));
      own[c] += 1;
      all[c] += 1;
      total += 1;
    }
  }
  return bits;
}

}  // namespace tersor::reconstruction
