#include "tersor/codebook/lookup_columns.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

// A piece of work per thread is at least this many weights (lookup_dense.cpp).
constexpr std::int64_t kSplitWeights = 64 * 1024;
// The 16 products of an input cost what 120 of its weights do.
constexpr std::int64_t kLeastOutputs = 256;
constexpr std::int64_t kLeastInputs = 64;
// Units of a tile stay normal numbers, and so do sums in them.
constexpr int kLeastExponent = -60, kMostExponent = 90;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t step) {
  return (n + step - 1) / step * step;
}

}  // namespace

bool LookupColumns::pays(const LookupWeights& w) {
  const FeatureBits here = active_features();
  return (here & Feature::avx2) && !(here & Feature::avx512) &&
         (w.group == 0 || w.group >= w.outputs) && w.outputs >= kLeastOutputs &&
         w.inputs >= kLeastInputs;
}

LookupColumns::LookupColumns(const LookupWeights& w, const float* table)
    : outputs_(w.outputs),
      inputs_(w.inputs),
      even_(round_up(w.inputs, 2)),
      tiles_((w.inputs + kTileInputs - 1) / kTileInputs),
      blocks_((w.outputs + kColumnOutputs - 1) / kColumnOutputs),
      codes_(static_cast<std::size_t>(even_ / 2 * blocks_ * kColumnOutputs)) {
  for (std::int64_t c = 0; c < kLookupEntries; ++c)
    largest_ = std::max(largest_, std::fabs(table[c]));
  exponent_ = largest_ > 0 ? std::ilogb(largest_) : 0;
  for (std::int64_t c = 0; c < kLookupEntries; ++c) {
    table_[c] = table[c];
    scaled_[c] = std::ldexp(table[c], -exponent_);
  }
  std::memset(codes_.data(), 0, codes_.size());
  for (std::int64_t i = 0; i < inputs_; ++i) {
    const std::int64_t start = i / kTileInputs * kTileInputs;
    const std::int64_t pairs = std::min(even_ - start, kTileInputs) / 2;
    for (std::int64_t o = 0; o < outputs_; ++o) {
      const std::int64_t pair = (i - start) / 2 + o / kColumnOutputs * pairs;
      std::uint8_t& byte = codes_.as<std::uint8_t>()[kColumnOutputs * (start / 2 * blocks_ + pair) +
                                                     column_byte(o % kColumnOutputs)];
      byte |= static_cast<std::uint8_t>(w.codes[o * inputs_ + i] << (i % 2 * 4));
    }
  }
}

std::size_t LookupColumns::scratch_bytes() const {
  return static_cast<std::size_t>(even_ * kProductBytes) +
         sizeof(float) * static_cast<std::size_t>(round_up(even_, 16) + round_up(tiles_, 16) +
                                                  blocks_ * kColumnOutputs);
}

// False where the integers cannot stand for x: NaN, infinity, or products near the ends of float32.
bool LookupColumns::scale_inputs(const float* x, float* scaled, float* units) const {
  for (std::int64_t start = 0; start < even_; start += kTileInputs) {
    const std::int64_t end = std::min(start + kTileInputs, inputs_);
    std::int32_t most = 0;  // bits of magnitudes: they order like those, and vectorise
    for (std::int64_t i = start; i < end; ++i)
      most = std::max(most, std::bit_cast<std::int32_t>(x[i]) & INT32_MAX);
    const auto largest = std::bit_cast<float>(most);
    if (!std::isfinite(largest)) return false;
    const double product = static_cast<double>(largest) * static_cast<double>(largest_);
    double factor = 0;
    units[start / kTileInputs] = 0;
    if (product > 0) {
      const int e = kProductBits - 1 - std::ilogb(product);
      if (e < kLeastExponent || e > kMostExponent) return false;
      factor = std::ldexp(1.0, e + exponent_);
      units[start / kTileInputs] = std::ldexp(1.0f, -e);
    }
    for (std::int64_t i = start; i < end; ++i)
      scaled[i] = static_cast<float>(static_cast<double>(x[i]) * factor);
  }
  std::fill(scaled + inputs_, scaled + even_, 0.0f);
  return true;
}

void LookupColumns::run_float(const float* x, float* y) const {
  std::fill_n(y, outputs_, 0.0f);
  for (std::int64_t i = 0; i < inputs_; ++i) {
    const std::int64_t start = i / kTileInputs * kTileInputs;
    const std::int64_t pairs = std::min(even_ - start, kTileInputs) / 2;
    const std::uint8_t* codes =
        codes_.as<std::uint8_t>() + kColumnOutputs * (start / 2 * blocks_ + (i - start) / 2);
    for (std::int64_t o = 0; o < outputs_; ++o) {
      const std::uint8_t byte =
          codes[o / kColumnOutputs * kColumnOutputs * pairs + column_byte(o % kColumnOutputs)];
      y[o] += x[i] * table_[i % 2 ? byte >> 4 : byte & 15];
    }
  }
}

void LookupColumns::run(const float* x, float* y, void* scratch, int threads) const {
  auto* const products = static_cast<std::uint8_t*>(scratch);
  auto* const scaled = reinterpret_cast<float*>(products + even_ * kProductBytes);
  float* const units = scaled + round_up(even_, 16);
  float* const sums = units + round_up(tiles_, 16);
  if (!scale_inputs(x, scaled, units)) return run_float(x, y);
  const std::int64_t pieces =
      threads <= 1 ? 1
                   : std::clamp<std::int64_t>(outputs_ * even_ / kSplitWeights, 1,
                                              std::min<std::int64_t>(blocks_, 4 * threads));
  // Alone: a few microseconds, less than waking another thread takes.
  lookup_products_table.pick()(scaled_, scaled, even_, products);
  auto* const add_up = lookup_columns_table.pick();
  parallel_tasks(static_cast<std::size_t>(pieces), threads, [&](std::size_t p, int) {
    const auto piece = static_cast<std::int64_t>(p);
    add_up({codes_.as<std::uint8_t>(), products, units, even_, blocks_, blocks_ * piece / pieces,
            blocks_ * (piece + 1) / pieces, sums});
  });
  std::memcpy(y, sums, static_cast<std::size_t>(outputs_) * sizeof(float));
}

}  // namespace tersor::codebook
