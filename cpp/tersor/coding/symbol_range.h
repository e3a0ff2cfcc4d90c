// The lowest and the highest symbol of a block, with which most of its forms begin: 8 bits each.
#pragma once

#include "tersor/coding/bit_stream.h"
#include "tersor/coding/histogram.h"

namespace tersor::coding {

struct SymbolRange {
  size_t low = 0, high = 0;

  // Of a block that is not empty.
  static SymbolRange of(const Histogram& counts) {
    SymbolRange range{0, counts.size() - 1};
    while (range.low < range.high && !counts[range.low]) ++range.low;
    while (range.low < range.high && !counts[range.high]) --range.high;
    return range;
  }
  // ArtifactError unless they ascend.
  static SymbolRange get(BitReader& in) {
    SymbolRange range;
    range.low = in.get(8);
    range.high = in.get(8);
    if (range.low > range.high) throw ArtifactError("coding: the symbols of a block must ascend");
    return range;
  }
  void put(BitWriter& out) const {
    out.put(low, 8);
    out.put(high, 8);
  }
  bool single() const { return low == high; }
};

}  // namespace tersor::coding
