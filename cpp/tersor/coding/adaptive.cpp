#include "tersor/coding/adaptive.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "tersor/coding/effects.h"
#include "tersor/coding/frequencies.h"
#include "tersor/coding/rans.h"
#include "tersor/coding/symbol_range.h"
#include "tersor/coding/tilt.h"

namespace tersor::coding {
namespace {

constexpr int kLeastBasePrecision = 6, kMostBasePrecision = 12;
constexpr int kFlagStep = 3, kStep = 2;
constexpr size_t kMostRow =
    1 << 16;  // longer rows have nothing in common; bounds the memory of effects
constexpr size_t kNone = kMostTilted;  // in place of a neighbour's bucket

using Starts = std::array<uint16_t, kMostTilted + 1>;

// What the header says.
struct Form : SymbolRange {
  int low_bits = 0;
  bool sparse = false;
  size_t common = 0;
  uint32_t common_share = 0;  // of 4096
  int precision = kLeastBasePrecision;
  Frequencies base{};   // of buckets
  bool chosen = false;  // parameters of its own
  EffectParameters flag, size, side;

  size_t buckets() const { return ((high - low) >> low_bits) + 1; }
  size_t bucket_of(size_t symbol) const { return (symbol - low) >> low_bits; }
};

// Rows of inputs of taps.
struct Cut {
  size_t inputs, taps, width;  // width of a two-dimensional kernel
  explicit Cut(const Geometry& g) {
    const bool fits = g.row > 0 && g.row <= kMostRow;
    const size_t row = fits ? g.row : kMostRow;
    taps = fits && g.taps > 0 && row % g.taps == 0 ? g.taps : 1;
    inputs = row / taps;
    width = taps;
    for (size_t w = 2; w * w <= taps; ++w) {
      if (w * w == taps) width = w;
    }
  }
};

// Distributions of the low bits within a bucket, exp(slope * x), for rounded slopes.
class Slopes {
 public:
  explicit Slopes(int bits) : symbols_(size_t{1} << bits) {}
  const Starts& level(int64_t slope) {  // kParameterBits
    const int64_t q = std::clamp<int64_t>((slope + (1 << 9)) >> 10, -kMost, kMost);
    const auto i = static_cast<size_t>(q + kMost);
    if (!ready_[i]) build(i, q);
    return starts_[i];
  }

 private:
  static constexpr int64_t kMost = 48;  // 3/4 a symbol, in steps of 1/64

  void build(size_t i, int64_t q) {
    std::array<uint64_t, kMostTilted> weight{};
    uint64_t total = 0;
    for (size_t x = 0; x < symbols_; ++x) {
      const auto steps = static_cast<uint64_t>(q < 0 ? -q : q) * (q < 0 ? x : symbols_ - 1 - x);
      // log2(e) * 4096 / 64 = 92.332
      weight[x] = power_of_half(static_cast<uint32_t>(steps * 23637 >> 8)) >> 8;
      total += weight[x];
    }
    const uint64_t spare = (uint64_t{1} << kTiltPrecision) - symbols_;
    uint64_t sum = 0;
    Starts& start = starts_[i];
    for (size_t x = 0; x < symbols_; ++x) {
      start[x] = static_cast<uint16_t>(sum);
      sum += 1 + weight[x] * spare / total;
    }
    for (size_t x = symbols_; x <= kMostTilted; ++x) start[x] = 1u << kTiltPrecision;
    ready_[i] = true;
  }

  size_t symbols_;
  std::array<bool, 2 * kMost + 1> ready_{};
  std::array<Starts, 2 * kMost + 1> starts_;
};

// Everything that encoder and decoder do alike. A coder turns a distribution and, in the encoder, a
// symbol into the symbol: size_t operator()(const Starts&, size_t symbol).
class Walk {
 public:
  Walk(const Form& form, const Geometry& geometry)
      : form_(form),
        cut_(geometry),
        flag_(form.flag, cut_.inputs, cut_.taps),
        size_(form.size, cut_.inputs, cut_.taps),
        side_(form.side, cut_.inputs, cut_.taps),
        slopes_(form.low_bits) {
    const size_t n = form.buckets();
    std::vector<uint32_t> base(form.base.begin(), form.base.begin() + static_cast<ptrdiff_t>(n));
    std::vector<int32_t> place(n);
    const auto width = int32_t{1} << form.low_bits;
    int64_t total = 0, sum = 0;
    for (size_t b = 0; b < n; ++b) {
      place[b] = 2 * static_cast<int32_t>(b) * width + width - 1;
      total += base[b];
      sum += static_cast<int64_t>(base[b]) * place[b];
    }
    const int64_t centre =
        form.sparse ? 2 * static_cast<int64_t>(form.common - form.low) : sum / total;
    tilt_.emplace(base, place, static_cast<int32_t>(centre), true, kStep);
    if (form.sparse) {
      flags_.emplace(std::vector<uint32_t>{form.common_share, 4096 - form.common_share},
                     std::vector<int32_t>{0, 1}, 0, false, kFlagStep);
      common_bucket_ = form.bucket_of(form.common);
    }
    fill_statistics(base);
  }

