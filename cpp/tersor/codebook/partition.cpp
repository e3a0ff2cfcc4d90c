#include "tersor/codebook/partition.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/cancel.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

// Splits of so many layers are kept at once. More layers are cut into groups: the pass over all of
// them remembers where each group began, and the groups are then solved one by one, each on its own
// points: 1 / 16 more work for 16 times less memory at k = 256.
constexpr int kKeptLayers = 16;

struct PrefixSums {
  std::vector<double> weight, sum;

  // Of the points at every `stride`-th place.
  PrefixSums(const PrefixSums& all, std::size_t n, std::size_t stride) {
    for (std::size_t i = 0; i < n; i += stride) {
      weight.push_back(all.weight[i]);
      sum.push_back(all.sum[i]);
    }
    weight.push_back(all.weight[n]);
    sum.push_back(all.sum[n]);
    weight.resize(weight.size() + kSplitPadding);
    sum.resize(sum.size() + kSplitPadding);
  }

  std::size_t points() const { return weight.size() - 1 - kSplitPadding; }

  // What a run takes off the squared error.
  double gain(std::size_t first, std::size_t end) const {
    const double s = sum[end] - sum[first];
    return s * s / (weight[end] - weight[first]);
  }

  PrefixSums(const double* x, const double* w, std::size_t n)
      : weight(n + 1 + kSplitPadding), sum(n + 1 + kSplitPadding) {
    long double total = 0, moment = 0;
    for (std::size_t i = 0; i < n; ++i) {
      total += w[i];
      moment += static_cast<long double>(w[i]) * x[i];
    }
    // Centred and divided by a power of two: squares neither overflow nor lose digits to the mean.
    const auto mean = static_cast<double>(moment / total);
    const double reach = std::max(std::fabs(x[0] - mean), std::fabs(x[n - 1] - mean));
    const double factor = reach > 0 ? std::ldexp(1.0, -std::ilogb(reach)) : 1.0;
    // Prefix sums must rise, or a run would be divided by 0; so small a share changes no sum.
    const auto least = static_cast<double>(total) * 0x1p-48;
    long double so_far = 0, moments = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double share = std::max(w[i], least);
      so_far += share;
      moments += static_cast<long double>(share) * ((x[i] - mean) * factor);
      weight[i + 1] = static_cast<double>(so_far);
      sum[i + 1] = static_cast<double>(moments);
    }
  }
};

// Partitions of the points first .. end of the sums, which keep their origin.
class Solver {
 public:
  explicit Solver(const PrefixSums& sums) : sums_(sums) {}

  void solve(std::size_t first, std::size_t end, int k, std::size_t* starts) {
    starts[0] = first;
    if (k == 1) return;
    if (k <= kKeptLayers) {
      solve_kept(first, end, k, starts);
      return;
    }
    solve_in_groups(first, end, k, starts);
  }

 private:
  // Layer j of k over n points; rows that can be part of a partition into k runs.
  SplitLayer layer(std::size_t n, int j, int k) const {
    const auto runs = static_cast<std::size_t>(j), left = static_cast<std::size_t>(k - j);
    SplitLayer a{};
    a.weight = weight_;
    a.sum = sum_;
    a.first = runs;
    a.end = n - left + 1;
    return a;
  }

  void begin(std::size_t first, std::size_t n, int k) {
    weight_ = sums_.weight.data() + first;
    sum_ = sums_.sum.data() + first;
    previous_.resize(n + 1 + kSplitPadding);
    value_.resize(n + 1 + kSplitPadding);
    const double w = weight_[0], s = sum_[0];
    for (std::size_t i = 1; i + static_cast<std::size_t>(k) <= n + 1; ++i) {
      previous_[i] = (sum_[i] - s) * (sum_[i] - s) / (weight_[i] - w);
    }
  }

