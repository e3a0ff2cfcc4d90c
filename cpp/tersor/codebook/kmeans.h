// One-dimensional k-means: k numbers that stand for the weights of a tensor.
//
//   minimise  sum over i of weight[i] * (w[i] - centroid[code[i]])^2
//
// Exact: dynamic programming (partition.h) over the distinct values, if there are at most
// max_points of them. More values are first collected in bins (companded_bins.h for few clusters
// where values suit it, otherwise bins.h), about 384 a cluster at k = 16 and 32 at k = 256; the
// dynamic programming over bins is exact for partitions that cut no bin, and the values are then
// assigned one by one to their nearest centroid. The result's error exceeds the optimum by at most
//   sum over the k - 1 bins that the optimal boundaries cut, of
//   (weight of the bin) * (width of the bin) * (distance of the two centroids) / 2
// because a value on the wrong side of a boundary at distance t costs 2 t * distance, and moves by
// less than a bin; that is 6 / r^2 of the error for r bins a cluster, and a fraction of it in
// practice (4e-6 at k = 16, 2e-4 at k = 256).
//
// Zeros: a tensor of which 5 % or more are exactly 0 (and not all) is pruned; one centroid is then
// exactly 0, for the zeros alone, and k - 1 are for the others.
//
// Results depend on values, weights, options and seed, not on the number of threads; centroids are
// in ascending order and every code occurs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::codebook {

enum class Algorithm : std::uint8_t { exact, lloyd };
enum class Init : std::uint8_t { linear, density, random, kmeans_plus_plus };
enum class KeepZero : std::uint8_t { never, pruned, always };

// "exact", "lloyd"; "linear", "density", "random", "k-means++". ValueError lists them.
TERSOR_API Algorithm algorithm_from_name(const std::string& name);
TERSOR_API Init init_from_name(const std::string& name);

struct KMeansOptions {
  int k = 16;  // 1..256
  Algorithm algorithm = Algorithm::exact;
  Init init = Init::linear;  // of lloyd
  KeepZero keep_zero = KeepZero::pruned;
  std::uint64_t seed = 0;
  int max_iterations = 300;         // of lloyd
  std::size_t max_points = 131072;  // of exact, for float32; float64 is never binned
};

struct Clustering {
  std::vector<double> centroids;  // ascending strictly; float32 values for float32 input
  // Squared error. Of the means before they are rounded to float32 where the values were clustered
  // themselves, which matters from the 11th digit on.
  double inertia = 0;
};

// codes[n]. ValueError if n is 0 or 2^31 or more, a value is NaN or infinite, a weight is negative
// or not finite, all weights are 0, or k is out of range (2 at least where zero is kept). Fewer
// centroids than k come back for fewer distinct values.
TERSOR_API Clustering kmeans(const float* w, const float* weights, std::size_t n,
                             const KMeansOptions& options, std::uint8_t* codes);
TERSOR_API Clustering kmeans(const double* w, const float* weights, std::size_t n,
                             const KMeansOptions& options, std::uint8_t* codes);

}  // namespace tersor::codebook
