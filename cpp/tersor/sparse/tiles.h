// What the products of this room share. Private to cpp/tersor/sparse.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/sparse/panels.h"
#include "tersor/sparse/sizes.h"
#include "tersor/sparse/spmm.h"

namespace tersor::sparse {

// Sums of 32 bits in a vector of the active instruction set.
inline int64_t lanes() {
  const FeatureBits active = active_features();
  return active & Feature::avx512 ? 16 : active & Feature::avx2 ? 8 : 4;
}

// Of products with inputs at any offset.
inline SpmmTiling offset_tiling(int64_t depth, int64_t block_rows) {
  SpmmTiling t;
  t.depth = depth;
  t.block_rows = block_rows;
  t.together = 1;  // groups of more would read what lies behind a tile, times 0
  t.width = 1;
  t.packed = false;
  return t;
}

inline size_t offset_sums(const SpmmPanels& panels, int64_t columns) {
  return static_cast<size_t>((panels.tiling().block_rows + 1) * round_up(columns, kSpmmPad));
}
inline int64_t offset_slack(int64_t columns) { return round_up(columns, kSpmmPad) + kSpmmPad; }

// Points the tile of a kernel, SpmmTile or SpmmInt8Tile, at panel i of a block of rows.
template <class Tile>
void set_panel(Tile& t, const SpmmPanels& panels, int64_t i, const SpmmPanels::Panel& panel) {
  t.groups = panel.groups;
  t.counts = panel.counts;
  t.rows = panel.rows;
  t.values = panel.values;
  t.index = panel.index;
  t.first = i == 0;
  t.last = i + 1 == panels.tiles();
}

}  // namespace tersor::sparse
