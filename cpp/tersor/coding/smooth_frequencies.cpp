#include "tersor/coding/smooth_frequencies.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tersor::coding {
namespace {

constexpr int kMostLogStep = 5, kMostLogLevels = 3, kUsualLogLevels = 2, kOrders = 4;
constexpr size_t kMostKnots = 33;  // more are slow to fit and cost what frequencies do
constexpr int kSweeps = 12;
constexpr double kNoFrequency = 1e4;  // bits of a symbol that cannot be coded: none is as bad
constexpr int kMostPrecision = 12;

constexpr int kParts = 32;  // of an octave
constexpr int kUnit = 15;   // bits of 1
constexpr std::array<uint32_t, kParts> kExp2 = {
    32768, 33486, 34219, 34968, 35734, 36516, 37316, 38133, 38968, 39821, 40693,
    41584, 42495, 43425, 44376, 45348, 46341, 47356, 48393, 49452, 50535, 51642,
    52773, 53928, 55109, 56316, 57549, 58809, 60097, 61413, 62757, 64132};

uint32_t zigzag(int64_t v) { return static_cast<uint32_t>(v < 0 ? -2 * v - 1 : 2 * v); }
int64_t unzigzag(uint32_t v) {
  return v & 1 ? -static_cast<int64_t>(v / 2) - 1 : static_cast<int64_t>(v / 2);
}
int golomb_bits(uint32_t v, int k) { return 2 * std::bit_width((v >> k) + 1) - 1 + k; }

size_t knots_of(size_t low, size_t high, int log_step) {
  return ((high - low + (size_t{1} << log_step) - 1) >> log_step) + 1;
}

struct Curve {
  int log_step, log_levels;

  uint32_t at(uint32_t a, uint32_t b, uint32_t i) const {
    const uint32_t step = 1u << log_step;
    const uint32_t e = (a * (step - i) + b * i) * kParts >> (log_step + log_levels);
    return (kExp2[e % kParts] << e / kParts >> kUnit) - 1;
  }
};

// log2 of the frequencies there are.
const std::array<double, (size_t{1} << kMostPrecision) + 1>& logarithms() {
  static const auto table = [] {
    std::array<double, (size_t{1} << kMostPrecision) + 1> t{};
    for (size_t i = 1; i < t.size(); ++i) t[i] = std::log2(static_cast<double>(i));
    return t;
  }();
  return table;
}

// Levels found by descent, one knot at a time.
class Fit {
 public:
  Fit(const Histogram& counts, size_t low, size_t high, size_t rest, int precision, Curve curve)
      : counts_(counts),
        low_(low),
        high_(high),
        rest_(rest),
        whole_(1u << precision),
        precision_(precision),
        curve_(curve),
        levels_(knots_of(low, high, curve.log_step)) {
    begin();
    descend();
  }

  bool possible() const { return possible_; }
  double bits() const { return bits_; }
  const std::vector<uint32_t>& levels() const { return levels_; }

 private:
  static constexpr int kOrder = 1;  // of the code that the search reckons with

  uint32_t most_level() const { return static_cast<uint32_t>(precision_) << curve_.log_levels; }

  void begin() {
    double total = 0;
    for (const uint64_t c : counts_) total += static_cast<double>(c);
    const auto step = std::ptrdiff_t{1} << curve_.log_step;
    for (size_t q = 0; q < levels_.size(); ++q) {
      const auto middle = static_cast<std::ptrdiff_t>(low_) + static_cast<std::ptrdiff_t>(q) * step;
      double sum = 0, symbols = 0;
      for (std::ptrdiff_t s = middle - step / 2; s <= middle + step / 2; ++s) {
        const auto at = static_cast<size_t>(s);
        if (s < static_cast<std::ptrdiff_t>(low_) || at > high_ || at == rest_) continue;
        sum += static_cast<double>(counts_[at]);
        symbols += 1;
      }
      const double f = symbols > 0 ? sum / symbols / total * whole_ : 0;
      const double level = std::log2(f + 1) * (1 << curve_.log_levels);
      levels_[q] = std::min(most_level(), static_cast<uint32_t>(std::lround(level)));
    }
  }

  uint32_t frequency(size_t s) const {
    const size_t q = (s - low_) >> curve_.log_step;
    const auto i = static_cast<uint32_t>((s - low_) & ((size_t{1} << curve_.log_step) - 1));
    return curve_.at(levels_[q], i ? levels_[q + 1] : 0, i);
  }

  // Bits of the symbols that knot q has a part in, and the sum of their frequencies.
  void around(size_t q, double& bits, uint32_t& sum) const {
    const size_t step = size_t{1} << curve_.log_step, at = low_ + q * step;
    const size_t first = q == 0 ? low_ : at - step + 1, last = std::min(at + step - 1, high_);
    bits = 0;
    sum = 0;
    for (size_t s = first; s <= last; ++s) {
      if (s == rest_) continue;
      const uint32_t f = frequency(s);
      sum += f;
      if (counts_[s]) bits += symbol_bits(s, f);
    }
    for (size_t j = std::max<size_t>(q, 1); j <= std::min(q + 1, levels_.size() - 1); ++j)
      bits += golomb_bits(zigzag(int64_t{levels_[j]} - levels_[j - 1]), kOrder);
    if (q == 0) bits += golomb_bits(2 * levels_[0], kOrder);
  }