  template <class Coder>
  void run(Coder& coder, uint8_t* symbols, size_t count) {
    const size_t row = cut_.inputs * cut_.taps;
    std::vector<uint8_t> line(row, kNone);
    for (size_t first = 0; first < count; first += row) {
      flag_.begin_row();
      size_.begin_row();
      side_.begin_row();
      for (size_t i = 0; i < cut_.inputs && first + i * cut_.taps < count; ++i) {
        flag_.begin_kernel(i);
        size_.begin_kernel(i);
        side_.begin_kernel(i);
        const size_t taps = std::min(cut_.taps, count - first - i * cut_.taps);
        kernel(coder, symbols + first + i * cut_.taps, taps, line.data(), i);
      }
    }
  }

 private:
  void fill_statistics(const std::vector<uint32_t>& base) {
    const size_t n = base.size();
    for (size_t b = 0; b < n; ++b) {
      size_of_[b] = tilt_->size_of(b);
      side_of_[b] = tilt_->side_of(b);
      if (flags_) flag_of_[b] = flags_->size_of(b != common_bucket_);
      const size_t before = b ? b - 1 : b, after = b + 1 < n ? b + 1 : b;
      if (before == after) continue;
      const auto steps = static_cast<int32_t>(after - before);
      size_slope_[b] = (tilt_->size_of(after) - tilt_->size_of(before)) / steps;
      side_slope_[b] = (tilt_->side_of(after) - tilt_->side_of(before)) / steps;
      // ln 2 * 2^16 / 2^12 = 11.09
      if (base[after] && base[before])
        slope_[b] = (log2_fixed(base[after]) - log2_fixed(base[before])) * 2839 / (256 * steps) >>
                    form_.low_bits;
    }
  }

  template <class Coder>
  void kernel(Coder& coder, uint8_t* symbols, size_t taps, uint8_t* line, size_t input) {
    uint8_t* const here = line + input * cut_.taps;
    for (size_t k = 0; k < taps; ++k) {
      size_t left = kNone, up = kNone;
      if (cut_.taps == 1) {
        left = input ? here[-1] : kNone;
        up = *here;
      } else {
        if (k % cut_.width) left = here[k - 1];
        if (k >= cut_.width) up = here[k - cut_.width];
      }
      here[k] = symbol(coder, symbols[k], k, input * cut_.taps + k, left, up);
    }
  }

  // Codes one symbol and returns its bucket.
  template <class Coder>
  uint8_t symbol(Coder& coder, uint8_t& s, size_t k, size_t place, size_t left, size_t up) {
    if (flags_) {
      const int32_t a = flag_.predict(k, place, flag_of_[left], flag_of_[up]);
      const TiltLevel& level = flags_->level(a, 0);
      const size_t other = coder(level.start, s != form_.common);
      flag_.learn(flags_->size_error(level, other));
      if (!other) {
        s = static_cast<uint8_t>(form_.common);
        return static_cast<uint8_t>(common_bucket_);
      }
    }
    const int32_t a = size_.predict(k, place, size_of_[left], size_of_[up]);
    const int32_t b = side_.predict(k, place, side_of_[left], side_of_[up]);
    const TiltLevel& level = tilt_->level(a, b);
    const size_t bucket = coder(level.start, (s - form_.low) >> form_.low_bits);
    size_.learn(tilt_->size_error(level, bucket));
    side_.learn(tilt_->side_error(level, bucket));
    size_t value = bucket;
    if (form_.low_bits) {
      const int64_t lean = static_cast<int64_t>(a) * size_slope_[bucket] +
                           static_cast<int64_t>(b) * side_slope_[bucket];
      const Starts& start =
          slopes_.level(slope_[bucket] + (lean >> (kStatisticBits + form_.low_bits)));
      const size_t mask = (size_t{1} << form_.low_bits) - 1;
      value = bucket << form_.low_bits | coder(start, (s - form_.low) & mask);
    }
    s = static_cast<uint8_t>(form_.low + value);
    return static_cast<uint8_t>(bucket);
  }

