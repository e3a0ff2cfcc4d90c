#include "tersor/codebook/sorted_points.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace tersor::codebook {
namespace {

// Unsigned integers in the order of the floats.
uint32_t key_of(float x) {
  const auto bits = std::bit_cast<uint32_t>(x + 0.0f);  // -0 becomes 0
  return bits ^ (bits >> 31 ? ~0u : 1u << 31);
}
float value_of(uint32_t key) { return std::bit_cast<float>(key ^ (key >> 31 ? 1u << 31 : ~0u)); }

// A radix sort by the upper 32 bits of Key, or all of a uint32: three passes of 11 bits, whose
// counts are taken in one. Stable.
template <class Key>
void radix_sort(std::vector<Key>& keys) {
  constexpr int kBits = 11;
  constexpr std::size_t kBuckets = std::size_t{1} << kBits;
  constexpr int kBase = sizeof(Key) == 8 ? 32 : 0;
  std::array<std::array<std::size_t, kBuckets>, 3> counts{};
  const auto digit = [](Key key, int pass) {
    return static_cast<std::size_t>(key >> (kBase + kBits * pass)) & (kBuckets - 1);
  };
  for (const Key key : keys) {
    for (int pass = 0; pass < 3; ++pass) ++counts[static_cast<std::size_t>(pass)][digit(key, pass)];
  }
  std::vector<Key> other(keys.size());
  for (int pass = 0; pass < 3; ++pass) {
    auto& starts = counts[static_cast<std::size_t>(pass)];
    std::size_t sum = 0;
    for (std::size_t& count : starts) sum += std::exchange(count, sum);
    for (const Key key : keys) other[starts[digit(key, pass)]++] = key;
    std::swap(keys, other);
  }
}

void append(SortedPoints& points, double value, double weight) {
  if (!points.value.empty() && points.value.back() == value) {
    points.weight.back() += weight;
  } else {
    points.value.push_back(value);
    points.weight.push_back(weight);
  }
}

bool taken(double x, const float* weights, std::size_t i, bool skip_zeros) {
  return !(skip_zeros && x == 0) && !(weights && weights[i] == 0);
}

SortedPoints sort_keys(const float* x, std::size_t n, bool skip_zeros) {
  std::vector<uint32_t> keys;
  keys.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (taken(x[i], nullptr, i, skip_zeros)) keys.push_back(key_of(x[i]));
  }
  radix_sort(keys);
  SortedPoints points;
  points.value.reserve(keys.size());
  points.weight.reserve(keys.size());
  for (const uint32_t key : keys) append(points, value_of(key), 1);
  return points;
}

}  // namespace

SortedPoints sort_points(const float* x, const float* weights, std::size_t n, bool skip_zeros) {
  if (!weights) return sort_keys(x, n, skip_zeros);
  std::vector<uint64_t> keys;
  keys.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (taken(x[i], weights, i, skip_zeros)) keys.push_back(uint64_t{key_of(x[i])} << 32 | i);
  }
  radix_sort(keys);
  SortedPoints points;
  for (const uint64_t key : keys) {
    append(points, value_of(static_cast<uint32_t>(key >> 32)), weights[key & 0xFFFFFFFF]);
  }
  return points;
}

SortedPoints sort_points(const double* x, const float* weights, std::size_t n, bool skip_zeros) {
  std::vector<std::pair<double, double>> pairs;
  pairs.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (taken(x[i], weights, i, skip_zeros)) {
      pairs.emplace_back(x[i] + 0.0, weights ? weights[i] : 1.0);
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  SortedPoints points;
  for (const auto& [value, weight] : pairs) append(points, value, weight);
  return points;
}

}  // namespace tersor::codebook
