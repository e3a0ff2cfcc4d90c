#include "tersor/codebook/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "tersor/base/error.h"
#include "tersor/codebook/assign.h"
#include "tersor/codebook/bins.h"
#include "tersor/codebook/cluster_points.h"
#include "tersor/codebook/companded_bins.h"
#include "tersor/codebook/sorted_points.h"

namespace tersor::codebook {
namespace {

constexpr double kPrunedShare = 0.05;
// Bins that many clusters need to come within 1e-3 of the optimum, and few within 1e-5.
constexpr std::size_t kBinsOfFew = 6144, kBinsOfMany = 8192;
constexpr int kFew = 64;
// Where the bound of kmeans.h says that the bins may have cost more, there are four times as many,
// and then again; after that the values themselves are clustered. The excess is about a thirtieth
// of the bound.
constexpr double kMostExcess = 0.03;
constexpr int kRefinements = 2;
// Companded bins of each side, of few clusters; the bound is lower, because bins.h does better than
// that. Many clusters need most of their time for the dynamic programming.
constexpr uint32_t kHalf = 8192;
constexpr double kMostCompandedExcess = 1.2e-4;

template <class T>
void check_values(const T* w, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(std::isfinite(w[i]), "kmeans: w must be finite, got ", w[i]);
  }
}

void check_weights(const float* weights, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(weights[i] >= 0 && std::isfinite(weights[i]),
                 "kmeans: weights must be finite and at least 0, got ", weights[i]);
    sum += weights[i];
  }
  TERSOR_CHECK(sum > 0, "kmeans: weights must have a positive sum, got 0");
}

template <class T>
std::size_t count_zeros(const T* w, std::size_t n) {
  std::uint32_t zeros = 0;  // 32 bits: the loop becomes vectors of them
  for (std::size_t i = 0; i < n; ++i) zeros += w[i] == 0 ? 1 : 0;
  return zeros;
}

bool keeps_zero(KeepZero keep, std::size_t zeros, std::size_t n) {
  if (keep != KeepZero::pruned) return keep == KeepZero::always && zeros > 0;
  return zeros > 0 && zeros < n &&
         static_cast<double>(zeros) >= kPrunedShare * static_cast<double>(n);
}

std::vector<std::size_t> count_codes(const std::uint8_t* codes, std::size_t n) {
  std::uint32_t counts[4][kMostCentroids] = {};  // equal neighbours would wait for one counter
  for (std::size_t i = 0; i < n; ++i) ++counts[i % 4][codes[i]];
  std::vector<std::size_t> sums(kMostCentroids);
  for (std::size_t c = 0; c < kMostCentroids; ++c) {
    sums[c] = std::size_t{counts[0][c]} + counts[1][c] + counts[2][c] + counts[3][c];
  }
  return sums;
}

// Centroids as numbers of type T with that of the zeros at its place, strictly ascending.
template <class T>
struct Centroids {
  std::vector<T> values;
  int zero = -1;

  Centroids(const std::vector<double>& means, bool keep_zero) {
    for (const double mean : means) {
      auto value = static_cast<T>(mean);
      // The zero centroid is for zeros alone, so no other may have its value.
      if (keep_zero && value == 0) value = std::numeric_limits<T>::min();
      if (values.empty() || values.back() < value) values.push_back(value);
    }
    if (!keep_zero) return;
    const auto at = std::lower_bound(values.begin(), values.end(), T{0});
    zero = static_cast<int>(at - values.begin());
    values.insert(at, T{0});
  }

  // Whether there was one that no code names.
  bool drop_unused(const std::uint8_t* codes, std::size_t n) {
    const std::vector<std::size_t> counts = count_codes(codes, n);
    bool dropped = false;
    for (std::size_t c = values.size(); c-- > 0;) {
      if (counts[c] > 0) continue;
      values.erase(values.begin() + static_cast<std::ptrdiff_t>(c));
      if (static_cast<int>(c) < zero) --zero;
      dropped = true;
    }
    return dropped;
  }
};

