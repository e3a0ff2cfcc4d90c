#include "tersor/pruning/select.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/pruning/kernels.h"

namespace tersor::pruning {
namespace {

// Keys of a chunk (64 KiB) and its scores stay in a second-level cache; a task is about 10 us.
constexpr std::size_t kChunk = 16384;
// Magnitudes have 31 bits: 8 of exponent and 3 of mantissa. Signed scores use one more bit.
constexpr int kBinBits = 11;
constexpr std::size_t kBins = std::size_t{1} << kBinBits;
// Two histograms take turns, so that neighbours of one bin do not wait for each other.
using Histogram = std::array<std::array<std::uint32_t, kBins>, 2>;

// From this many scores on, a sample is worth its time.
constexpr std::size_t kSampled = 16384, kStride = 32;

struct Range {
  std::uint32_t low, high;  // of keys, both included
};

struct Found {
  std::vector<std::uint32_t> inside;
  std::size_t above = 0;
};

struct Chunk {
  const float* scores;
  std::size_t n;
  std::uint8_t* mask;
};

std::vector<Chunk> chunks_of(const std::vector<ScoredTensor>& tensors) {
  std::vector<Chunk> out;
  for (const ScoredTensor& t : tensors) {
    for (std::size_t i = 0; i < t.n; i += kChunk) {
      out.push_back({t.scores + i, std::min(kChunk, t.n - i), t.mask + i});
    }
  }
  return out;
}

[[noreturn]] void refuse_nan(const char* operation) {
  throw ValueError(std::string(operation) + ": scores must be numbers, got nan");
}

class Selection {
 public:
  Selection(const char* operation, const std::vector<ScoredTensor>& tensors, bool absolute)
      : operation_(operation),
        absolute_(absolute),
        chunks_(chunks_of(tensors)),
        workers_(static_cast<std::size_t>(std::max(1, threads()))),
        keys_(workers_ * std::min(chunks_.size(), std::size_t{1}) * kChunk) {}

  void run(std::size_t kept) {
    std::size_t n = 0;
    for (const Chunk& c : chunks_) n += c.n;
    if (kept == 0 || kept >= n) {
      histogram();  // refuses NaN
      for (const Chunk& c : chunks_) std::fill_n(c.mask, c.n, kept > 0 ? 1 : 0);
      return;
    }
    Range range = n >= kSampled ? sampled_range(kept, n) : Range{1, 0};
    Found found;
    if (range.low <= range.high) found = keys_in(range);
    if (found.above >= kept || found.above + found.inside.size() < kept)
      found = keys_in(binned_range(kept));
    // The threshold is number `rank` (from 0) in its range, from above.
    const std::size_t rank = kept - found.above - 1;
    const auto nth = found.inside.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(found.inside.begin(), nth, found.inside.end(), std::greater<>());
    std::size_t above = found.above;
    for (auto it = found.inside.begin(); it != nth; ++it) above += *it > *nth;
    mark(*nth, kept - above);
  }

 private:
  int shift() const { return absolute_ ? 31 - kBinBits : 32 - kBinBits; }

  const std::uint32_t* keys(const Chunk& c, int worker) {
    std::uint32_t* out = &keys_[static_cast<std::size_t>(worker) * kChunk];
    if (!score_keys_table.pick()(c.scores, c.n, absolute_, out)) refuse_nan(operation_);
    return out;
  }

  std::vector<std::size_t> histogram() {
    std::vector<Histogram> parts(workers_);
    parallel_tasks(chunks_.size(), 0, [&](std::size_t i, int worker) {
      const std::uint32_t* k = keys(chunks_[i], worker);
      Histogram& h = parts[static_cast<std::size_t>(worker)];
      for (std::size_t j = 0; j < chunks_[i].n; ++j) ++h[j & 1][k[j] >> shift()];
    });
    std::vector<std::size_t> sum(kBins);
    for (const Histogram& h : parts) {
      for (std::size_t b = 0; b < kBins; ++b) sum[b] += std::size_t{h[0][b]} + h[1][b];
    }
    return sum;
  }

  // The bin that holds the threshold.
  Range binned_range(std::size_t kept) {
    const std::vector<std::size_t> counts = histogram();
    std::size_t bin = kBins, above = 0;
    while (above + counts[bin - 1] < kept) above += counts[--bin];
    const std::uint64_t low = std::uint64_t{bin - 1} << shift();
    return {static_cast<std::uint32_t>(low),
            static_cast<std::uint32_t>(low + (std::uint64_t{1} << shift()) - 1)};
  }

