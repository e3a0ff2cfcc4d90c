// Lloyd's iteration and its initialisations on sorted points (cluster_points.h).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tersor/base/cancel.h"
#include "tersor/base/random.h"
#include "tersor/codebook/cluster_points.h"

namespace tersor::codebook {
namespace {

using Starts = std::vector<std::size_t>;
using Centers = std::vector<double>;

// Prefix sums of w, w y and w y^2, y = x - mean, answer questions about runs in O(1).
class Lloyd {
 public:
  Lloyd(const SortedPoints& points, int k, std::uint64_t seed)
      : points_(points), k_(static_cast<std::size_t>(k)), random_(seed, 0x6c6c6f7964) {
    const std::size_t n = points.size();
    long double total = 0, moment = 0;
    for (std::size_t i = 0; i < n; ++i) {
      total += points.weight[i];
      moment += static_cast<long double>(points.weight[i]) * points.value[i];
    }
    mean_ = static_cast<double>(moment / total);
    weight_.resize(n + 1);
    sum_.resize(n + 1);
    square_.resize(n + 1);
    for (std::size_t i = 0; i < n; ++i) {
      const double w = points.weight[i], y = points.value[i] - mean_;
      weight_[i + 1] = weight_[i] + w;
      sum_[i + 1] = sum_[i] + w * y;
      square_[i + 1] = square_[i] + w * y * y;
    }
  }

  Centers initial(Init init) {
    switch (init) {
      case Init::linear:
        return linear();
      case Init::density:
        return density();
      case Init::random:
        return random();
      case Init::kmeans_plus_plus:
        return plus_plus();
    }
    return linear();
  }

  Starts iterate(Centers centers, int max_iterations) {
    Starts starts = occupied(centers);
    for (int iteration = 0; iteration < max_iterations; ++iteration) {
      check_cancelled();
      for (std::size_t j = 0; j < k_; ++j) centers[j] = mean_of(starts[j], starts[j + 1]);
      Starts moved = occupied(centers);
      if (moved == starts) break;
      starts = std::move(moved);
    }
    return starts;
  }

 private:
  std::size_t n() const { return points_.size(); }
  double uniform() { return static_cast<double>(random_.word(draws_++)) * 0x1p-32; }

  double mean_of(std::size_t first, std::size_t end) const {
    return mean_ + (sum_[end] - sum_[first]) / (weight_[end] - weight_[first]);
  }

  // Squared distances of a range to a center.
  double cost(std::size_t first, std::size_t end, double center) const {
    const double c = center - mean_, w = weight_[end] - weight_[first];
    const double s = sum_[end] - sum_[first], q = square_[end] - square_[first];
    return std::max(0.0, q - 2 * c * s + c * c * w);
  }

  std::size_t first_above(double x) const {
    return static_cast<std::size_t>(
        std::upper_bound(points_.value.begin(), points_.value.end(), x) - points_.value.begin());
  }

  // Ties go to the lower center.
  Starts nearest(const Centers& centers) const {
    Starts starts(centers.size() + 1, 0);
    for (std::size_t j = 1; j < centers.size(); ++j) {
      const double middle = 0.5 * centers[j - 1] + 0.5 * centers[j];
      starts[j] = std::max(starts[j - 1], first_above(middle));
    }
    starts.back() = n();
    return starts;
  }

  // Runs of sorted centers; those without points are moved until there are none. There are more
  // points than centers, so some run can always give one.
  Starts occupied(Centers& centers) const {
    std::sort(centers.begin(), centers.end());
    Starts starts = nearest(centers);
    for (std::size_t tries = 0; tries < 4 * k_; ++tries) {
      std::size_t empty = 0;
      while (empty < k_ && starts[empty] < starts[empty + 1]) ++empty;
      if (empty == k_) return starts;
      centers[empty] = farthest_of_worst(starts);
      std::sort(centers.begin(), centers.end());
      starts = nearest(centers);
    }
    return spread(starts);
  }

