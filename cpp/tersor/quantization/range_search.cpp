#include "tersor/quantization/range_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {
namespace {

constexpr double kShrink = 0.01;   // candidates shrink by 1 % each ...
constexpr int kErrorSteps = 70;    // ... to 30 % of the range: nothing trained was best below 50 %
constexpr int kEntropySteps = 94;  // ... to 6 %: Migacz begins with 128 of 2048 bins

uint64_t rank_of(double percentile, uint64_t n) {
  TERSOR_CHECK(0.5 < percentile && percentile <= 1,
               "percentile_range: percentile must be in (0.5, 1], got ", percentile);
  TERSOR_CHECK(n > 0, "percentile_range: x must not be empty, got 0 values");
  const auto rank = static_cast<uint64_t>(std::ceil(percentile * static_cast<double>(n)));
  return std::clamp<uint64_t>(rank, 1, n);
}

// Where on the histogram's axis a code begins.
class BinAxis {
 public:
  explicit BinAxis(const Histogram& h)
      : width_(h.width()), first_center_(h.center(0)), bins_(h.counts().size()) {}
  double width() const { return width_; }
  size_t bins() const { return bins_; }
  // Number of bins whose centre is below x.
  size_t index_above(double x) const {
    const double i = std::ceil((x - first_center_) / width_);
    return static_cast<size_t>(std::clamp(i, 0.0, static_cast<double>(bins_)));
  }

 private:
  double width_, first_center_;
  size_t bins_;
};

// Prefix sums over bins, so that one candidate costs as many steps as there are codes, not bins.
class BinErrors {
 public:
  explicit BinErrors(const Histogram& h) : axis_(h), sums_(h.counts().size() + 1) {
    for (size_t i = 0; i < h.counts().size(); ++i) {
      const auto n = static_cast<double>(h.counts()[i]);
      const double c = h.center(i);
      sums_[i + 1] = {sums_[i].count + n, sums_[i].value + n * c, sums_[i].square + n * c * c};
    }
  }

