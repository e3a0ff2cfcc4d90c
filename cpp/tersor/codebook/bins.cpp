#include "tersor/codebook/bins.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>

#include "tersor/base/random.h"
#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

constexpr std::size_t kSample = 16384;
// Segments beyond the sample's extremes, to twice their magnitude: as if a quarter of a value had
// been met there, because a large tensor reaches further than its sample.
constexpr double kUnseen = 0.25;
// Weighted sums are not exact, so their parts are fixed slices that are added in order.
constexpr std::size_t kMostSlices = 16;

constexpr uint32_t kOctave = 16;             // segments that are a factor of 2
constexpr uint32_t kFinite = 255 * kOctave;  // magnitudes before infinity

// Smallest magnitude of a segment, and the distance to the next one.
double segment_start(uint32_t segment) {
  return std::bit_cast<float>((segment & (kMagnitudes - 1)) << kRestBits);
}
double segment_width(uint32_t segment) {
  const uint32_t magnitude = segment & (kMagnitudes - 1);
  if (magnitude >= kFinite) return 0;
  if (magnitude == kFinite - 1) return segment_width(kFinite - 2);  // what follows is infinite
  return segment_start(magnitude + 1) - segment_start(magnitude);
}

BinTable plan_bins(const float* x, std::size_t n, std::size_t bins, bool skip_zeros) {
  BinTable table;
  std::vector<float> sample = take_sample(x, n, kSample, skip_zeros);
  if (!sample.empty() && !skip_zeros) {
    // Segments are narrowest around y = 0: the middle of the values. Weights surround 0 anyway,
    // and x + 0 is exact.
    const auto middle = sample.begin() + static_cast<std::ptrdiff_t>(sample.size() / 2);
    std::nth_element(sample.begin(), middle, sample.end());
    const float median = *middle;
    const auto [low, high] = std::minmax_element(sample.begin(), sample.end());
    const bool centred = *low < 0 && *high > 0 && std::fabs(median) < 0.25f * (*high - *low);
    table.shift = centred || median == 0 ? 0.0f : -median;
  }
  std::vector<double> share(kSegments, 0.0);
  uint32_t reach[2] = {0, 0};  // largest magnitude met, per sign
  for (const float v : sample) {
    const uint32_t segment = std::bit_cast<uint32_t>(v + table.shift) >> kRestBits;
    share[segment] += 1;
    uint32_t& far = reach[segment / kMagnitudes];
    far = std::max(far, segment & (kMagnitudes - 1));
  }
  for (uint32_t sign = 0; sign < 2; ++sign) {
    const uint32_t top = std::min(reach[sign] + kOctave, kFinite - 1);
    for (uint32_t magnitude = 0; magnitude <= top; ++magnitude) {
      double& count = share[sign * kMagnitudes + magnitude];
      count = std::max(count, kUnseen);
    }
  }
  double total = 0;
  for (uint32_t s = 0; s < kSegments; ++s) {
    if (share[s] == 0) continue;
    const double width = segment_width(s);
    share[s] = std::cbrt(share[s] * width * width);
    total += share[s];
  }
  for (uint32_t s = 0; s < kSegments; ++s) {
    const double wanted = total > 0 ? share[s] / total * static_cast<double>(bins) : 0;
    const uint32_t slots = std::min(kMostSlots, 1 + static_cast<uint32_t>(wanted));
    table.segments[s] = uint64_t{table.bins} << 32 | slots;
    table.bins += slots;
  }
  return table;
}

struct BinSums {
  std::vector<double> weight, moment;  // moment: sum of weight * rest
};

BinSums count(const float* x, std::size_t n, const BinTable& table) {
  const std::size_t blocks = (n + kBinBlock - 1) / kBinBlock;
  std::vector<uint64_t> counts(table.bins), rests(table.bins);
  std::mutex mutex;
  const int workers =
      std::max(1, std::min(threads(), static_cast<int>(std::min<std::size_t>(blocks, 1024))));
  std::vector<std::vector<uint64_t>> packed(static_cast<std::size_t>(workers));
  parallel_tasks(blocks, workers, [&](std::size_t block, int worker) {
    auto& mine = packed[static_cast<std::size_t>(worker)];
    mine.assign(table.bins, 0);
    const std::size_t first = block * kBinBlock;
    count_in_bins_table.pick()(x + first, std::min(kBinBlock, n - first), table, mine.data());
    const std::lock_guard lock(mutex);  // integers: any order gives the same
    for (std::size_t b = 0; b < table.bins; ++b) {
      counts[b] += mine[b] >> 40;
      rests[b] += mine[b] & ((uint64_t{1} << 40) - 1);
    }
  });
  return {{counts.begin(), counts.end()}, {rests.begin(), rests.end()}};
}