  const Form& form_;
  Cut cut_;
  Effects flag_, size_, side_;
  Slopes slopes_;
  std::optional<Tilt> flags_, tilt_;
  size_t common_bucket_ = 0;
  // Of every bucket, and 0 for a neighbour that is not there.
  std::array<int32_t, kMostTilted + 1> flag_of_{}, size_of_{}, side_of_{};
  std::array<int32_t, kMostTilted> size_slope_{}, side_slope_{}, slope_{};
};

// Adds up code lengths.
class CostCoder {
 public:
  size_t operator()(const Starts& start, size_t symbol) {
    bits_ += kBits[start[symbol + 1] - start[symbol]];
    return symbol;
  }
  double bits() const { return bits_; }

 private:
  static inline const std::vector<float> kBits = [] {
    std::vector<float> bits((1 << kTiltPrecision) + 1, 1e9f);
    for (size_t f = 1; f < bits.size(); ++f)
      bits[f] = static_cast<float>(kTiltPrecision - std::log2(static_cast<double>(f)));
    return bits;
  }();
  double bits_ = 0;
};

// Remembers what the encoder needs, which works from the last symbol to the first.
class RecordCoder {
 public:
  size_t operator()(const Starts& start, size_t symbol) {
    steps_.push_back({start[symbol], static_cast<uint16_t>(start[symbol + 1] - start[symbol])});
    return symbol;
  }
  void finish(std::vector<uint8_t>& out) const {
    uint32_t x = kRansLowest;
    std::vector<uint16_t> words;
    for (size_t i = steps_.size(); i-- > 0;) {
      const uint32_t f = steps_[i].frequency;
      if (x >= static_cast<uint64_t>(f) << (32 - kTiltPrecision)) {
        words.push_back(static_cast<uint16_t>(x));
        x >>= 16;
      }
      x = ((x / f) << kTiltPrecision) + x % f + steps_[i].start;
    }
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<uint8_t>(x >> (8 * i)));
    for (size_t i = words.size(); i-- > 0;) {
      out.push_back(static_cast<uint8_t>(words[i]));
      out.push_back(static_cast<uint8_t>(words[i] >> 8));
    }
  }

 private:
  struct Step {
    uint16_t start, frequency;
  };
  std::vector<Step> steps_;
};

// How many of 16 ascending numbers are at most `slot`: two vectors of comparisons and no branch. A
// loop would become 16 scalar ones, a third of the time to decode.
inline size_t count_up_to(const uint16_t* numbers, uint16_t slot) {
  using Lanes [[gnu::vector_size(16)]] = uint16_t;
  static_assert(kMostTilted == 16);
  Lanes low, high;
  std::memcpy(&low, numbers, sizeof low);
  std::memcpy(&high, numbers + 8, sizeof high);
  const Lanes counts = Lanes{} - Lanes(low <= slot) - Lanes(high <= slot);
  uint64_t halves[2];
  std::memcpy(halves, &counts, sizeof halves);
  return (halves[0] + halves[1]) * 0x0001000100010001u >> 48;
}

class DecodeCoder {
 public:
  DecodeCoder(const uint8_t* data, size_t size) : at_(data), end_(data + size) {
    if (size < 4 || size % 2) throw ArtifactError("coding: a block ends early");
    for (int i = 0; i < 4; ++i) x_ |= static_cast<uint32_t>(*at_++) << (8 * i);
    if (x_ < kRansLowest) throw ArtifactError("coding: a state is too small");
  }
  size_t operator()(const Starts& start, size_t) {
    const auto slot = static_cast<uint16_t>(x_ & ((1u << kTiltPrecision) - 1));
    const size_t symbol = count_up_to(start.data(), slot) - 1;  // the first is 0
    const uint32_t f = static_cast<uint32_t>(start[symbol + 1]) - start[symbol];
    x_ = f * (x_ >> kTiltPrecision) + slot - start[symbol];
    if (x_ < kRansLowest) {
      if (at_ == end_) throw ArtifactError("coding: a block ends early");
      x_ = x_ << 16 | static_cast<uint32_t>(at_[0] | at_[1] << 8);
      at_ += 2;
    }
    return symbol;
  }
  void finish() const {
    if (at_ != end_ || x_ != kRansLowest)
      throw ArtifactError("coding: a block does not end as it must");
  }

