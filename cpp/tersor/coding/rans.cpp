#include "tersor/coding/rans.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "tersor/coding/frequencies.h"
#include "tersor/coding/kernels.h"
#include "tersor/coding/smooth_frequencies.h"
#include "tersor/coding/symbol_range.h"

namespace tersor::coding {
namespace {

constexpr int kLeastPrecision = 8, kMostPrecision = 12;
constexpr int kMostLogStates = 5;
// A state more costs 16 bits: at most 1/448 of the block, and with the frequencies 1/80 of what the
// symbols need, which leaves small blocks of skewed symbols with one.
constexpr double kStateBits = 16, kStateShare = 448, kHeadShare = 80;

// A slot of the decoder's table costs time, as if it were so many bits.
constexpr double kSlotBits = 1.0 / 64;
// Curves need a finer grid than tables.
constexpr int kLeastSmooth = 11;
// A table that takes less of the block is not worth a search for a smaller one.
constexpr double kLargeHead = 0.001;

struct Plan {
  int precision = kMostPrecision;
  Frequencies frequencies{};
  SmoothTable smooth;                     // levels: the frequencies come from it
  double bits = INFINITY, head_bits = 0;  // of the block, and of its frequencies
  int log_states = 0;
};

Plan plan_with(const Histogram& counts, int precision, const Frequencies& f, const BitWriter& table,
               SmoothTable smooth = {}) {
  const auto head = static_cast<double>(table.bits());
  return {precision, f, std::move(smooth), coded_bits(counts, f, precision) + head, head};
}

Plan plan_of(const Histogram& counts, size_t low, size_t high) {
  Plan best;
  for (int p = kLeastPrecision; p <= kMostPrecision; ++p) {
    const Frequencies f = scaled_frequencies(counts, p);
    BitWriter table;
    put_frequencies(f, low, high, table);
    Plan plan = plan_with(counts, p, f, table);
    if (plan.bits < best.bits) best = std::move(plan);
  }
  // A curve in place of the table, where that is smaller.
  const bool large = best.head_bits > kLargeHead * best.bits;
  for (int p = std::max(best.precision, kLeastSmooth); large && p <= kMostPrecision; ++p) {
    SmoothTable smooth = smooth_table(counts, low, high, p);
    if (smooth.levels.empty()) continue;
    BitWriter table;
    put_smooth(smooth, table);
    const Frequencies f = smooth_frequencies(smooth, low, high, p);
    Plan plan = plan_with(counts, p, f, table, std::move(smooth));
    const double slots = kSlotBits * ((1 << p) - (1 << best.precision));
    if (plan.bits + slots < best.bits) best = std::move(plan);
  }
  const auto fits = [&](double states) {
    return states * kStateBits * kStateShare <= best.bits &&
           (best.head_bits + states * kStateBits) * kHeadShare <= best.bits;
  };
  while (best.log_states < kMostLogStates && fits(2 << best.log_states)) ++best.log_states;
  return best;
}

void put_u32(uint32_t v, std::vector<uint8_t>& out) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<uint8_t>(v >> (8 * i)));
}

}  // namespace

std::vector<uint8_t> rans_encode(const uint8_t* symbols, size_t count) {
  const Histogram counts = histogram(symbols, count);
  const SymbolRange range = SymbolRange::of(counts);
  BitWriter head;
  range.put(head);
  if (range.single()) return head.finish();
  const auto [low, high] = range;
  const Plan plan = plan_of(counts, low, high);
  const int p = plan.precision;
  const bool smooth = !plan.smooth.levels.empty();
  head.put(static_cast<uint64_t>(smooth ? p - kLeastPrecision : p), 4);
  head.put(static_cast<uint64_t>(plan.log_states), 3);
  if (smooth)
    put_smooth(plan.smooth, head);
  else
    put_frequencies(plan.frequencies, low, high, head);
  Frequencies start{};
  uint32_t sum = 0;
  for (size_t s = 0; s < 256; ++s) {
    start[s] = sum;
    sum += plan.frequencies[s];
  }
  const size_t states = size_t{1} << plan.log_states;
  std::array<uint32_t, size_t{1} << kMostLogStates> x;
  x.fill(kRansLowest);
  std::vector<uint16_t> words;  // last first, as is everything here
  for (size_t i = count; i-- > 0;) {
    uint32_t& state = x[i & (states - 1)];
    const uint32_t f = plan.frequencies[symbols[i]];
    if (state >= static_cast<uint64_t>(f) << (32 - p)) {
      words.push_back(static_cast<uint16_t>(state));
      state >>= 16;
    }
    state = ((state / f) << p) + state % f + start[symbols[i]];
  }
  std::vector<uint8_t> block = head.finish();
  for (size_t i = 0; i < states; ++i) put_u32(x[i], block);
  for (size_t i = words.size(); i-- > 0;) {
    block.push_back(static_cast<uint8_t>(words[i]));
    block.push_back(static_cast<uint8_t>(words[i] >> 8));
  }
  return block;
}

void rans_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count) {
  BitReader head(data, size);
  const auto [low, high] = SymbolRange::get(head);
  if (low == high) {
    head.finish();
    std::memset(symbols, static_cast<int>(low), count);
    return;
  }
  int p = static_cast<int>(head.get(4));
  const int log_states = static_cast<int>(head.get(3));
  const bool smooth = p <= kMostPrecision - kLeastPrecision;
  if (smooth) p += kLeastPrecision;
  if (p < kLeastPrecision || p > kMostPrecision || log_states > kMostLogStates)
    throw ArtifactError("coding: a block has an unknown form");
  const Frequencies f = smooth ? smooth_frequencies(get_smooth(low, high, p, head), low, high, p)
                               : get_frequencies(low, high, p, head);
  alignas(64) std::array<uint32_t, size_t{1} << kMostPrecision> table;
  uint32_t slot = 0;
  for (size_t s = low; s <= high; ++s) {
    const uint32_t e = static_cast<uint32_t>(s) << 24 | f[s] << 12;
    for (uint32_t i = 0; i < f[s]; ++i) table[slot++] = e | i;
  }
  size_t at = head.align();
  const size_t states = size_t{1} << log_states;
  if (size - at < 4 * states || (size - at) % 2) throw ArtifactError("coding: a block ends early");
  std::array<uint32_t, size_t{1} << kMostLogStates> x{};
  for (size_t i = 0; i < states; ++i, at += 4) {
    for (size_t b = 0; b < 4; ++b) x[i] |= static_cast<uint32_t>(data[at + b]) << (8 * b);
    if (x[i] < kRansLowest) throw ArtifactError("coding: a state is too small");
  }
  const size_t words = (size - at) / 2;
  const size_t used =
      rans_decode_table.pick()(data + at, words, table.data(), p, x.data(), states, symbols, count);
  const bool at_start = std::all_of(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(states),
                                    [](uint32_t v) { return v == kRansLowest; });
  if (used != words || !at_start) throw ArtifactError("coding: a block does not end as it must");
}

}  // namespace tersor::coding
