// Centroids of sorted points: the best ones, and those that Lloyd's iteration finds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/codebook/kmeans.h"
#include "tersor/codebook/sorted_points.h"

namespace tersor::codebook {

struct Runs {
  std::vector<std::size_t> starts;  // of each run, and the number of points
  std::vector<double> means;        // ascending strictly
  double inertia = 0;
};

// Both: k >= 1; a run for every point where there are at most k. No run is empty.
// The least squared error of all partitions.
Runs best_runs(const SortedPoints& points, int k);
// Lloyd's iteration from an initialisation: O(k log n) each on prefix sums, until no point changes
// its run. A run that gets empty takes the farthest point of the run with the highest error.
Runs lloyd_runs(const SortedPoints& points, int k, Init init, std::uint64_t seed,
                int max_iterations);

// Means and squared error of runs, summed in extended precision.
Runs finish_runs(const SortedPoints& points, std::vector<std::size_t> starts);

}  // namespace tersor::codebook
