#include "tersor/codebook/companded_bins.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

constexpr std::size_t kSample = 4096;
// Of the median distance from the centre: three standard deviations of normal values, whose best
// density of bins, exp(-y^2 / 6), this comes close to from 0 to 4 standard deviations.
constexpr float kReach = 4.5f;
// Beyond these, reach + |y| could be infinite, and quotients lose digits.
constexpr float kLeastReach = 1e-34f, kMostReach = 1e30f;
constexpr std::size_t kBlock = std::size_t{1} << 18;

float median(std::vector<float>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::size_t Compander::bin(float x) const {
  const float y = x - centre;
  return static_cast<std::size_t>(y / (reach + std::fabs(y)) * half + half);
}

double Compander::edge(std::size_t b) const {
  const double t = (static_cast<double>(b) - half) / half;
  const double room = 1 - std::fabs(t);
  return room > 0 ? centre + reach * t / room
                  : std::copysign(std::numeric_limits<double>::infinity(), t);
}

CompandedCounts count_companded(const float* x, std::size_t n, uint32_t half) {
  CompandedCounts out;
  std::vector<float> sample = take_sample(x, n, kSample, true);
  if (sample.empty()) return out;
  Compander& c = out.compander;
  c.centre = median(sample);
  for (float& v : sample) v = std::fabs(v - c.centre);
  c.reach = kReach * median(sample);
  c.half = static_cast<float>(half);
  if (!(kLeastReach <= c.reach && c.reach <= kMostReach)) return out;
  const std::size_t size = c.bins() + 2, blocks = (n + kBlock - 1) / kBlock;
  const auto workers = static_cast<std::size_t>(std::clamp(threads(), 1, static_cast<int>(blocks)));
  std::vector<std::vector<uint32_t>> counts(workers, std::vector<uint32_t>(size));
  std::vector<uint32_t> zeros(workers);
  parallel_tasks(blocks, static_cast<int>(workers), [&](std::size_t block, int worker) {
    const auto mine = static_cast<std::size_t>(worker);
    const std::size_t first = block * kBlock;
    count_companded_table.pick()(x + first, std::min(kBlock, n - first), c, counts[mine].data(),
                                 &zeros[mine]);
  });
  for (std::size_t w = 0; w < workers; ++w) {
    out.zeros += zeros[w];
    for (std::size_t b = 0; w > 0 && b < size; ++b) counts[0][b] += counts[w][b];
  }
  // The outermost bins have no edge, and what is in them no place.
  if (counts[0].front() || counts[0][size - 3] || counts[0][size - 2] || counts[0].back())
    return out;
  counts[0].resize(c.bins());
  out.counts = std::move(counts[0]);
  return out;
}

Bins companded_bins(const CompandedCounts& counted, bool skip_zeros) {
  const Compander& c = counted.compander;
  const std::size_t zero = skip_zeros ? c.bin(0) : 0;  // none is in the first one
  Bins out;
  for (std::size_t b = 1; b + 1 < counted.counts.size(); ++b) {
    std::size_t count = counted.counts[b];
    const double low = c.edge(b), high = c.edge(b + 1);
    if (b == zero) count -= counted.zeros;
    if (count == 0) continue;
    out.value.push_back((low + high) / 2);
    out.weight.push_back(static_cast<double>(count));
    out.width.push_back(high - low);
  }
  return out;
}

}  // namespace tersor::codebook