  // The last layer has one row, and m from k - 1: as the kernel counts from first - 1 = n - 1, this
  // is done here.
  std::size_t last_split(std::size_t n, int k) const {
    double best = -INFINITY;
    std::size_t at = static_cast<std::size_t>(k) - 1;
    for (std::size_t m = at; m < n; ++m) {
      const double s = sum_[n] - sum_[m];
      const double value = previous_[m] + s * s / (weight_[n] - weight_[m]);
      if (value > best) {
        best = value;
        at = m;
      }
    }
    return at;
  }

  // `before`: the splits of the layer before, which bound these from below; empty for the first.
  void run(SplitLayer a, const std::vector<uint32_t>& before, std::vector<uint32_t>& split) {
    check_cancelled();
    split.resize(a.end + 1);
    a.previous = previous_.data();
    a.value = value_.data();
    a.lowest = before.empty() ? nullptr : before.data();
    a.split = split.data();
    best_splits_table.pick()(a);
    split[a.end] = split[a.end - 1];  // the next layer has one row more
    std::swap(previous_, value_);
  }

  void solve_kept(std::size_t first, std::size_t end, int k, std::size_t* starts) {
    const std::size_t n = end - first;
    begin(first, n, k);
    if (kept_.size() < kKeptLayers) kept_.resize(kKeptLayers);
    for (int j = 2; j < k; ++j) {
      const auto at = static_cast<std::size_t>(j);
      run(layer(n, j, k), j == 2 ? none_ : kept_[at - 1], kept_[at]);
    }
    std::size_t at = last_split(n, k);
    starts[k - 1] = first + at;
    for (int j = k - 1; j >= 2; --j) {
      at = kept_[static_cast<std::size_t>(j)][at];
      starts[j - 1] = first + at;
    }
  }

  void solve_in_groups(std::size_t first, std::size_t end, int k, std::size_t* starts) {
    const std::size_t n = end - first;
    begin(first, n, k);
    // origin[i]: where the layers after the last multiple of kKeptLayers begin on the best way to
    // i.
    std::vector<std::vector<uint32_t>> origins;
    std::vector<uint32_t> origin, next, before, split;
    for (int j = 2; j < k; ++j) {
      const SplitLayer a = layer(n, j, k);
      run(a, before, split);
      next.resize(a.end);
      const bool fresh = (j - 1) % kKeptLayers == 0;  // layer j - 1 ended a group
      for (std::size_t i = a.first; i < a.end; ++i) {
        next[i] = fresh ? split[i] : j == 2 ? 0 : origin[split[i]];
      }
      if (fresh) origins.push_back(origin);
      std::swap(origin, next);
      std::swap(before, split);
    }
    // Boundaries between groups, from the last.
    std::vector<std::size_t> bounds{n};
    std::size_t at = last_split(n, k);
    if ((k - 1) % kKeptLayers == 0) {
      origins.push_back(origin);
    } else {
      at = origin[at];
    }
    bounds.push_back(at);
    for (std::size_t g = origins.size(); g-- > 1;) {
      at = origins[g][at];
      bounds.push_back(at);
    }
    bounds.push_back(0);
    std::reverse(bounds.begin(), bounds.end());
    for (std::size_t g = 0; g + 1 < bounds.size(); ++g) {
      const int before = static_cast<int>(g) * kKeptLayers;
      const int runs = std::min(kKeptLayers, k - before);
      solve(first + bounds[g], first + bounds[g + 1], runs, starts + before);
    }
  }

  const PrefixSums& sums_;
  const double* weight_ = nullptr;
  const double* sum_ = nullptr;
  std::vector<double> previous_, value_;
  std::vector<std::vector<uint32_t>> kept_;
  const std::vector<uint32_t> none_;
};

