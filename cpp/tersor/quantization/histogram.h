// Counts of values on a grid that is the same for everybody, so that histograms merge exactly.
//
// Bin i holds the values with floor(x / w) = i, where the width w = 2^e is a power of two: the
// division is exact, bin edges are multiples of w, and 0 is always an edge. e is the smallest for
// which the bins from the lowest to the highest value are at most kBins. Doubling w merges pairs of
// neighbours without error, so counts, e, lo and hi depend on the values alone, not on how they
// came in parts, in which order, or by how many threads or processes. One pass over the data is
// enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/min_max.h"

namespace tersor::quantization {

inline constexpr int kBins = 2048;

// counts[floor(x[i] * inverse_width) - first] += 1. inverse_width is a power of two; every index is
// in [0, bins), bins <= kBins.
using histogram_sig = void(const float* x, size_t n, float inverse_width, int32_t first,
                           uint32_t bins, uint64_t* counts) noexcept;

class TERSOR_API Histogram {
 public:
  // ValueError "<what>: ..." if a value is NaN or infinite; nothing is counted then.
  void add(const float* x, size_t n, const char* what = "histogram");
  void merge(const Histogram& other);
  bool operator==(const Histogram&) const = default;
  // The one that has these parts, as another process wrote them down. ValueError unless add and
  // merge could have made it.
  static Histogram from_parts(Range range, int exponent, int64_t first,
                              std::vector<uint64_t> counts);
  // Of the values clamped to `range`, on the same grid (which a range so much narrower would not
  // have got by itself). ValueError unless lo <= hi.
  Histogram clamped(Range range) const;

  bool empty() const { return total_ == 0; }
  uint64_t total() const { return total_; }
  Range range() const { return range_; }  // exact smallest and largest value
  int exponent() const { return exponent_; }
  double width() const;
  int64_t first() const { return first_; }  // index of counts()[0]
  const std::vector<uint64_t>& counts() const { return counts_; }
  double center(size_t i) const {
    return (static_cast<double>(first_) + 0.5 + static_cast<double>(i)) * width();
  }

 private:
  void cover(Range range);  // grows range_ and the grid
  void coarsen(int exponent);

  Range range_;
  int exponent_ = 0;
  int64_t first_ = 0;
  uint64_t total_ = 0;
  std::vector<uint64_t> counts_;
};

}  // namespace tersor::quantization