template <class T>
Clustering cluster_values(const T* w, const float* weights, std::size_t n,
                          const KMeansOptions& options, bool keep_zero, std::uint8_t* codes) {
  check_values(w, n);
  SortedPoints points = sort_points(w, weights, n, keep_zero);
  // Values that weigh nothing need a centroid all the same.
  if (points.size() == 0 && weights) points = sort_points(w, nullptr, n, keep_zero);
  const int k = options.k - (keep_zero ? 1 : 0);
  Runs runs;
  if (points.size() > 0) {
    runs = options.algorithm == Algorithm::exact
               ? best_runs(points, k)
               : lloyd_runs(points, k, options.init, options.seed, options.max_iterations);
  }
  Centroids<T> centroids(runs.means, keep_zero);
  double inertia = assign(w, weights, n, centroids.values, centroids.zero, codes);
  // Lloyd's iteration that was stopped early may have a mean to which nothing is nearest.
  while (centroids.drop_unused(codes, n)) {
    inertia = assign(w, weights, n, centroids.values, centroids.zero, codes);
  }
  if (options.algorithm == Algorithm::exact) inertia = runs.inertia;
  return {{centroids.values.begin(), centroids.values.end()}, inertia};
}

// What bins can have cost: every boundary may have cut the wider of the two bins beside it.
double excess_bound(const Bins& bins, const Runs& runs) {
  double sum = 0;
  for (std::size_t j = 1; j < runs.means.size(); ++j) {
    const std::size_t b = runs.starts[j];
    const double mass =
        std::max(bins.weight[b] * bins.width[b], bins.weight[b - 1] * bins.width[b - 1]);
    sum += mass * (runs.means[j] - runs.means[j - 1]) / 2;
  }
  return sum;
}

// Whether every centroid has a bin whose values are all nearest to it, so that no counting is
// needed: a value differs from the mean of its bin by less than the bin's width.
bool every_code_has_a_bin(const Bins& bins, const Runs& runs) {
  const std::size_t k = runs.means.size();
  for (std::size_t j = 0; j < k; ++j) {
    const double low = j == 0 ? -INFINITY : (runs.means[j - 1] + runs.means[j]) / 2;
    const double high = j + 1 == k ? INFINITY : (runs.means[j] + runs.means[j + 1]) / 2;
    const double margin = 1e-6 * (std::fabs(low) + std::fabs(high));  // rounding to float32
    const double slack = std::isfinite(margin) ? margin : 1e-6 * std::fabs(runs.means[j]);
    const auto inside = [&](std::size_t b) {
      return bins.value[b] - bins.width[b] > low + slack &&
             bins.value[b] + bins.width[b] < high - slack;
    };
    bool found = false;
    for (std::size_t b = runs.starts[j]; b < runs.starts[j + 1] && !found; ++b) found = inside(b);
    if (!found) return false;
  }
  return true;
}

// What it can have cost that bins stood at the middles of their edges: the mean of a run, which is
// off by half a width at most.
double middle_bound(const Bins& bins, const Runs& runs) {
  double sum = 0;
  for (std::size_t j = 0; j < runs.means.size(); ++j) {
    double weight = 0, shift = 0;
    for (std::size_t b = runs.starts[j]; b < runs.starts[j + 1]; ++b) {
      weight += bins.weight[b];
      shift += bins.weight[b] * bins.width[b] / 2;
    }
    sum += shift * shift / weight;
  }
  return sum;
}

struct Binned {
  Bins bins;
  bool at_middles;     // of their edges
  double most_excess;  // share of the error
};

// False where bins are too coarse for the data; `out` and codes are then to be made otherwise.
bool cluster_bins(const float* w, const float* weights, std::size_t n, const Binned& binned,
                  const KMeansOptions& options, bool keep_zero, std::uint8_t* codes,
                  Clustering& out) {
  const Bins& bins = binned.bins;
  const int k = options.k - (keep_zero ? 1 : 0);
  if (!bins.finite || bins.value.size() <= static_cast<std::size_t>(k)) return false;
  const SortedPoints points{bins.value, bins.weight};
  const Runs runs = best_runs(points, k);
  const Centroids<float> centroids(runs.means, keep_zero);
  if (centroids.values.size() < static_cast<std::size_t>(options.k)) return false;
  out.inertia = assign(w, weights, n, centroids.values, centroids.zero, codes);
  out.centroids.assign(centroids.values.begin(), centroids.values.end());
  const double bound =
      excess_bound(bins, runs) + (binned.at_middles ? middle_bound(bins, runs) : 0);
  return bound <= binned.most_excess * out.inertia &&
         (every_code_has_a_bin(bins, runs) || !Centroids<float>(centroids).drop_unused(codes, n));
}

