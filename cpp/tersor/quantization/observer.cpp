#include "tersor/quantization/observer.h"

#include <algorithm>

#include "tersor/base/error.h"
#include "tersor/quantization/range_search.h"

namespace tersor::quantization {
namespace {

void widen(std::vector<Range>& ranges, const std::vector<Range>& more) {
  if (ranges.empty()) {
    ranges = more;
    return;
  }
  TERSOR_CHECK(ranges.size() == more.size(), "MinMaxObserver: x must have ", ranges.size(),
               " channels as before, got ", more.size());
  for (size_t c = 0; c < ranges.size(); ++c) {
    ranges[c] = {std::min(ranges[c].lo, more[c].lo), std::max(ranges[c].hi, more[c].hi)};
  }
}

}  // namespace

void MinMaxObserver::observe(const float* x, const Shape& shape) {
  if (element_count(shape) == 0) return;
  const AffineShape layout = affine_shape(shape, {axis_, 1, 0}, "MinMaxObserver");
  widen(ranges_, min_max_scales(x, layout, "MinMaxObserver"));
}

void MinMaxObserver::merge(const MinMaxObserver& other) {
  if (!other.ranges_.empty()) widen(ranges_, other.ranges_);
}

const std::vector<Range>& MinMaxObserver::ranges() const {
  TERSOR_CHECK(!ranges_.empty(), "MinMaxObserver: values must have been observed, got none");
  return ranges_;
}

MovingAverageObserver::MovingAverageObserver(double momentum)
    : MovingAverageObserver(State{momentum}) {}

MovingAverageObserver::MovingAverageObserver(const State& state) : state_(state) {
  TERSOR_CHECK(0 < state.momentum && state.momentum <= 1,
               "MovingAverageObserver: momentum must be in (0, 1], got ", state.momentum);
}

void MovingAverageObserver::observe(const float* x, size_t n) {
  if (n == 0) return;
  const Range range = min_max(x, n, "MovingAverageObserver");
  const double step = state_.empty ? 1 : state_.momentum;
  state_.empty = false;
  state_.lo += step * (static_cast<double>(range.lo) - state_.lo);
  state_.hi += step * (static_cast<double>(range.hi) - state_.hi);
}

Range MovingAverageObserver::range() const {
  TERSOR_CHECK(!state_.empty, "MovingAverageObserver: values must have been observed, got none");
  return {static_cast<float>(state_.lo), static_cast<float>(state_.hi)};
}

QParams HistogramObserver::qparams(QuantScheme scheme, RangeMethod method,
                                   double percentile) const {
  return choose_qparams({search_range(histogram_, scheme, method, percentile)}, scheme);
}

Range search_range(const Histogram& histogram, QuantScheme scheme, RangeMethod method,
                   double percentile) {
  TERSOR_CHECK(!histogram.empty(), "HistogramObserver: values must have been observed, got none");
  switch (method) {
    case RangeMethod::percentile:
      return percentile_range(histogram, percentile);
    case RangeMethod::mse:
      return mse_range(histogram, scheme);
    case RangeMethod::entropy:
      return entropy_range(histogram, scheme);
    case RangeMethod::minmax:
      break;
  }
  return histogram.range();
}

}  // namespace tersor::quantization