  double symbol_bits(size_t s, uint32_t f) const {
    const auto count = static_cast<double>(counts_[s]);
    return count * (f && f < whole_ ? precision_ - logarithms()[f] : kNoFrequency);
  }
  double rest_bits(uint32_t sum) const {
    if (sum < whole_) return symbol_bits(rest_, whole_ - sum);
    return (static_cast<double>(counts_[rest_]) + sum - whole_ + 1) * kNoFrequency;
  }

  void descend() {
    uint32_t sum = 0;
    for (size_t s = low_; s <= high_; ++s) sum += s == rest_ ? 0 : frequency(s);
    bool moved = true;
    for (int sweep = 0; sweep < kSweeps && moved; ++sweep) {
      moved = false;
      for (size_t q = 0; q < levels_.size(); ++q) {
        for (const int step : {1, -1, 4, -4}) {
          while (move(q, step, sum)) moved = true;
        }
      }
    }
    possible_ = sum < whole_;
    bits_ = rest_bits(sum);
    for (size_t s = low_; s <= high_; ++s) {
      if (s == rest_ || !counts_[s]) continue;
      const uint32_t f = frequency(s);
      possible_ = possible_ && f > 0;
      bits_ += symbol_bits(s, f);
    }
  }

  bool move(size_t q, int step, uint32_t& sum) {
    const int64_t to = int64_t{levels_[q]} + step;
    if (to < 0 || to > most_level()) return false;
    double bits = 0, new_bits = 0;
    uint32_t part = 0, new_part = 0;
    around(q, bits, part);
    const uint32_t old = levels_[q];
    levels_[q] = static_cast<uint32_t>(to);
    around(q, new_bits, new_part);
    const uint32_t new_sum = sum - part + new_part;
    if (new_bits + rest_bits(new_sum) < bits + rest_bits(sum)) {
      sum = new_sum;
      return true;
    }
    levels_[q] = old;
    return false;
  }

  const Histogram& counts_;
  size_t low_, high_, rest_;
  uint32_t whole_;
  int precision_;
  Curve curve_;
  std::vector<uint32_t> levels_;
  bool possible_ = false;
  double bits_ = 0;
};

void put(const SmoothTable& t, int k, BitWriter& out) {
  out.put(t.rest, 8);
  out.put(static_cast<uint64_t>(t.log_step), 3);
  out.put(static_cast<uint64_t>(t.log_levels), 2);
  out.put(static_cast<uint64_t>(k), 2);
  int64_t last = 0;
  for (const uint32_t level : t.levels) {
    out.put_exp_golomb(zigzag(level - last), k);
    last = level;
  }
}

}  // namespace

SmoothTable smooth_table(const Histogram& counts, size_t low, size_t high, int precision) {
  SmoothTable best;
  double least = INFINITY;
  const auto rest =
      static_cast<size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  const auto consider = [&](int log_step, int log_levels) {
    const Fit fit(counts, low, high, rest, precision, {log_step, log_levels});
    if (!fit.possible()) return;
    SmoothTable table{rest, log_step, log_levels, fit.levels()};
    BitWriter trial;
    put_smooth(table, trial);
    const double bits = fit.bits() + static_cast<double>(trial.bits());
    if (bits >= least) return;
    least = bits;
    best = std::move(table);
  };
  // The knots first, then how fine their levels are: the choices hardly depend on each other.
  for (int log_step = 0; log_step <= kMostLogStep; ++log_step) {
    if (knots_of(low, high, log_step) <= kMostKnots) consider(log_step, kUsualLogLevels);
  }
  if (best.levels.empty()) return best;
  for (int r = 1, log_step = best.log_step; r <= kMostLogLevels; ++r) {
    if (r != kUsualLogLevels) consider(log_step, r);
  }
  return best;
}

void put_smooth(const SmoothTable& table, BitWriter& out) {
  int best = 0;
  size_t least = SIZE_MAX;
  for (int k = 0; k < kOrders; ++k) {
    BitWriter trial;
    put(table, k, trial);
    if (trial.bits() >= least) continue;
    least = trial.bits();
    best = k;
  }
  put(table, best, out);
}

SmoothTable get_smooth(size_t low, size_t high, int precision, BitReader& in) {
  SmoothTable t;
  t.rest = in.get(8);
  t.log_step = static_cast<int>(in.get(3));
  t.log_levels = static_cast<int>(in.get(2));
  const int k = static_cast<int>(in.get(2));
  if (t.rest < low || t.rest > high || t.log_step > kMostLogStep)
    throw ArtifactError("coding: frequencies have an unknown form");
  const int64_t most = int64_t{precision} << t.log_levels;
  t.levels.resize(knots_of(low, high, t.log_step));
  int64_t last = 0;
  for (uint32_t& level : t.levels) {
    last += unzigzag(in.get_exp_golomb(k));
    if (last < 0 || last > most) throw ArtifactError("coding: a frequency is too large");
    level = static_cast<uint32_t>(last);
  }
  return t;
}

Frequencies smooth_frequencies(const SmoothTable& t, size_t low, size_t high, int precision) {
  const Curve curve{t.log_step, t.log_levels};
  const size_t step = size_t{1} << t.log_step;
  Frequencies f{};
  uint32_t sum = 0;
  for (size_t q = 0, s = low; s <= high; ++q) {
    for (uint32_t i = 0; i < step && s <= high; ++i, ++s) {
      f[s] = s == t.rest ? 0 : curve.at(t.levels[q], i ? t.levels[q + 1] : 0, i);
      sum += f[s];
    }
  }
  if (sum == 0 || sum >= 1u << precision)
    throw ArtifactError("coding: frequencies must sum to a power of two");
  f[t.rest] = (1u << precision) - sum;
  return f;
}

}  // namespace tersor::coding
