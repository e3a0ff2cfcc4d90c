#include "tersor/coding/mask.h"

#include "tersor/base/error.h"
#include "tersor/coding/bit_stream.h"

namespace tersor::coding {
namespace {

constexpr int kMostRelativeBits = 16;
constexpr int kMostRice = 30;

size_t at(int64_t i) { return static_cast<size_t>(i); }

int group_bits(MaskForm form) { return form.parameter >> 5; }
int group_count(MaskForm form) { return form.parameter & 31; }

// Throws on a form that does not exist.
void check(MaskForm form) {
  const int p = form.parameter;
  bool known = false;
  switch (form.method) {
    case MaskMethod::bitmap:
      known = p == 0;
      break;
    case MaskMethod::relative:
      known = 1 <= p && p <= kMostRelativeBits;
      break;
    case MaskMethod::rice:
      known = p <= kMostRice;
      break;
    case MaskMethod::positions: {
      const int bits = group_bits(form), n = group_count(form);
      known = 2 <= bits && bits <= 4 && 1 <= n && n <= 1 << bits;
      break;
    }
  }
  if (!known) {
    throw ArtifactError(
        message("artifact: a mask has the unknown form ", static_cast<int>(form.method), ", ", p));
  }
}

// True where every group has exactly n.
bool groups_fit(const std::vector<int64_t>& kept, int64_t units, MaskForm form) {
  const int64_t m = int64_t{1} << group_bits(form), n = group_count(form);
  if (units % m != 0 || static_cast<int64_t>(kept.size()) != units / m * n) return false;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] / m != static_cast<int64_t>(i) / n) return false;
  }
  return true;
}

template <class Visit>
void for_each_gap(const std::vector<int64_t>& kept, const Visit& visit) {
  int64_t next = 0;
  for (const int64_t unit : kept) {
    visit(static_cast<uint64_t>(unit - next));
    next = unit + 1;
  }
}

std::vector<uint8_t> bitmap_of(const std::vector<int64_t>& kept, int64_t units) {
  std::vector<uint8_t> bytes(at((units + 7) / 8));
  for (const int64_t unit : kept) bytes[at(unit / 8)] |= static_cast<uint8_t>(1u << (unit % 8));
  return bytes;
}

}  // namespace

std::vector<int64_t> kept_units(const std::vector<bool>& keep, const MaskUnits& u) {
  std::vector<bool> used(at(u.count()));
  size_t element = 0;
  for (int64_t o = 0; o < u.outer; ++o) {
    for (int64_t a = 0; a < u.axis; ++a) {
      const int64_t first = (o * u.per_axis() + a / u.width) * u.inner;
      for (int64_t i = 0; i < u.inner; ++i, ++element) {
        if (keep[element]) used[at(first + i)] = true;
      }
    }
  }
  std::vector<int64_t> kept;
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) kept.push_back(static_cast<int64_t>(i));
  }
  return kept;
}

int64_t mask_bits(const std::vector<int64_t>& kept, int64_t units, MaskForm form) {
  check(form);
  uint64_t bits = 0;
  switch (form.method) {
    case MaskMethod::bitmap:
      return units;
    case MaskMethod::relative:
      for_each_gap(kept, [&](uint64_t gap) {
        bits += (gap / ((1u << form.parameter) - 1) + 1) * form.parameter;
      });
      break;
    case MaskMethod::rice:
      for_each_gap(kept,
                   [&](uint64_t gap) { bits += (gap >> form.parameter) + 1 + form.parameter; });
      break;
    case MaskMethod::positions:
      if (!groups_fit(kept, units, form)) return -1;
      return static_cast<int64_t>(kept.size()) * group_bits(form);
  }
  return static_cast<int64_t>(bits);
}

