#include "tersor/quantization/range_search.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {
namespace {

constexpr int kSteps = 70;        // candidates shrink by 1 % each ...
constexpr double kShrink = 0.01;  // ... to 30 % of the range: nothing trained was best below 50 %

uint64_t rank_of(double percentile, uint64_t n) {
  TERSOR_CHECK(0.5 < percentile && percentile <= 1,
               "percentile_range: percentile must be in (0.5, 1], got ", percentile);
  TERSOR_CHECK(n > 0, "percentile_range: x must not be empty, got 0 values");
  const auto rank = static_cast<uint64_t>(std::ceil(percentile * static_cast<double>(n)));
  return std::clamp<uint64_t>(rank, 1, n);
}

// Prefix sums over bins, so that one candidate costs as many steps as there are codes, not bins.
class BinSums {
 public:
  explicit BinSums(const Histogram& h)
      : width_(h.width()), first_center_(h.center(0)), sums_(h.counts().size() + 1) {
    for (size_t i = 0; i < h.counts().size(); ++i) {
      const auto n = static_cast<double>(h.counts()[i]);
      const double c = h.center(i);
      sums_[i + 1] = {sums_[i].count + n, sums_[i].value + n * c, sums_[i].square + n * c * c};
    }
  }

  // sum of n (c - q(c))^2 for codes lo..hi times scale, interval by interval.
  double error(double scale, double lo, double hi) const {
    double total = 0;
    size_t begin = 0;
    for (double code = lo; code <= hi && begin + 1 < sums_.size(); ++code) {
      const size_t end = code == hi ? sums_.size() - 1 : index_above((code + 0.5) * scale);
      if (end <= begin) continue;
      const double v = code * scale;
      const Sums &a = sums_[begin], &b = sums_[end];
      total += (b.square - a.square) - 2 * v * (b.value - a.value) + v * v * (b.count - a.count);
      begin = end;
    }
    return total;
  }

 private:
  struct Sums {
    double count = 0, value = 0, square = 0;
  };
  // Number of bins whose centre is below x.
  size_t index_above(double x) const {
    const double i = std::ceil((x - first_center_) / width_);
    return static_cast<size_t>(std::clamp(i, 0.0, static_cast<double>(sums_.size() - 1)));
  }
  double width_, first_center_;
  std::vector<Sums> sums_;
};

// error(scale, lo, hi) as above; see the header for the order of the search.
template <class Error>
Range search(Range range, QuantScheme scheme, const Error& error) {
  const auto error_of = [&](Range r) {
    const QParams q = choose_qparams({r}, scheme);
    return error(q.scale[0], static_cast<float>(q.code_min() - q.zero_point[0]),
                 static_cast<float>(q.code_max() - q.zero_point[0]));
  };
  const auto shrunk = [](float end, int step) {
    return static_cast<float>(end * (1 - kShrink * step));
  };
  const Range full = {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
  Range best = full;
  double least = error_of(best);
  const auto try_range = [&](Range candidate) {
    const double e = error_of(candidate);
    if (e < least) {
      least = e;
      best = candidate;
    }
  };
  if (scheme.symmetric) {
    for (int k = 1; k <= kSteps; ++k) try_range({shrunk(full.lo, k), shrunk(full.hi, k)});
    return best;
  }
  for (int round = 0; round < 2; ++round) {
    const Range start = best;
    for (int k = 0; k <= kSteps && full.hi > 0; ++k) try_range({start.lo, shrunk(full.hi, k)});
    const float hi = best.hi;
    for (int k = 0; k <= kSteps && full.lo < 0; ++k) try_range({shrunk(full.lo, k), hi});
    if (full.lo == 0 || full.hi == 0)
      break;  // one end only: the second round would repeat the first
  }
  return best;
}

}  // namespace

Range percentile_range(const float* x, size_t n, double percentile) {
  const size_t rank = rank_of(percentile, n);
  std::vector<float> copy(x, x + n);
  const auto hi = copy.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(copy.begin(), hi, copy.end());
  const float high = *hi;
  const auto lo = copy.begin() + static_cast<std::ptrdiff_t>(n - rank);
  std::nth_element(copy.begin(), lo, copy.end());
  return {*lo, high};
}

Range percentile_range(const Histogram& histogram, double percentile) {
  const uint64_t rank = rank_of(percentile, histogram.total());
  const auto& counts = histogram.counts();
  const auto edge = [&](size_t i) {
    return static_cast<float>(static_cast<double>(histogram.first() + static_cast<int64_t>(i)) *
                              histogram.width());
  };
  uint64_t seen = 0;
  size_t top = 0;
  while ((seen += counts[top]) < rank) ++top;
  seen = 0;
  size_t bottom = counts.size() - 1;
  while ((seen += counts[bottom]) < rank) --bottom;
  const Range exact = histogram.range();
  return {std::max(exact.lo, edge(bottom)), std::min(exact.hi, edge(top + 1))};
}

Range mse_range(const float* x, size_t n, Range range, QuantScheme scheme) {
  const auto kernel = quantization_error_table.pick();
  return search(range, scheme,
                [&](float scale, float lo, float hi) { return kernel(x, n, scale, lo, hi); });
}

Range mse_range(const Histogram& histogram, QuantScheme scheme) {
  TERSOR_CHECK(!histogram.empty(), "mse_range: histogram must not be empty, got 0 values");
  const BinSums sums(histogram);
  return search(histogram.range(), scheme,
                [&](float scale, float lo, float hi) { return sums.error(scale, lo, hi); });
}

}  // namespace tersor::quantization
