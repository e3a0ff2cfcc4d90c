#include "tersor/pruning/scores.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/random.h"
#include "tersor/base/threads.h"
#include "tersor/pruning/kernels.h"

namespace tersor::pruning {
namespace {

// Indices by descending key, equal ones in their order: radix sort, 11 bits at a time.
std::vector<std::size_t> descending(const std::vector<std::uint32_t>& keys) {
  constexpr std::size_t kDigits = 2048;
  std::vector<std::size_t> order(keys.size()), next(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (int shift = 0; shift < 32; shift += 11) {
    std::array<std::size_t, kDigits + 1> start{};
    const auto digit = [&](std::size_t i) { return kDigits - 1 - (keys[i] >> shift) % kDigits; };
    for (const std::size_t i : order) ++start[digit(i) + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    for (const std::size_t i : order) next[start[digit(i)]++] = i;
    order.swap(next);
  }
  return order;
}

}  // namespace

void lamp_scores(const float* w, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i)
    TERSOR_CHECK(std::isfinite(w[i]), "lamp_scores: w must be finite, got ", w[i]);
  std::vector<std::uint32_t> keys(n);
  score_keys_table.pick()(w, n, true, keys.data());
  double sum = 0;
  for (const std::size_t i : descending(keys)) {
    const double square = static_cast<double>(w[i]) * w[i];
    sum += square;
    out[i] = square > 0 ? static_cast<float>(square / sum) : 0.0f;
  }
}

void random_scores(std::uint64_t seed, std::size_t n, float* out) {
  const Philox random(seed);
  parallel_for((n + 3) / 4, 4096, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      const auto words = random.block(b);
      for (std::size_t i = 4 * b; i < std::min(n, 4 * b + 4); ++i)
        out[i] = static_cast<float>(words[i % 4] >> 8) * 0x1p-24f;
    }
  });
}

}  // namespace tersor::pruning
