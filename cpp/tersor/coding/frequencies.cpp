#include "tersor/coding/frequencies.h"

#include <cmath>

namespace tersor::coding {
namespace {

constexpr int kMostOrder = 11;

uint32_t zigzag(int64_t v) { return static_cast<uint32_t>(v < 0 ? -2 * v - 1 : 2 * v); }
int64_t unzigzag(uint32_t v) {
  return v & 1 ? -static_cast<int64_t>(v / 2) - 1 : static_cast<int64_t>(v / 2);
}

void put(const Frequencies& f, size_t low, size_t high, bool differences, int k, BitWriter& out) {
  out.put(differences, 1);
  out.put(static_cast<uint64_t>(k), 4);
  uint32_t last = 0;
  for (size_t s = low; s < high; ++s) {
    out.put_exp_golomb(differences ? zigzag(static_cast<int64_t>(f[s]) - last) : f[s], k);
    last = f[s];
  }
}

}  // namespace

Frequencies scaled_frequencies(const Histogram& counts, int precision) {
  double total = 0;
  for (const uint64_t c : counts) total += static_cast<double>(c);
  const int64_t whole = int64_t{1} << precision;
  Frequencies f{};
  int64_t left = whole;
  for (size_t s = 0; s < 256; ++s) {
    if (!counts[s]) continue;
    const double share = static_cast<double>(counts[s]) / total * static_cast<double>(whole);
    f[s] = std::max<uint32_t>(1, static_cast<uint32_t>(share));
    left -= f[s];
  }
  // One more for a symbol saves counts * log2(1 + 1 / f) bits.
  while (left != 0) {
    const double step = left > 0 ? 1 : -1;
    size_t best = 256;
    double least = 0;
    for (size_t s = 0; s < 256; ++s) {
      if (!counts[s] || (left < 0 && f[s] == 1)) continue;
      const double cost = -static_cast<double>(counts[s]) * std::log2(1 + step / f[s]);
      if (best == 256 || cost < least) {
        best = s;
        least = cost;
      }
    }
    f[best] = static_cast<uint32_t>(static_cast<int64_t>(f[best]) + (left > 0 ? 1 : -1));
    left += left > 0 ? -1 : 1;
  }
  return f;
}

double coded_bits(const Histogram& counts, const Frequencies& frequencies, int precision) {
  double bits = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (counts[s])
      bits += static_cast<double>(counts[s]) *
              (precision - std::log2(static_cast<double>(frequencies[s])));
  }
  return bits;
}

void put_frequencies(const Frequencies& f, size_t low, size_t high, BitWriter& out) {
  size_t least = SIZE_MAX;
  int best_order = 0;
  bool best_differences = false;
  for (const bool differences : {false, true}) {
    for (int k = 0; k <= kMostOrder; ++k) {
      BitWriter trial;
      put(f, low, high, differences, k, trial);
      if (trial.bits() >= least) continue;
      least = trial.bits();
      best_order = k;
      best_differences = differences;
    }
  }
  put(f, low, high, best_differences, best_order, out);
}

Frequencies get_frequencies(size_t low, size_t high, int precision, BitReader& in) {
  const bool differences = in.bit();
  const int k = static_cast<int>(in.get(4));
  Frequencies f{};
  int64_t left = int64_t{1} << precision, last = 0;
  for (size_t s = low; s < high; ++s) {
    const uint32_t v = in.get_exp_golomb(k);
    last = differences ? last + unzigzag(v) : v;
    // The highest symbol needs one as well, and the lowest is there.
    if (last < (s == low ? 1 : 0) || last >= left)
      throw ArtifactError("coding: frequencies must sum to a power of two");
    f[s] = static_cast<uint32_t>(last);
    left -= last;
  }
  f[high] = static_cast<uint32_t>(left);
  return f;
}

}  // namespace tersor::coding
