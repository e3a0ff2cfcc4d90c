#include "tersor/codebook/product.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tersor/base/cancel.h"
#include "tersor/base/error.h"
#include "tersor/base/random.h"
#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

constexpr std::size_t kPiece = 8192;     // vectors; sums are added piece by piece, in order
constexpr std::size_t kSampled = 16384;  // vectors that k-means++ looks at
constexpr double kPrunedShare = 0.05;
// Lloyd's iteration ends where it gains less than this share.
constexpr double kLeastGain = 1e-4;

class ProductKMeans {
 public:
  ProductKMeans(const float* x, std::size_t n, const ProductOptions& options, int k)
      : x_(x), n_(n), dim_(static_cast<std::size_t>(options.dim)), options_(options), codes_(n) {
    seed_centroids(static_cast<std::size_t>(k));
  }

  void run() {
    double error = assign();
    for (int i = 0; i < options_.max_iterations; ++i) {
      check_cancelled();
      move();
      const double next = assign();
      const bool settled = next >= error * (1 - kLeastGain);
      error = next;
      if (settled) break;
    }
    while (drop_unused()) error = assign();
    error_ = error;
  }

  const std::vector<float>& centroids() const { return centroids_; }
  const std::vector<std::uint8_t>& codes() const { return codes_; }
  double error() const { return error_; }

 private:
  std::size_t k() const { return centroids_.size() / dim_; }

  double distance(std::size_t v, const float* centroid) const {
    double sum = 0;
    for (std::size_t d = 0; d < dim_; ++d) {
      const double e = static_cast<double>(x_[v * dim_ + d]) - static_cast<double>(centroid[d]);
      sum += e * e;
    }
    return sum;
  }

  void add_centroid(std::size_t v) {
    centroids_.insert(centroids_.end(), x_ + v * dim_, x_ + (v + 1) * dim_);
  }

  void seed_centroids(std::size_t k) {
    const Philox random(options_.seed, 0x70726f64);
    std::uint64_t draws = 0;
    const auto uniform = [&] { return static_cast<double>(random.word(draws++)) * 0x1p-32; };
    std::vector<std::size_t> sample(std::min(n_, kSampled));
    for (std::size_t i = 0; i < sample.size(); ++i) {
      sample[i] = n_ <= kSampled ? i
                                 : static_cast<std::size_t>((static_cast<double>(i) + uniform()) *
                                                            static_cast<double>(n_) / kSampled);
    }
    std::vector<double> nearest(sample.size(), std::numeric_limits<double>::infinity());
    std::size_t chosen = static_cast<std::size_t>(uniform() * static_cast<double>(sample.size()));
    while (true) {
      add_centroid(sample[chosen]);
      if (this->k() == k) return;
      double total = 0;
      for (std::size_t i = 0; i < sample.size(); ++i) {
        nearest[i] =
            std::min(nearest[i],
                     distance(sample[i], &*(centroids_.end() - static_cast<std::ptrdiff_t>(dim_))));
        total += nearest[i];
      }
      if (!(total > 0)) return;  // every sampled vector is a centroid
      double target = uniform() * total;
      chosen = sample.size();
      for (std::size_t i = 0; i < sample.size(); ++i) {
        if (nearest[i] > 0) chosen = i;
        target -= nearest[i];
        if (target < 0 && chosen == i) break;
      }
    }
  }

  double assign() {
    const std::size_t padded = (k() + 15) / 16 * 16;
    std::vector<float> columns(dim_ * padded, 0.0f);
    std::vector<float> norms(padded, std::numeric_limits<float>::infinity());
    for (std::size_t c = 0; c < k(); ++c) {
      double norm = 0;
      for (std::size_t d = 0; d < dim_; ++d) {
        const float value = centroids_[c * dim_ + d];
        columns[d * padded + c] = value;
        norm += static_cast<double>(value) * static_cast<double>(value);
      }
      norms[c] = static_cast<float>(norm / 2);
    }
    auto* const kernel = nearest_vectors_table.pick();
    const std::size_t pieces = (n_ + kPiece - 1) / kPiece;
    std::vector<double> errors(pieces);
    parallel_tasks(pieces, 0, [&](std::size_t p, int) {
      const std::size_t first = p * kPiece, end = std::min(n_, first + kPiece);
      kernel(x_ + first * dim_, end - first, options_.dim, padded, columns.data(), norms.data(),
             codes_.data() + first);
      for (std::size_t v = first; v < end; ++v) {
        errors[p] += distance(v, centroids_.data() + codes_[v] * dim_);
      }
    });
    return std::accumulate(errors.begin(), errors.end(), 0.0);
  }

