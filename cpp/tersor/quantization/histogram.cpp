#include "tersor/quantization/histogram.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Widths of 2^-126 to 2^118 keep width and inverse width normal floats, and 2048 bins of the widest
// one cover every finite float.
constexpr int kLeastExponent = -126;

int64_t bin_of(float x, int exponent) {
  return static_cast<int64_t>(std::floor(std::ldexp(static_cast<double>(x), -exponent)));
}

// floor(i / 2^shift), also for i < 0.
int64_t halved(int64_t i, int shift) { return i >> shift; }

int least_exponent(Range range) {
  const double magnitude =
      std::max(std::fabs(static_cast<double>(range.lo)), std::fabs(static_cast<double>(range.hi)));
  if (magnitude == 0) return kLeastExponent;
  // 24 bits below the magnitude every index still fits 32 bits; far more than 2,048 bins need.
  int e = std::max(kLeastExponent, std::ilogb(magnitude) - 24);
  while (bin_of(range.hi, e) - bin_of(range.lo, e) >= kBins) ++e;
  return e;
}

}  // namespace

double Histogram::width() const { return std::ldexp(1.0, exponent_); }

void Histogram::coarsen(int exponent) {
  if (exponent <= exponent_) return;
  const int shift = std::min(exponent - exponent_, 62);
  const int64_t first = halved(first_, shift);
  std::vector<uint64_t> merged(counts_.size(), 0);
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    merged[static_cast<size_t>(halved(first_ + static_cast<int64_t>(i), shift) - first)] +=
        counts_[i];
  }
  counts_ = std::move(merged);
  first_ = first;
  exponent_ = exponent;
}

void Histogram::cover(Range range) {
  if (empty()) {
    range_ = range;
    exponent_ = least_exponent(range);
    first_ = bin_of(range.lo, exponent_);
  } else {
    range_ = {std::min(range_.lo, range.lo), std::max(range_.hi, range.hi)};
    coarsen(least_exponent(range_));
  }
  const int64_t first = bin_of(range_.lo, exponent_);
  const auto size = static_cast<size_t>(bin_of(range_.hi, exponent_) - first + 1);
  if (first == first_ && size == counts_.size()) return;
  std::vector<uint64_t> moved(size, 0);
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    moved[static_cast<size_t>(first_ + static_cast<int64_t>(i) - first)] = counts_[i];
  }
  counts_ = std::move(moved);
  first_ = first;
}

void Histogram::add(const float* x, size_t n, const char* what) {
  if (n == 0) return;
  cover(min_max(x, n, what));
  total_ += n;
  histogram_table.pick()(x, n, static_cast<float>(std::ldexp(1.0, -exponent_)),
                         static_cast<int32_t>(first_), static_cast<uint32_t>(counts_.size()),
                         counts_.data());
}

void Histogram::merge(const Histogram& other) {
  if (other.empty()) return;
  if (empty()) {
    *this = other;
    return;
  }
  cover(other.range_);
  Histogram same_grid = other;
  same_grid.coarsen(exponent_);
  for (size_t i = 0; i < same_grid.counts_.size(); ++i) {
    if (same_grid.counts_[i] == 0) continue;
    counts_[static_cast<size_t>(same_grid.first_ + static_cast<int64_t>(i) - first_)] +=
        same_grid.counts_[i];
  }
  total_ += other.total_;
}

Histogram Histogram::from_parts(Range range, int exponent, int64_t first,
                                std::vector<uint64_t> counts) {
  Histogram out;
  if (counts.empty()) return out;
  TERSOR_CHECK(std::isfinite(range.lo) && std::isfinite(range.hi) && range.lo <= range.hi,
               "histogram: range must be finite with lo <= hi, got ", range.lo, " and ", range.hi);
  TERSOR_CHECK(exponent >= least_exponent(range) && exponent < 128,
               "histogram: exponent must be that of its range or more, got ", exponent);
  const int64_t bins = bin_of(range.hi, exponent) - bin_of(range.lo, exponent) + 1;
  TERSOR_CHECK(first == bin_of(range.lo, exponent) && counts.size() == static_cast<size_t>(bins),
               "histogram: counts must be those of ", bins, " bins, got ", counts.size());
  out.range_ = range;
  out.exponent_ = exponent;
  out.first_ = first;
  out.counts_ = std::move(counts);
  for (uint64_t n : out.counts_) out.total_ += n;
  return out;
}

Histogram Histogram::clamped(Range range) const {
  TERSOR_CHECK(range.lo <= range.hi, "histogram: clamped needs lo <= hi, got ", range.lo, " and ",
               range.hi);
  Histogram out = *this;
  if (empty()) return out;
  out.range_ = {std::clamp(range_.lo, range.lo, range.hi),
                std::clamp(range_.hi, range.lo, range.hi)};
  out.first_ = bin_of(out.range_.lo, exponent_);
  const int64_t last = bin_of(out.range_.hi, exponent_);
  out.counts_.assign(static_cast<size_t>(last - out.first_ + 1), 0);
  for (size_t i = 0; i < counts_.size(); ++i) {
    const int64_t bin = std::clamp(first_ + static_cast<int64_t>(i), out.first_, last);
    out.counts_[static_cast<size_t>(bin - out.first_)] += counts_[i];
  }
  return out;
}

}  // namespace tersor::quantization