MaskForm smallest_mask(const std::vector<int64_t>& kept, int64_t units) {
  MaskForm best;
  int64_t least = units;
  const auto consider = [&](MaskMethod method, int parameter) {
    const MaskForm form{method, static_cast<uint8_t>(parameter)};
    const int64_t bits = mask_bits(kept, units, form);
    if (bits >= 0 && bits < least) {
      least = bits;
      best = form;
    }
  };
  for (int b = 1; b <= kMostRelativeBits; ++b) consider(MaskMethod::relative, b);
  for (int k = 0; k <= 20; ++k) consider(MaskMethod::rice, k);
  for (int bits = 2; bits <= 4; ++bits) {
    const int64_t groups = units >> bits;
    if (groups == 0) continue;
    const int64_t n = static_cast<int64_t>(kept.size()) / groups;
    if (1 <= n && n < int64_t{1} << bits)
      consider(MaskMethod::positions, static_cast<int>(n) + 32 * bits);
  }
  return best;
}

std::vector<uint8_t> encode_mask(const std::vector<int64_t>& kept, int64_t units, MaskForm form) {
  check(form);
  BitWriter out;
  const int p = form.parameter;
  switch (form.method) {
    case MaskMethod::bitmap:
      return bitmap_of(kept, units);
    case MaskMethod::relative:
      for_each_gap(kept, [&](uint64_t gap) {
        const uint64_t most = (1u << p) - 1;
        for (; gap >= most; gap -= most) out.put(most, p);
        out.put(gap, p);
      });
      break;
    case MaskMethod::rice:
      for_each_gap(kept, [&](uint64_t gap) {
        out.put_ones(gap >> p);
        out.put(0, 1);
        out.put(gap, p);
      });
      break;
    case MaskMethod::positions:
      for (const int64_t unit : kept)
        out.put(static_cast<uint64_t>(unit) & ((1u << group_bits(form)) - 1), group_bits(form));
      break;
  }
  return out.finish();
}

std::vector<int64_t> decode_mask(const uint8_t* bytes, size_t size, int64_t count, int64_t units,
                                 MaskForm form) {
  check(form);
  const auto mapped = static_cast<uint64_t>(8) * size;
  // Every form spends a bit for each kept unit, or more.
  if (count < 0 || count > units || static_cast<uint64_t>(count) > mapped)
    throw ArtifactError(message("artifact: a mask of ", size, " bytes cannot keep ", count));
  BitReader in(bytes, size);
  std::vector<int64_t> kept;
  kept.reserve(at(count));
  const int p = form.parameter;
  if (form.method == MaskMethod::bitmap) {
    if (static_cast<int64_t>(size) != (units + 7) / 8)
      throw ArtifactError("artifact: a bitmap must have one bit for each unit");
    for (int64_t unit = 0; unit < units; ++unit) {
      if (in.bit()) kept.push_back(unit);
    }
    if (static_cast<int64_t>(kept.size()) != count)
      throw ArtifactError(message("artifact: a bitmap must keep ", count, ", got ", kept.size()));
  } else if (form.method == MaskMethod::positions) {
    const int64_t n = group_count(form), m = int64_t{1} << group_bits(form);
    if (units % m != 0 || count != units / m * n)
      throw ArtifactError(message("artifact: a mask of groups cannot keep ", count));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t unit = i / n * m + static_cast<int64_t>(in.get(group_bits(form)));
      if (i % n && unit <= kept.back())
        throw ArtifactError("artifact: positions of a mask must ascend");
      kept.push_back(unit);
    }
  } else {
    int64_t next = 0;
    for (int64_t i = 0; i < count; ++i) {
      uint64_t gap = 0;
      if (form.method == MaskMethod::rice) {
        while (in.bit()) ++gap;
        if (gap > static_cast<uint64_t>(units) >> p)  // and the shift cannot overflow
          throw ArtifactError(message("artifact: a mask must stay below unit ", units));
        gap = gap << p | in.get(p);
      } else {
        const uint64_t most = (1u << p) - 1;
        uint64_t step;
        do {
          step = in.get(p);
          gap += step;
        } while (step == most);
      }
      if (gap >= static_cast<uint64_t>(units - next))
        throw ArtifactError(message("artifact: a mask must stay below unit ", units));
      next += static_cast<int64_t>(gap);
      kept.push_back(next++);
    }
  }
  in.finish();
  return kept;
}

}  // namespace tersor::coding