BinSums count_weighted(const float* x, const float* weights, std::size_t n, const BinTable& table) {
  const std::size_t slices = std::clamp<std::size_t>(n >> 18, 1, kMostSlices);
  std::vector<BinSums> parts(slices);
  parallel_tasks(slices, 0, [&](std::size_t slice, int) {
    BinSums& part = parts[slice];
    part.weight.assign(table.bins, 0);
    part.moment.assign(table.bins, 0);
    for (std::size_t i = n * slice / slices; i < n * (slice + 1) / slices; ++i) {
      const auto bits = std::bit_cast<uint32_t>(x[i] + table.shift);
      const uint32_t segment = bits >> kRestBits, rest = bits & ((1u << kRestBits) - 1);
      const uint32_t bin = table.base(segment) + ((rest >> 3) * table.slots(segment) >> 16);
      part.weight[bin] += weights[i];
      part.moment[bin] += static_cast<double>(weights[i]) * rest;
    }
  });
  for (std::size_t slice = 1; slice < slices; ++slice) {
    for (std::size_t b = 0; b < table.bins; ++b) {
      parts[0].weight[b] += parts[slice].weight[b];
      parts[0].moment[b] += parts[slice].moment[b];
    }
  }
  return std::move(parts[0]);
}

double weight_of_zeros(const float* x, const float* weights, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] == 0) sum += weights ? weights[i] : 1;
  }
  return sum;
}

}  // namespace

std::vector<float> take_sample(const float* x, std::size_t n, std::size_t count, bool skip_zeros) {
  const Philox random(0x6b6d65616e73);
  std::vector<float> sample;
  sample.reserve(count);
  for (std::size_t t = 0; t < count; ++t) {
    const double at = (static_cast<double>(t) + random.uniform(t)) / static_cast<double>(count);
    const float v = x[std::min(n - 1, static_cast<std::size_t>(at * static_cast<double>(n)))];
    if (std::isfinite(v) && !(skip_zeros && v == 0)) sample.push_back(v);
  }
  return sample;
}

Bins make_bins(const float* x, const float* weights, std::size_t n, std::size_t bins,
               bool skip_zeros) {
  const BinTable table = plan_bins(x, n, bins, skip_zeros);
  BinSums sums = weights ? count_weighted(x, weights, n, table) : count(x, n, table);
  Bins out;
  for (uint32_t s = kFinite; s < kSegments; ++s) {
    if (s % kMagnitudes < kFinite) continue;
    for (uint32_t b = table.base(s); b < table.base(s) + table.slots(s); ++b) {
      out.finite = out.finite && sums.weight[b] == 0;
    }
  }
  if (!out.finite) return out;
  if (skip_zeros) {
    // The shift is 0 then, and zeros add nothing to the moments of their bins, the first ones.
    sums.weight[table.base(0)] -= weight_of_zeros(x, weights, n);
  }
  const auto put = [&](double value, double weight, double width) {
    if (!out.value.empty() && out.value.back() >= value) {
      // Means that round to one number.
      out.weight.back() += weight;
      return;
    }
    out.value.push_back(value);
    out.weight.push_back(weight);
    out.width.push_back(width);
  };
  const auto segment = [&](uint32_t s, bool descending) {
    const double place = segment_width(s) / (1 << kRestBits), start = segment_start(s);
    const double width = segment_width(s) / table.slots(s);
    for (uint32_t i = 0; i < table.slots(s); ++i) {
      const uint32_t b = table.base(s) + (descending ? table.slots(s) - 1 - i : i);
      if (!(sums.weight[b] > 0)) continue;
      const double y = start + sums.moment[b] / sums.weight[b] * place;
      put((descending ? -y : y) - table.shift, sums.weight[b], width);
    }
  };
  for (uint32_t s = kFinite; s-- > 0;) segment(kMagnitudes + s, true);
  for (uint32_t s = 0; s < kFinite; ++s) segment(s, false);
  return out;
}

}  // namespace tersor::codebook