  // Centroids to the means of their members; those without, to the farthest vectors.
  void move() {
    const std::size_t pieces = (n_ + kPiece - 1) / kPiece, width = dim_ + 1;
    std::vector<std::vector<double>> sums(pieces);
    parallel_tasks(pieces, 0, [&](std::size_t p, int) {
      std::vector<double>& sum = sums[p];
      sum.assign(k() * width, 0.0);
      for (std::size_t v = p * kPiece; v < std::min(n_, (p + 1) * kPiece); ++v) {
        double* const own = sum.data() + codes_[v] * width;
        for (std::size_t d = 0; d < dim_; ++d) own[d] += static_cast<double>(x_[v * dim_ + d]);
        own[dim_] += 1;
      }
    });
    for (std::size_t p = 1; p < pieces; ++p) {
      for (std::size_t i = 0; i < k() * width; ++i) sums[0][i] += sums[p][i];
    }
    std::vector<std::size_t> empty;
    for (std::size_t c = 0; c < k(); ++c) {
      const double* const own = sums[0].data() + c * width;
      if (own[dim_] == 0) {
        empty.push_back(c);
        continue;
      }
      for (std::size_t d = 0; d < dim_; ++d) {
        centroids_[c * dim_ + d] = static_cast<float>(own[d] / own[dim_]);
      }
    }
    if (!empty.empty()) fill(empty);
  }

  void fill(const std::vector<std::size_t>& empty) {
    std::vector<std::pair<double, std::size_t>> far(n_);
    for (std::size_t v = 0; v < n_; ++v) {
      far[v] = {-distance(v, centroids_.data() + codes_[v] * dim_), v};
    }
    const std::size_t count = std::min(empty.size(), n_);
    std::partial_sort(far.begin(), far.begin() + static_cast<std::ptrdiff_t>(count), far.end());
    for (std::size_t e = 0; e < count; ++e) {
      std::copy_n(x_ + far[e].second * dim_, dim_,
                  centroids_.begin() + static_cast<std::ptrdiff_t>(empty[e] * dim_));
    }
  }

  bool drop_unused() {
    std::vector<bool> used(k());
    for (const std::uint8_t code : codes_) used[code] = true;
    const std::size_t before = k();
    for (std::size_t c = before; c-- > 0;) {
      if (used[c]) continue;
      const auto at = centroids_.begin() + static_cast<std::ptrdiff_t>(c * dim_);
      centroids_.erase(at, at + static_cast<std::ptrdiff_t>(dim_));
    }
    return k() < before;
  }

  const float* x_;
  std::size_t n_, dim_;
  ProductOptions options_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> centroids_;
  double error_ = 0;
};

void check(const float* x, std::size_t n, const ProductOptions& o) {
  TERSOR_CHECK(n > 0, "product_kmeans: w must have at least 1 value, got 0");
  TERSOR_CHECK(1 <= o.k && o.k <= kMostCentroids, "product_kmeans: k must be in [1, ",
               kMostCentroids, "], got ", o.k);
  TERSOR_CHECK(o.dim == 2 || o.dim == 4 || o.dim == 8,
               "product_kmeans: dim must be 2, 4 or 8, got ", o.dim);
  TERSOR_CHECK(o.max_iterations >= 1, "product_kmeans: max_iterations must be at least 1, got ",
               o.max_iterations);
  // Squared norms of float32 must stay finite: 8 * (2^62)^2 < 2^128.
  for (std::size_t i = 0; i < n * static_cast<std::size_t>(o.dim); ++i) {
    TERSOR_CHECK(std::fabs(x[i]) < 0x1p62f,
                 "product_kmeans: w must be finite and below 2^62 in magnitude, got ", x[i]);
  }
}

}  // namespace

ProductClustering product_kmeans(const float* x, std::size_t n, const ProductOptions& options,
                                 std::uint8_t* codes) {
  check(x, n, options);
  const auto dim = static_cast<std::size_t>(options.dim);
  std::vector<std::size_t> kept;
  for (std::size_t v = 0; v < n; ++v) {
    if (std::any_of(x + v * dim, x + (v + 1) * dim, [](float y) { return y != 0; })) {
      kept.push_back(v);
    }
  }
  const std::size_t zeros = n - kept.size();
  const bool pruned = static_cast<double>(zeros) >= kPrunedShare * static_cast<double>(n);
  const bool keep_zero = zeros > 0 && options.keep_zero != KeepZero::never &&
                         (pruned || options.keep_zero == KeepZero::always) &&
                         (options.k > 1 || kept.empty());
  ProductClustering out;
  if (!keep_zero) {
    ProductKMeans all(x, n, options, options.k);
    all.run();
    std::copy(all.codes().begin(), all.codes().end(), codes);
    return {all.centroids(), all.error()};
  }
  out.centroids.assign(dim, 0.0f);  // code 0
  std::fill(codes, codes + n, std::uint8_t{0});
  if (kept.empty()) return out;
  std::vector<float> others(kept.size() * dim);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    std::copy_n(x + kept[i] * dim, dim, others.begin() + static_cast<std::ptrdiff_t>(i * dim));
  }
  ProductKMeans rest(others.data(), kept.size(), options, options.k - 1);
  rest.run();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    codes[kept[i]] = static_cast<std::uint8_t>(rest.codes()[i] + 1);
  }
  out.centroids.insert(out.centroids.end(), rest.centroids().begin(), rest.centroids().end());
  out.inertia = rest.error();
  return out;
}

}  // namespace tersor::codebook