// Whether one of the centroids is for zeros alone.
bool keeps_zero(const KMeansOptions& options, std::size_t zeros, std::size_t n) {
  if (!keeps_zero(options.keep_zero, zeros, n)) return false;
  if (options.k > 1 || zeros == n) return true;
  TERSOR_CHECK(options.keep_zero != KeepZero::always,
               "kmeans: k must be at least 2 where zero is kept, got 1");
  return false;
}

// The quickest way, for many values and few clusters.
bool cluster_companded(const float* w, std::size_t n, const KMeansOptions& options,
                       std::uint8_t* codes, Clustering& out) {
  if (options.k > kFew) return false;
  const CompandedCounts counted = count_companded(w, n, kHalf);
  if (counted.counts.empty() || counted.zeros == n) return false;
  const bool keep_zero = keeps_zero(options, counted.zeros, n);
  const Binned binned{companded_bins(counted, keep_zero), true, kMostCompandedExcess};
  return cluster_bins(w, nullptr, n, binned, options, keep_zero, codes, out);
}

template <class T>
Clustering cluster(const T* w, const float* weights, std::size_t n, const KMeansOptions& options,
                   std::uint8_t* codes) {
  TERSOR_CHECK(n > 0 && n < (std::size_t{1} << 31),
               "kmeans: w must have between 1 and 2^31 - 1 values, got ", n);
  TERSOR_CHECK(1 <= options.k && options.k <= kMostCentroids, "kmeans: k must be in [1, ",
               kMostCentroids, "], got ", options.k);
  TERSOR_CHECK(options.max_iterations >= 1, "kmeans: max_iterations must be at least 1, got ",
               options.max_iterations);
  if (weights) check_weights(weights, n);
  Clustering out;
  const bool binned =
      std::is_same_v<T, float> && options.algorithm == Algorithm::exact && n > options.max_points;
  if constexpr (std::is_same_v<T, float>) {
    if (binned && !weights && cluster_companded(w, n, options, codes, out)) return out;
  }
  const std::size_t zeros = options.keep_zero == KeepZero::never ? 0 : count_zeros(w, n);
  const bool keep_zero = keeps_zero(options, zeros, n);
  if constexpr (std::is_same_v<T, float>) {
    if (binned && zeros < n) {
      std::size_t bins = options.k <= kFew ? kBinsOfFew : kBinsOfMany;
      for (int refined = 0; refined <= kRefinements; ++refined, bins *= 4) {
        const Binned found{make_bins(w, weights, n, bins, keep_zero), false, kMostExcess};
        if (cluster_bins(w, weights, n, found, options, keep_zero, codes, out)) return out;
      }
    }
  }
  return cluster_values(w, weights, n, options, keep_zero, codes);
}

}  // namespace

Algorithm algorithm_from_name(const std::string& name) {
  if (name == "exact") return Algorithm::exact;
  TERSOR_CHECK(name == "lloyd", "kmeans: algorithm must be exact or lloyd, got ", name);
  return Algorithm::lloyd;
}

Init init_from_name(const std::string& name) {
  if (name == "linear") return Init::linear;
  if (name == "density") return Init::density;
  if (name == "random") return Init::random;
  TERSOR_CHECK(name == "k-means++",
               "kmeans: init must be linear, density, random or k-means++, got ", name);
  return Init::kmeans_plus_plus;
}

Clustering kmeans(const float* w, const float* weights, std::size_t n, const KMeansOptions& options,
                  std::uint8_t* codes) {
  return cluster(w, weights, n, options, codes);
}

Clustering kmeans(const double* w, const float* weights, std::size_t n,
                  const KMeansOptions& options, std::uint8_t* codes) {
  return cluster(w, weights, n, options, codes);
}

}  // namespace tersor::codebook
