// Watch values go by and turn what was seen into quantization parameters.
//
// All observers: ValueError on NaN or infinity, and from range() and qparams() while nothing was
// seen; empty arrays change nothing.
#pragma once

#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

// Smallest and largest value, of everything or per index of an axis. Exact; merges in any order.
class TERSOR_API MinMaxObserver {
 public:
  explicit MinMaxObserver(int axis = -1) : axis_(axis) {}
  void observe(const float* x, const Shape& shape);
  void merge(const MinMaxObserver& other);
  const std::vector<Range>& ranges() const;
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
  void observe(const float* x, size_t n);
  Range range() const;
  QParams qparams(QuantScheme scheme) const { return choose_qparams({range()}, scheme); }

 private:
  double momentum_;
  bool empty_ = true;
  double lo_ = 0, hi_ = 0;
};

// The distribution (histogram.h), and ranges by search over it. Exact; merges in any order.
class TERSOR_API HistogramObserver {
 public:
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
