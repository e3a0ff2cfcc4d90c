// Watch values go by and turn what was seen into quantization parameters.
//
// All observers: ValueError on NaN or infinity, and from range() and qparams() while nothing was
// seen; empty arrays change nothing.
#pragma once

#include <utility>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

// Smallest and largest value, of everything or per index of an axis. Exact; merges in any order.
class TERSOR_API MinMaxObserver {
 public:
  explicit MinMaxObserver(int axis = -1) : axis_(axis) {}
  // As another process left it; ranges may be empty.
  MinMaxObserver(int axis, std::vector<Range> ranges) : axis_(axis), ranges_(std::move(ranges)) {}
  bool operator==(const MinMaxObserver&) const = default;
  void observe(const float* x, const Shape& shape);
  void merge(const MinMaxObserver& other);
  const std::vector<Range>& ranges() const;
  int axis() const { return axis_; }
  bool empty() const { return ranges_.empty(); }
  QParams qparams(QuantScheme scheme) const {
    return choose_qparams(ranges(), scheme, {axis_, 1, 0});
  }

 private:
  int axis_;
  std::vector<Range> ranges_;
};

// lo += momentum * (min(batch) - lo), hi likewise; the first batch sets both. Depends on the order.
class TERSOR_API MovingAverageObserver {
 public:
  explicit MovingAverageObserver(double momentum = 0.01);  // ValueError unless in (0, 1]
  // What an observer is, all of it.
  struct State {
    double momentum = 0.01;
    bool empty = true;
    double lo = 0, hi = 0;
    bool operator==(const State&) const = default;
  };
  explicit MovingAverageObserver(const State& state);
  const State& state() const { return state_; }
  bool operator==(const MovingAverageObserver&) const = default;
  void observe(const float* x, size_t n);
  Range range() const;
  QParams qparams(QuantScheme scheme) const { return choose_qparams({range()}, scheme); }

 private:
  State state_;
};

// The distribution (histogram.h), and ranges by search over it. Exact; merges in any order.
class TERSOR_API HistogramObserver {
 public:
  HistogramObserver() = default;
  explicit HistogramObserver(Histogram histogram) : histogram_(std::move(histogram)) {}
  bool operator==(const HistogramObserver&) const = default;
  void observe(const float* x, size_t n) { histogram_.add(x, n, "HistogramObserver"); }
  void merge(const HistogramObserver& other) { histogram_.merge(other.histogram_); }
  const Histogram& histogram() const { return histogram_; }
  QParams qparams(QuantScheme scheme, RangeMethod method, double percentile) const;

 private:
  Histogram histogram_;
};

// Range of a histogram by a method. ValueError if it is empty.
TERSOR_API Range search_range(const Histogram& histogram, QuantScheme scheme, RangeMethod method,
                              double percentile);

}  // namespace tersor::quantization