// The best partition into any number of runs where each costs `price`. The best number falls as the
// price rises, and the error is convex in it, so the price finds every number (Aggarwal, Schieber &
// Tokuyama, "Finding a minimum weight k-link path", 1994). A candidate that overtakes another stays
// ahead: they wait in a queue, each with the first end for which it is the best.
std::vector<std::size_t> priced_partition(const PrefixSums& sums, std::size_t n, double price) {
  std::vector<double> value(n + 1);
  std::vector<uint32_t> from(n + 1), best(n + 1), start(n + 1);
  const auto worth = [&](std::size_t m, std::size_t i) { return value[m] + sums.gain(m, i); };
  std::size_t head = 0, tail = 0;
  best[0] = 0;
  start[0] = 1;
  for (std::size_t i = 1; i <= n; ++i) {
    while (head < tail && start[head + 1] <= i) ++head;
    from[i] = best[head];
    value[i] = worth(best[head], i) - price;
    if (i == n) break;
    while (head < tail && worth(i, start[tail]) >= worth(best[tail], start[tail])) --tail;
    if (!(worth(i, n) > worth(best[tail], n))) continue;
    // The first end at which i is better: usually right behind that of the candidate before.
    const auto ahead = [&](std::size_t end) { return worth(i, end) > worth(best[tail], end); };
    std::size_t low = std::max<std::size_t>(start[tail], i), step = 1;
    while (low + step < n && !ahead(low + step)) {
      low += step;
      step *= 2;
    }
    std::size_t high = std::min(n, low + step);
    while (low + 1 < high) {
      const std::size_t middle = low + (high - low) / 2;
      (ahead(middle) ? high : low) = middle;
    }
    ++tail;
    best[tail] = static_cast<uint32_t>(i);
    start[tail] = static_cast<uint32_t>(high);
  }
  std::vector<std::size_t> starts{n};
  for (std::size_t i = n; i > 0; i = from[i]) starts.push_back(from[i]);
  std::reverse(starts.begin(), starts.end());
  return starts;
}

double total_gain(const PrefixSums& sums, const std::vector<std::size_t>& starts) {
  double total = 0;
  for (std::size_t j = 0; j + 1 < starts.size(); ++j) total += sums.gain(starts[j], starts[j + 1]);
  return total;
}

constexpr std::size_t kStride = 32;
constexpr std::size_t kCoarseEach = 12;  // coarse points a run, at least
constexpr std::size_t kLeastStride = 4;  // below it there is little to save
constexpr int kPrices = 6;

// The partition by its price, or nothing where that is not found soon. The price is what one more
// run would gain, which a coarse grid of points tells well enough.
std::vector<std::size_t> partition_by_price(const PrefixSums& sums, std::size_t n, int k) {
  const std::size_t stride = std::min(kStride, n / (kCoarseEach * static_cast<std::size_t>(k)));
  if (k < 3 || stride < kLeastStride) return {};
  const PrefixSums coarse(sums, n, stride);
  double gains[3];
  for (int d = 0; d < 3; ++d) {
    const int runs = k - 1 + d;
    std::vector<std::size_t> starts(static_cast<std::size_t>(runs) + 1);
    Solver(coarse).solve(0, coarse.points(), runs, starts.data());
    starts.back() = coarse.points();
    gains[d] = total_gain(coarse, starts);
  }
  double low = gains[2] - gains[1], high = gains[1] - gains[0];
  double price = (low + high) / 2;
  low *= 0.5;
  high *= 2;
  for (int attempt = 0; attempt < kPrices; ++attempt) {
    check_cancelled();
    std::vector<std::size_t> starts = priced_partition(sums, n, price);
    const auto runs = static_cast<int>(starts.size()) - 1;
    if (runs == k) return starts;
    (runs > k ? low : high) = price;
    price = (low + high) / 2;
  }
  return {};
}

}  // namespace

std::vector<std::size_t> optimal_partition(const double* value, const double* weight, std::size_t n,
                                           int k) {
  std::vector<std::size_t> starts(static_cast<std::size_t>(k) + 1);
  const PrefixSums sums(value, weight, n);
  std::vector<std::size_t> priced = partition_by_price(sums, n, k);
  if (!priced.empty()) return priced;
  Solver(sums).solve(0, n, k, starts.data());
  starts.back() = n;
  return starts;
}

}  // namespace tersor::codebook