  // Where the threshold lies by every kStride-th score: beyond it once in 10^4 random orders, and
  // wrong where the order is periodic, which the counts then show.
  Range sampled_range(std::size_t kept, std::size_t n) {
    std::vector<float> scores;
    for (const Chunk& c : chunks_) {
      for (std::size_t j = 0; j < c.n; j += kStride) scores.push_back(c.scores[j]);
    }
    std::vector<std::uint32_t> sample(scores.size());
    if (!score_keys_table.pick()(scores.data(), scores.size(), absolute_, sample.data()))
      refuse_nan(operation_);
    const double share = static_cast<double>(kept) / static_cast<double>(n);
    const double size = static_cast<double>(sample.size());
    const double spread = 4 * std::sqrt(size * share * (1 - share)) + 2;
    const auto nth = [&](double rank) {
      const auto at = sample.begin() + static_cast<std::ptrdiff_t>(std::clamp(rank, 0.0, size - 1));
      std::nth_element(sample.begin(), at, sample.end(), std::greater<>());
      return *at;
    };
    const std::uint32_t low = share * size + spread >= size ? 0 : nth(share * size + spread);
    const std::uint32_t high = share * size < spread ? ~0u : nth(share * size - spread);
    return {low, high};
  }

  Found keys_in(const Range& range) {
    std::vector<Found> parts(workers_);
    parallel_tasks(chunks_.size(), 0, [&](std::size_t i, int worker) {
      const std::uint32_t* k = keys(chunks_[i], worker);
      Found& found = parts[static_cast<std::size_t>(worker)];
      std::size_t count = found.inside.size(), above = 0;
      found.inside.resize(count + chunks_[i].n);
      std::uint32_t* inside = found.inside.data();
      const std::uint32_t low = range.low, width = range.high - range.low;
      // Written always and counted where it fits: a branch would be wrong too often.
      for (std::size_t j = 0; j < chunks_[i].n; ++j) {
        inside[count] = k[j];
        count += k[j] - low <= width ? 1 : 0;
        above += k[j] > range.high ? 1 : 0;
      }
      found.inside.resize(count);
      found.above += above;
    });
    for (std::size_t w = 1; w < workers_; ++w) {
      parts[0].inside.insert(parts[0].inside.end(), parts[w].inside.begin(), parts[w].inside.end());
      parts[0].above += parts[w].above;
    }
    return std::move(parts[0]);
  }

  // All keys above `least`, and the first `ties` that equal it.
  void mark(std::uint32_t least, std::size_t ties) {
    std::vector<std::size_t> equal(chunks_.size());
    parallel_tasks(chunks_.size(), 0, [&](std::size_t i, int worker) {
      const Chunk& c = chunks_[i];
      equal[i] = mask_above_table.pick()(keys(c, worker), c.n, least, c.mask);
    });
    for (std::size_t i = 0; i < chunks_.size() && ties > 0; ++i) {
      if (equal[i] == 0) continue;
      const Chunk& c = chunks_[i];
      const std::uint32_t* k = keys(c, 0);
      for (std::size_t j = 0; j < c.n && ties > 0; ++j) {
        if (k[j] != least) continue;
        c.mask[j] = 1;
        --ties;
      }
    }
  }

  const char* operation_;
  bool absolute_;
  std::vector<Chunk> chunks_;
  std::size_t workers_;
  std::vector<std::uint32_t> keys_;  // a chunk for every worker
};

}  // namespace

std::size_t kept_count(const char* operation, std::size_t n, double sparsity) {
  TERSOR_CHECK(sparsity >= 0 && sparsity <= 1, operation, ": sparsity must be in [0, 1], got ",
               sparsity);
  return n - static_cast<std::size_t>(std::nearbyint(sparsity * static_cast<double>(n)));
}

void keep_highest(const char* operation, const std::vector<ScoredTensor>& tensors, std::size_t kept,
                  bool absolute) {
  Selection(operation, tensors, absolute).run(kept);
}

void keep_highest_of_rows(const char* operation, const float* scores, std::size_t rows,
                          std::size_t columns, std::size_t kept, bool absolute,
                          std::uint8_t* mask) {
  if (columns == 0) return;
  const std::size_t grain = std::max<std::size_t>(1, kChunk / columns);
  parallel_for(rows, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<std::uint32_t> keys(columns), sorted(columns);
    for (std::size_t r = begin; r < end; ++r) {
      std::uint8_t* row = mask + r * columns;
      if (!score_keys_table.pick()(scores + r * columns, columns, absolute, keys.data()))
        refuse_nan(operation);
      if (kept == 0 || kept >= columns) {
        std::fill_n(row, columns, kept > 0 ? 1 : 0);
        continue;
      }
      sorted = keys;
      const auto nth = sorted.begin() + static_cast<std::ptrdiff_t>(kept - 1);
      std::nth_element(sorted.begin(), nth, sorted.end(), std::greater<>());
      const std::uint32_t least = *nth;
      std::size_t ties = kept;
      for (auto it = sorted.begin(); it != nth; ++it) ties -= *it > least;
      mask_above_table.pick()(keys.data(), columns, least, row);
      for (std::size_t j = 0; j < columns && ties > 0; ++j) {
        if (keys[j] != least) continue;
        row[j] = 1;
        --ties;
      }
    }
  });
}

}  // namespace tersor::pruning