  double farthest_of_worst(const Starts& starts) const {
    std::size_t worst = 0;
    double error = -1;
    for (std::size_t j = 0; j < k_; ++j) {
      if (starts[j + 1] < starts[j] + 2) continue;
      const double own = cost(starts[j], starts[j + 1], mean_of(starts[j], starts[j + 1]));
      if (own > error) {
        error = own;
        worst = j;
      }
    }
    const double low = points_.value[starts[worst]], high = points_.value[starts[worst + 1] - 1];
    const double mean = mean_of(starts[worst], starts[worst + 1]);
    return mean - low > high - mean ? low : high;
  }

  // The last resort: at least one point a run, whatever the distances.
  Starts spread(Starts starts) const {
    for (std::size_t j = 1; j < k_; ++j) {
      starts[j] = std::clamp(starts[j], starts[j - 1] + 1, n() - (k_ - j));
    }
    return starts;
  }

  Centers linear() const {
    const double low = points_.value.front(), high = points_.value.back();
    Centers centers(k_);
    for (std::size_t j = 0; j < k_; ++j) {
      const double t = k_ > 1 ? static_cast<double>(j) / static_cast<double>(k_ - 1) : 0.5;
      centers[j] = (1 - t) * low + t * high;
    }
    return centers;
  }

  // The point under a share of the whole weight.
  std::size_t at_share(double share) const {
    const double target = share * weight_.back();
    const auto above = std::upper_bound(weight_.begin() + 1, weight_.end(), target);
    return std::min(n() - 1, static_cast<std::size_t>(above - weight_.begin()) - 1);
  }

  Centers density() const {
    Centers centers(k_);
    for (std::size_t j = 0; j < k_; ++j) {
      const double share = (static_cast<double>(j) + 0.5) / static_cast<double>(k_);
      centers[j] = points_.value[at_share(share)];
    }
    return centers;
  }

  // k different points, drawn with their weights.
  Centers random() {
    std::vector<std::size_t> taken;
    for (std::size_t tries = 0; taken.size() < k_ && tries < 64 * k_; ++tries) {
      const std::size_t at = at_share(uniform());
      if (std::find(taken.begin(), taken.end(), at) == taken.end()) taken.push_back(at);
    }
    Centers centers;
    for (const std::size_t at : taken) centers.push_back(points_.value[at]);
    while (centers.size() < k_) centers.push_back(points_.value.back());  // moved by occupied
    return centers;
  }

  // Each center is a point drawn with its squared distance to the nearest one before (Arthur &
  // Vassilvitskii, "k-means++", SODA 2007).
  Centers plus_plus() {
    Centers centers{points_.value[at_share(uniform())]};
    while (centers.size() < k_) {
      const Starts starts = nearest(centers);
      std::vector<double> costs(centers.size());
      for (std::size_t j = 0; j < centers.size(); ++j) {
        costs[j] = cost(starts[j], starts[j + 1], centers[j]);
      }
      double target = uniform() * std::accumulate(costs.begin(), costs.end(), 0.0);
      std::size_t j = 0;
      while (j + 1 < costs.size() && target >= costs[j]) target -= costs[j++];
      std::size_t low = starts[j], high = starts[j + 1];
      while (low + 1 < high) {  // the point at which the run's cost passes the target
        const std::size_t middle = low + (high - low) / 2;
        (cost(starts[j], middle, centers[j]) <= target ? low : high) = middle;
      }
      if (low == n()) --low;
      centers.insert(std::upper_bound(centers.begin(), centers.end(), points_.value[low]),
                     points_.value[low]);
    }
    return centers;
  }

  const SortedPoints& points_;
  std::size_t k_;
  Philox random_;
  std::uint64_t draws_ = 0;
  double mean_ = 0;
  std::vector<double> weight_, sum_, square_;
};

}  // namespace

Runs lloyd_runs(const SortedPoints& points, int k, Init init, std::uint64_t seed,
                int max_iterations) {
  const std::size_t n = points.size();
  if (n <= static_cast<std::size_t>(k)) return best_runs(points, k);
  Lloyd lloyd(points, k, seed);
  return finish_runs(points, lloyd.iterate(lloyd.initial(init), max_iterations));
}

}  // namespace tersor::codebook
