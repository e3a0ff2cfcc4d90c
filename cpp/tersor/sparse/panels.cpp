#include "tersor/sparse/panels.h"

#include <algorithm>
#include <numeric>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/sparse/sizes.h"
#include "tersor/sparse/spmm.h"
#include "tersor/sparse/spmv.h"

namespace tersor::sparse {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

void check(const SpmmTiling& t) {
  const auto in_range = [](const char* name, int64_t value, int64_t most) {
    TERSOR_CHECK(1 <= value && value <= most, "spmm_plan: ", name, " must be in [1, ", most,
                 "], got ", value);
  };
  in_range("block_rows", t.block_rows, 65535);
  in_range("depth", t.depth, 65535);
  in_range("width", t.width, 1 << 20);
  TERSOR_CHECK(t.together == 1 || t.together == 2 || t.together == 4 || t.together == 8 ||
                   t.together == kSpmvTogether,
               "spmm_plan: together must be 1, 2, 4, 8 or 16, got ", t.together);
}

}  // namespace

SpmmPanels::SpmmPanels(const SparseRows& w, const SpmmTiling& tiling)
    : rows_(w.rows), depth_(w.columns), tiling_(tiling) {
  check(tiling_);
  tiling_.depth = std::clamp<int64_t>(depth_, 1, tiling_.depth);
  tiling_.block_rows = std::clamp<int64_t>(rows_, 1, tiling_.block_rows);
  if (tiling_.together > 1) tiling_.packed = true;  // padding reads a row of zeros
  Entries entries;
  for (int64_t b = 0; b < blocks(); ++b) pack(w, b, entries);
  index_ = Buffer(entries.index.size() * sizeof(uint16_t));
  values_ = Buffer(entries.values.size() * sizeof(float));
  std::copy(entries.index.begin(), entries.index.end(), index_.as<uint16_t>());
  std::copy(entries.values.begin(), entries.values.end(), values_.as<float>());
}

int64_t SpmmPanels::tiles() const { return std::max<int64_t>(divide_up(depth_, tiling_.depth), 1); }

int64_t SpmmPanels::block_rows(int64_t block) const {
  return std::min(tiling_.block_rows, rows_ - first_row(block));
}

size_t SpmmPanels::bytes() const {
  return places_.size() * sizeof(Place) + (counts_.size() + group_rows_.size()) * sizeof(uint16_t) +
         index_.size() + values_.size();
}

SpmmPanels::Panel SpmmPanels::panel(int64_t block, int64_t tile) const {
  const Place& p = places_[at(block * tiles() + tile)];
  const int64_t first = tile * tiling_.depth;
  return {first,
          std::min(tiling_.depth, depth_ - first),
          p.groups,
          counts_.data() + p.group,
          group_rows_.data() + p.group * at(tiling_.together),
          index_.as<uint16_t>() + p.entry,
          values_.as<float>() + p.entry};
}

void SpmmPanels::pack(const SparseRows& w, int64_t block, Entries& entries) {
  const int64_t first = first_row(block), rows = block_rows(block);
  const int64_t together = tiling_.together;
  std::vector<int64_t> begin(at(rows)), end(at(rows));
  for (int64_t r = 0; r < rows; ++r) begin[at(r)] = w.start[at(first + r)];
  std::vector<uint16_t> order(at(rows));
  for (int64_t tile = 0; tile < tiles(); ++tile) {
    const int64_t k0 = tile * tiling_.depth, depth = std::min(tiling_.depth, depth_ - k0);
    for (int64_t r = 0; r < rows; ++r) {
      end[at(r)] = begin[at(r)];
      while (end[at(r)] < w.start[at(first + r) + 1] && w.column[at(end[at(r)])] < k0 + depth)
        ++end[at(r)];
    }
    std::iota(order.begin(), order.end(), uint16_t{0});
    // With one column the sums of a group stay in their places from tile to tile, and so must it.
    if (together != kSpmvTogether || tiles() == 1) {
      std::stable_sort(order.begin(), order.end(), [&](uint16_t a, uint16_t b) {
        return end[a] - begin[a] > end[b] - begin[b];
      });
    }
    places_.push_back({divide_up(rows, together), counts_.size(), entries.values.size()});
    for (int64_t g = 0; g < places_.back().groups; ++g) {
      int64_t count = 0;
      for (int64_t i = g * together; i < (g + 1) * together; ++i) {
        const bool none = i >= rows;
        group_rows_.push_back(none ? static_cast<uint16_t>(rows) : order[at(i)]);
        if (!none) count = std::max(count, end[order[at(i)]] - begin[order[at(i)]]);
      }
      counts_.push_back(static_cast<uint16_t>(count));
      const uint16_t* group = group_rows_.data() + group_rows_.size() - at(together);
      for (int64_t e = 0; e < count; ++e) {
        for (int64_t i = 0; i < together; ++i) {
          const uint16_t row = group[i];
          const bool has = row < rows && begin[row] + e < end[row];
          const size_t entry = has ? at(begin[row] + e) : 0;
          entries.values.push_back(has ? w.value[entry] : 0.0f);
          entries.index.push_back(static_cast<uint16_t>(has ? w.column[entry] - k0 : depth));
        }
      }
    }
    begin = end;
  }
}

int64_t balanced_rows(int64_t rows, int64_t strips) {
  constexpr int64_t kMost = 640, kLeast = 96;
  int64_t blocks = std::max<int64_t>(divide_up(rows, kMost), 1);
  const int64_t n = threads();
  while (blocks * strips % n != 0 && blocks * strips < 4 * n && rows / (blocks + 1) >= kLeast)
    ++blocks;
  return std::max<int64_t>(divide_up(rows, blocks), 1);
}

int64_t column_pieces(const SpmmPanels& w, int64_t columns, int64_t threads) {
  int64_t pieces = divide_up(columns, w.tiling().width);
  // Too few pieces of work, or a last round in which some threads rest: narrower pieces.
  while (w.blocks() * pieces % threads != 0 && w.blocks() * pieces < 4 * threads &&
         columns / (pieces + 1) >= 2 * kSpmmPad)
    ++pieces;
  return pieces;
}

ColumnRange column_range(int64_t columns, int64_t piece, int64_t pieces, int64_t step) {
  const int64_t vectors = divide_up(columns, step);
  const int64_t first = vectors * piece / pieces * step;
  return {first, std::min(vectors * (piece + 1) / pieces * step, columns) - first};
}

}  // namespace tersor::sparse
