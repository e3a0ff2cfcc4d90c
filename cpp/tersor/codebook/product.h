// Product codebooks: short vectors of consecutive weights become indices into a table of k vectors
// (Jegou, Douze & Schmid, "Product quantization", PAMI 2011).
//
//   minimise  sum over v of |x[v] - centroid[code[v]]|^2
//
// k-means++ on a sample, then Lloyd's iteration. A centroid that loses its members moves to the
// farthest vector. Vectors that are all 0 keep a centroid of their own (KeepZero, as in kmeans.h).
// Results depend on values, options and seed alone, not on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/codebook/kmeans.h"

namespace tersor::codebook {

// Centroids are columns[dim][padded], padded a multiple of 16, with half their squared norms,
// infinite behind the last:
// codes[v] = the lowest c with the least half_norms[c] - sum over d of x[v][d] * columns[d][c],
// each product and sum rounded in the order of d: the same on every instruction set.
using nearest_vectors_sig = void(const float* x, std::size_t n, int dim, std::size_t padded,
                                 const float* columns, const float* half_norms,
                                 std::uint8_t* codes) noexcept;

struct ProductOptions {
  int k = 256;  // 1..256
  int dim = 4;  // 2, 4 or 8
  KeepZero keep_zero = KeepZero::pruned;
  std::uint64_t seed = 0;
  int max_iterations = 25;
};

struct ProductClustering {
  std::vector<float> centroids;  // [at most k][dim]
  double inertia = 0;
};

// x[n][dim], codes[n]. ValueError if n is 0, a value is NaN or infinite, or an option is out of
// range. Fewer centroids come back for fewer distinct vectors; every code occurs.
TERSOR_API ProductClustering product_kmeans(const float* x, std::size_t n,
                                            const ProductOptions& options, std::uint8_t* codes);

}  // namespace tersor::codebook