  // sum of n (c - q(c))^2 for the values (lo + k) * scale, k = 0..steps, interval by interval.
  double error(double scale, double lo, int steps) const {
    double total = 0;
    size_t begin = 0;
    for (int k = 0; k <= steps && begin < axis_.bins(); ++k) {
      const double code = lo + k;
      const size_t end = k == steps ? axis_.bins() : axis_.index_above((code + 0.5) * scale);
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
  BinAxis axis_;
  std::vector<Sums> sums_;
};

double n_log_n(double n) { return n > 0 ? n * std::log(n) : 0; }

// Prefix sums again. With S values in k bins of one code, these bins give
//   sum n log(n / (S / k)) = sum n log n - S log(S / k),
// and the values outside change the terms of two bins only.
class BinDivergence {
 public:
  explicit BinDivergence(const Histogram& h)
      : axis_(h), counts_(h.counts().begin(), h.counts().end()), sums_(counts_.size() + 1) {
    const int64_t zero = -h.first();
    if (0 <= zero && zero < static_cast<int64_t>(counts_.size()) && counts_.size() > 1) {
      const auto i = static_cast<size_t>(zero);
      const double below = i > 0 ? counts_[i - 1] : 0;
      const double above = i + 1 < counts_.size() ? counts_[i + 1] : 0;
      counts_[i] = std::min(counts_[i], std::max(below, above));
    }
    for (size_t i = 0; i < counts_.size(); ++i) {
      const double n = counts_[i];
      sums_[i + 1] = {sums_[i].count + n, sums_[i].filled + (n > 0), sums_[i].log + n_log_n(n)};
    }
  }

  // The values are (lo + k) * scale, k = 0..steps.
  double error(double scale, double lo, int steps) const {
    constexpr double kImpossible = std::numeric_limits<double>::infinity();
    if (scale < axis_.width()) return kImpossible;
    const size_t first = axis_.index_above((lo - 0.5) * scale);
    const size_t last = axis_.index_above((lo + steps + 0.5) * scale);
    const double inside = sums_[last].count - sums_[first].count;
    if (inside <= 0) return kImpossible;
    double total = 0;
    size_t begin = first;
    for (int k = 0; k <= steps && begin < last; ++k) {
      const size_t end = std::min(last, axis_.index_above((lo + k + 0.5) * scale));
      if (end <= begin) continue;
      total += loss_of_code(begin, end, first, last);
      begin = end;
    }
    const double all = sums_.back().count;
    return total / all + std::log(inside / all);
  }

 private:
  struct Sums {
    double count = 0, filled = 0, log = 0;
  };

  // sum P log(P / Q) over bins [begin, end) of one code; bins [first, last) are inside.
  double loss_of_code(size_t begin, size_t end, size_t first, size_t last) const {
    const Sums &a = sums_[begin], &b = sums_[end];
    const double count = b.count - a.count;
    if (count <= 0) return 0;
    double with_outside = count, logs = b.log - a.log;
    const auto add = [&](size_t bin, double outside) {
      logs += n_log_n(counts_[bin] + outside) - n_log_n(counts_[bin]);
      with_outside += outside;
    };
    const double below = a.count == sums_[first].count ? a.count : 0;
    const double above = b.count == sums_[last].count ? sums_.back().count - b.count : 0;
    size_t lowest = begin, highest = end - 1;
    while (counts_[lowest] == 0) ++lowest;
    while (counts_[highest] == 0) --highest;
    if (lowest == highest) {
      add(lowest, below + above);
    } else {
      add(lowest, below);
      add(highest, above);
    }
    return logs - with_outside * std::log(count / (b.filled - a.filled));
  }

  BinAxis axis_;
  std::vector<double> counts_;
  std::vector<Sums> sums_;
};

// What a range means for an error: codes lo..hi, and their zero point.
struct Candidate {
  float scale, zero, lo, hi;
};

// Tries ranges; keeps the first of the best. errors(candidates) gives one error each.
template <class Errors>
class Search {
 public:
  Search(QuantScheme scheme, const Errors& errors) : scheme_(scheme), errors_(errors) {
    codes_.bits = scheme.bits;
    codes_.is_signed = scheme.is_signed;
    codes_.narrow = scheme.symmetric;
  }

  const Range& best() const { return best_; }

  // range(k) for k = 0..steps.
  template <class RangeOf>
  void attempt(int steps, const RangeOf& range) {
    std::vector<Range> ranges;
    std::vector<Candidate> candidates;
    for (int k = 0; k <= steps; ++k) {
      ranges.push_back(range(k));
      const ScaleAndZero q = scale_and_zero(ranges.back(), scheme_);
      candidates.push_back({q.scale > 0 ? q.scale : 1, q.zero_point,
                            static_cast<float>(codes_.code_min()),
                            static_cast<float>(codes_.code_max())});
    }
    const std::vector<double> found = errors_(candidates);
    for (size_t k = 0; k < ranges.size(); ++k) {
      if (started_ && !(found[k] < least_)) continue;
      started_ = true;
      least_ = found[k];
      best_ = ranges[k];
    }
  }

 private:
  QuantScheme scheme_;
  const Errors& errors_;
  QParams codes_;
  Range best_;
  double least_ = 0;
  bool started_ = false;
};

// See the header for the order of the search.
template <class Errors>
Range search(Range range, QuantScheme scheme, int steps, const Errors& errors) {
  Search<Errors> trial(scheme, errors);
  const auto shrunk = [](float end, int step) {
    return static_cast<float>(end * (1 - kShrink * step));
  };
  if (scheme.float_zero_point) {
    const double step = kShrink * (static_cast<double>(range.hi) - static_cast<double>(range.lo));
    trial.attempt(0, [&](int) { return range; });
    for (int round = 0; round < 2; ++round) {
      const Range start = trial.best();
      trial.attempt(steps, [&](int k) -> Range {
        return {start.lo, std::max(start.lo, static_cast<float>(range.hi - step * k))};
      });
      const float hi = trial.best().hi;
      trial.attempt(steps, [&](int k) -> Range {
        return {std::min(hi, static_cast<float>(range.lo + step * k)), hi};
      });
    }
    return trial.best();
  }
  const Range full = {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
  if (scheme.symmetric) {
    trial.attempt(steps, [&](int k) -> Range { return {shrunk(full.lo, k), shrunk(full.hi, k)}; });
    return trial.best();
  }
  trial.attempt(0, [&](int) { return full; });
  for (int round = 0; round < 2; ++round) {
    const float lo = trial.best().lo;
    if (full.hi > 0) trial.attempt(steps, [&](int k) -> Range { return {lo, shrunk(full.hi, k)}; });
    const float hi = trial.best().hi;
    if (full.lo < 0) trial.attempt(steps, [&](int k) -> Range { return {shrunk(full.lo, k), hi}; });
    if (full.lo == 0 || full.hi == 0)
      break;  // one end only: the second round would repeat the first
  }
  return trial.best();
}

// The errors of all candidates by one pass over memory: each part of 16 KiB stays in L1 for all of
// them. Chunks of a fixed size go to threads, and their sums are added in order.
std::vector<double> array_errors(const float* x, size_t n, QuantScheme scheme,
                                 const std::vector<Candidate>& candidates) {
  constexpr size_t kPart = 1 << 12, kChunk = 1 << 16;
  const auto kernel = quantization_error_table.pick();
  const size_t chunks = (n + kChunk - 1) / kChunk, count = candidates.size();
  std::vector<double> sums(chunks * count, 0.0);
  parallel_for(chunks, 1, [&](size_t begin, size_t end) {
    for (size_t at = begin * kChunk; at < std::min(end * kChunk, n); at += kPart) {
      double* const sum = &sums[at / kChunk * count];
      const size_t length = std::min(kPart, n - at);
      for (size_t k = 0; k < count; ++k) {
        const Candidate& c = candidates[k];
        sum[k] += scheme.float_zero_point
                      ? kernel(x + at, length, c.scale, c.zero, c.lo, c.hi)
                      : kernel(x + at, length, c.scale, 0, c.lo - c.zero, c.hi - c.zero);
      }
    }
  });
  for (size_t i = count; i < sums.size(); ++i) sums[i % count] += sums[i];
  sums.resize(count);
  return sums;
}

template <class Bins>
std::vector<double> bin_errors(const Bins& bins, const std::vector<Candidate>& candidates) {
  std::vector<double> errors;
  for (const Candidate& c : candidates) {
    errors.push_back(bins.error(c.scale, static_cast<double>(c.lo) - static_cast<double>(c.zero),
                                static_cast<int>(c.hi - c.lo)));
  }
  return errors;
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
  return search(range, scheme, kErrorSteps, [&](const std::vector<Candidate>& candidates) {
    return array_errors(x, n, scheme, candidates);
  });
}

Range mse_range(const Histogram& histogram, QuantScheme scheme) {
  TERSOR_CHECK(!histogram.empty(), "mse_range: histogram must not be empty, got 0 values");
  const BinErrors bins(histogram);
  return search(
      histogram.range(), scheme, kErrorSteps,
      [&](const std::vector<Candidate>& candidates) { return bin_errors(bins, candidates); });
}

Range entropy_range(const float* x, size_t n, QuantScheme scheme) {
  Histogram histogram;
  histogram.add(x, n, "entropy_range");
  return entropy_range(histogram, scheme);
}

Range entropy_range(const Histogram& histogram, QuantScheme scheme) {
  TERSOR_CHECK(!histogram.empty(), "entropy_range: histogram must not be empty, got 0 values");
  const BinDivergence bins(histogram);
  return search(
      histogram.range(), scheme, kEntropySteps,
      [&](const std::vector<Candidate>& candidates) { return bin_errors(bins, candidates); });
}

}  // namespace tersor::quantization
