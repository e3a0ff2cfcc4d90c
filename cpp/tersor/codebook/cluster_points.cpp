#include "tersor/codebook/cluster_points.h"

#include <numeric>
#include <utility>

#include "tersor/codebook/partition.h"

namespace tersor::codebook {
namespace {

// Sweeps that follow the dynamic programming: they only move what rounding left on the wrong side.
constexpr int kPolish = 4;

std::vector<std::size_t> nearest_starts(const SortedPoints& points,
                                        const std::vector<double>& means,
                                        const std::vector<std::size_t>& starts) {
  std::vector<std::size_t> moved = starts;
  for (std::size_t j = 1; j < means.size(); ++j) {
    const double middle = 0.5 * means[j - 1] + 0.5 * means[j];
    std::size_t at = starts[j];
    while (at > moved[j - 1] + 1 && points.value[at - 1] > middle) --at;
    while (at + 1 < starts[j + 1] && points.value[at] <= middle) ++at;
    moved[j] = at;
  }
  return moved;
}

}  // namespace

Runs finish_runs(const SortedPoints& points, std::vector<std::size_t> starts) {
  Runs out;
  long double inertia = 0;
  for (std::size_t j = 0; j + 1 < starts.size(); ++j) {
    const double origin = points.value[starts[j]];  // differences are small, and often exact
    long double weight = 0, sum = 0;
    for (std::size_t i = starts[j]; i < starts[j + 1]; ++i) {
      weight += points.weight[i];
      sum += static_cast<long double>(points.weight[i]) * (points.value[i] - origin);
    }
    const auto mean = static_cast<double>(origin + sum / weight);
    for (std::size_t i = starts[j]; i < starts[j + 1]; ++i) {
      const double d = points.value[i] - mean;
      inertia += static_cast<long double>(points.weight[i]) * d * d;
    }
    out.means.push_back(mean);
  }
  out.inertia = static_cast<double>(inertia);
  out.starts = std::move(starts);
  return out;
}

Runs best_runs(const SortedPoints& points, int k) {
  const std::size_t n = points.size();
  if (n <= static_cast<std::size_t>(k)) {
    std::vector<std::size_t> starts(n + 1);
    std::iota(starts.begin(), starts.end(), std::size_t{0});
    return finish_runs(points, std::move(starts));
  }
  Runs best =
      finish_runs(points, optimal_partition(points.value.data(), points.weight.data(), n, k));
  for (int sweep = 0; sweep < kPolish; ++sweep) {
    Runs moved = finish_runs(points, nearest_starts(points, best.means, best.starts));
    if (!(moved.inertia < best.inertia)) break;
    best = std::move(moved);
  }
  return best;
}

}  // namespace tersor::codebook