 private:
  const uint8_t *at_, *end_;
  uint32_t x_ = 0;
};

// Found by search on convolutions and dense layers, pruned and not.
//                                 row input tap place kernel
constexpr EffectParameters kFlag{{9, 7, 7, 5, 7}, {7, 6, 11, 9, 4}, 6, 5};
constexpr EffectParameters kSize{{13, 10, 9, 5, 7}, {4, 1, 11, 7, 4}, 5, 4};
constexpr EffectParameters kSide{{0, 0, 0, 0, 7}, {4, 4, 4, 5, 7}, 10, 10};
constexpr EffectParameters kSparseSize{{9, 7, 7, 5, 7}, {7, 6, 11, 9, 4}, 4, 4};
constexpr EffectParameters kSparseSide{{0, 0, 0, 0, 7}, {4, 4, 4, 5, 5}, 8, 8};

void set_defaults(Form& form) {
  form.flag = kFlag;
  form.size = form.sparse ? kSparseSize : kSize;
  form.side = form.sparse ? kSparseSide : kSide;
}

void put_form(const Form& form, BitWriter& out) {
  form.SymbolRange::put(out);
  if (form.single()) return;
  out.put(static_cast<uint64_t>(form.low_bits), 3);
  out.put(form.sparse, 1);
  out.put(form.chosen, 1);
  out.put(0, 3);
  if (form.sparse) {
    out.put(form.common, 8);
    out.put(form.common_share - 1, 12);
  }
  if (form.buckets() > 1) {
    size_t first = 0, last = form.buckets() - 1;
    while (!form.base[first]) ++first;
    while (!form.base[last]) --last;
    out.put(first, 4);
    out.put(last, 4);
    out.put(static_cast<uint64_t>(form.precision), 4);
    if (first < last) put_frequencies(form.base, first, last, out);
  }
  if (!form.chosen) return;
  if (form.sparse) form.flag.put(out);
  form.size.put(out);
  form.side.put(out);
}

Form get_form(BitReader& in) {
  Form form;
  static_cast<SymbolRange&>(form) = SymbolRange::get(in);
  if (form.single()) return form;
  form.low_bits = static_cast<int>(in.get(3));
  form.sparse = in.bit();
  if (form.low_bits > 4 || form.buckets() > kMostTilted)
    throw ArtifactError("coding: a block has an unknown form");
  form.chosen = in.bit();
  if (in.get(3) != 0) throw ArtifactError("coding: unused bits must be 0");
  if (form.sparse) {
    form.common = in.get(8);
    form.common_share = static_cast<uint32_t>(in.get(12)) + 1;
    if (form.common < form.low || form.common > form.high || form.common_share > 4095)
      throw ArtifactError("coding: a block has an unknown form");
  }
  form.base[0] = 1;
  if (form.buckets() > 1) {
    const size_t first = in.get(4), last = in.get(4);
    form.precision = static_cast<int>(in.get(4));
    if (first > last || last >= form.buckets() || form.precision < kLeastBasePrecision ||
        form.precision > kMostBasePrecision)
      throw ArtifactError("coding: a block has an unknown form");
    form.base[0] = 0;
    form.base[first] = 1;
    if (first < last) form.base = get_frequencies(first, last, form.precision, in);
  }
  set_defaults(form);
  if (!form.chosen) return form;
  if (form.sparse) form.flag = EffectParameters::get(in);
  form.size = EffectParameters::get(in);
  form.side = EffectParameters::get(in);
  return form;
}

void set_base(const Histogram& buckets, Form& form) {
  double least = 0;
  for (int p = kLeastBasePrecision; p <= kMostBasePrecision; ++p) {
    const Frequencies f = scaled_frequencies(buckets, p);
    size_t first = 0, last = form.buckets() - 1;
    while (!f[first]) ++first;
    while (!f[last]) --last;
    BitWriter table;
    if (first < last) put_frequencies(f, first, last, table);
    const double bits = coded_bits(buckets, f, p) + static_cast<double>(table.bits());
    if (p > kLeastBasePrecision && bits >= least) continue;
    least = bits;
    form.precision = p;
    form.base = f;
  }
}

Form form_of(const Histogram& counts, size_t count) {
  Form form;
  static_cast<SymbolRange&>(form) = SymbolRange::of(counts);
  if (form.single()) return form;
  while (form.buckets() > kMostTilted) ++form.low_bits;
  const auto common = std::max_element(counts.begin(), counts.end());
  form.common = static_cast<size_t>(common - counts.begin());
  form.sparse = *common >= count * 2 / 5;
  form.common_share = static_cast<uint32_t>(std::clamp<double>(
      4096.0 * static_cast<double>(*common) / static_cast<double>(count), 1, 4095));
  Histogram buckets{};
  for (size_t s = form.low; s <= form.high; ++s) {
    if (!form.sparse || s != form.common) buckets[form.bucket_of(s)] += counts[s];
  }
  set_base(buckets, form);
  set_defaults(form);
  return form;
}

// Symbols that the search for parameters looks at: some rows, or what inputs do cannot be seen.
constexpr size_t kLeastSearch = size_t{1} << 16, kMostSearch = size_t{1} << 18;
constexpr size_t kSearchRows = 8, kLeastRows = 4;

double cost_of(const Form& form, const uint8_t* symbols, size_t count, const Geometry& geometry) {
  std::vector<uint8_t> copy(symbols, symbols + count);
  CostCoder coder;
  Walk(form, geometry).run(coder, copy.data(), count);
  return coder.bits();
}

// One index after the other, up or down for as long as that saves bits (a second round saves 0.2 %
// more).
void search(Form& form, const uint8_t* symbols, size_t count, const Geometry& geometry) {
  const Cut cut(geometry);
  const size_t row = cut.inputs * cut.taps;
  const size_t n = std::min(count, std::clamp(kSearchRows * row, kLeastSearch, kMostSearch));
  if (n < kLeastRows * row) {
    for (EffectParameters* p : {&form.flag, &form.size, &form.side})
      p->gain[kInput] = p->gain[kPlace] = 0;
  }
  std::vector<uint8_t*> indices;
  for (EffectParameters* p : {&form.flag, &form.size, &form.side}) {
    if (p == &form.flag && !form.sparse) continue;
    for (size_t i = 0; i < kEffects; ++i) {
      indices.push_back(&p->gain[i]);
      indices.push_back(&p->prior[i]);
    }
    indices.push_back(&p->left);
    indices.push_back(&p->up);
  }
  double at_first = cost_of(form, symbols, n, geometry);
  double least = at_first;
  const auto try_index = [&](uint8_t* index, uint8_t value) {
    const uint8_t before = std::exchange(*index, value);
    const double cost = cost_of(form, symbols, n, geometry);
    if (cost < least) {
      least = cost;
      return true;
    }
    *index = before;
    return false;
  };
  for (EffectParameters* p : {&form.flag, &form.size, &form.side}) {
    if (p == &form.flag && !form.sparse) continue;
    for (uint8_t& gain : p->gain) {
      if (gain) try_index(&gain, 0);
    }
    for (uint8_t* weight : {&p->left, &p->up}) {
      if (*weight != kNoWeight) try_index(weight, kNoWeight);
    }
  }
  for (uint8_t* index : indices) {
    for (const int step : {1, -1}) {
      while (0 <= *index + step && *index + step < 16 &&
             try_index(index, static_cast<uint8_t>(*index + step))) {
      }
    }
  }
  if (n < kLeastRows * row) at_first = HUGE_VAL;  // the defaults would learn from single visits
  const double saved = (at_first - least) * static_cast<double>(count) / static_cast<double>(n);
  form.chosen = saved > 4.0 * static_cast<double>(indices.size());
  if (!form.chosen) set_defaults(form);
}

}  // namespace

std::vector<uint8_t> adaptive_encode(const uint8_t* symbols, size_t count,
                                     const Geometry& geometry) {
  Form form = form_of(histogram(symbols, count), count);
  if (!form.single()) search(form, symbols, count, geometry);
  BitWriter head;
  put_form(form, head);
  std::vector<uint8_t> out = head.finish();
  if (form.single()) return out;
  std::vector<uint8_t> copy(symbols, symbols + count);
  RecordCoder coder;
  Walk(form, geometry).run(coder, copy.data(), count);
  coder.finish(out);
  return out;
}

void adaptive_decode(const uint8_t* data, size_t size, const Geometry& geometry, uint8_t* symbols,
                     size_t count) {
  BitReader head(data, size);
  const Form form = get_form(head);
  if (form.single()) {
    head.finish();
    std::memset(symbols, static_cast<int>(form.low), count);
    return;
  }
  const size_t at = head.align();
  DecodeCoder coder(data + at, size - at);
  Walk(form, geometry).run(coder, symbols, count);
  coder.finish();
}

}  // namespace tersor::coding
