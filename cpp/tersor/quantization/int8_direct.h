// Direct sums of a band, panel by panel, for int16 pairs and for uint8 x int8 quads. For *_simd.cpp
// and the files that wrap them, like int8_lanes.h.
#pragma once

#include "tersor/quantization/int8_lanes.h"

namespace tersor::quantization {
namespace {

template <class Product, int kRows, Finish kFinish, int kUsed, bool kWhole>
TERSOR_INLINE void direct_tile(const ConvInt8Direct& a, const Finisher& f, int64_t first,
                               int64_t panel, int count) {
  using Element = typename Product::Element;
  const char* rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    rows[r] =
        reinterpret_cast<const char*>(static_cast<const Element*>(a.image) + a.pixels[first + r]);
  }
  I32 acc[kRows][kParts];
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    const I32 bias = load<I32>(a.epilogue.bias + 16 * panel + kLanes * i);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) acc[r][i] = bias;
  }
  const char* weights =
      static_cast<const char*>(a.weights) + panel * a.segment_count * a.groups * 64;
  int64_t s = 0;
  do {
    const auto offset = static_cast<int64_t>(sizeof(Element)) * a.segments[s];
    multiply_panel<Product, kRows, kUsed>(acc, rows, offset, a.groups, weights);
    weights += a.groups * 64;
  } while (++s < a.segment_count);
  const int64_t at = first * a.out.stride + 16 * panel;
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r)
    finish<kFinish, kWhole>(acc[r], f, count, a.out, at + r * a.out.stride);
}

template <class Product, int kRows, Finish kFinish, int kUsed, bool kWhole>
TERSOR_INLINE void direct_rest(const ConvInt8Direct& a, const Finisher& f, int64_t first,
                               int64_t panel, int count) {
  if constexpr (kRows > 0) {
    if (a.count - first >= kRows) {
      direct_tile<Product, kRows, kFinish, kUsed, kWhole>(a, f, first, panel, count);
    } else {
      direct_rest<Product, kRows - 1, kFinish, kUsed, kWhole>(a, f, first, panel, count);
    }
  }
}

template <class Product, Finish kFinish, int kUsed, bool kWhole>
void direct_panel(const ConvInt8Direct& a, const Finisher& f, int64_t panel, int count) {
  int64_t first = 0;
  for (; first + kTile <= a.count; first += kTile) {
    direct_tile<Product, kTile, kFinish, kUsed, kWhole>(a, f, first, panel, count);
  }
  direct_rest<Product, kTile - 1, kFinish, kUsed, kWhole>(a, f, first, panel, count);
}

// Panel by panel, so that a panel's weights stay in L1 while the band's pixels pass.
template <class Product>
struct Direct {
  const ConvInt8Direct& a;
  template <Finish kFinish>
  void run() const {
    Finisher f = make_finisher(a.epilogue, kFinish == Finish::add);
    for (int64_t panel = 0; 16 * panel < a.out_channels; ++panel) {
      set_panel(f, a.epilogue, 16 * panel);
      const int64_t rest = a.out_channels - 16 * panel;
      if (rest >= 16) {
        direct_panel<Product, kFinish, kParts, true>(a, f, panel, 16);
      } else if (kParts > 1 && rest <= 8) {
        direct_panel<Product, kFinish, (kParts + 1) / 2, false>(a, f, panel,
                                                                static_cast<int>(rest));
      } else {
        direct_panel<Product, kFinish, kParts, false>(a, f, panel, static_cast<int>(rest));
      }
    }
  }
};

}  // namespace
}  // namespace tersor::quantization
