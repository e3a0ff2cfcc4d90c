#include "tersor/sparse/offsets.h"

#include <limits>

#include "tersor/sparse/kernels.h"
#include "tersor/sparse/tiles.h"

namespace tersor::sparse {

SpmmOffsets::SpmmOffsets(const SparseRows& w, int64_t depth, int64_t block_rows)
    : panels_(w, offset_tiling(depth, block_rows)) {}

size_t SpmmOffsets::sums_floats(int64_t columns) const { return offset_sums(panels_, columns); }

int64_t SpmmOffsets::slack(int64_t columns) { return offset_slack(columns); }

void SpmmOffsets::run(int64_t block, const OffsetProduct& p) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const int64_t first_row = panels_.first_row(block);
  SpmmTile t{};
  t.x_stride = 1;
  t.columns = p.columns;
  t.together = 1;
  t.sums = p.sums;
  t.sums_stride = round_up(p.columns, kSpmmPad);
  t.block_rows = panels_.block_rows(block);
  t.bias = p.bias ? p.bias + first_row : nullptr;
  t.y = p.y + first_row * p.y_stride;
  t.y_stride = p.y_stride;
  t.low = p.low;
  t.high = p.high;
  t.post_low = -kInfinity;
  t.post_high = kInfinity;
  auto* const kernel = spmm_tile_table.pick();
  for (int64_t i = 0; i < panels_.tiles(); ++i) {
    const SpmmPanels::Panel panel = panels_.panel(block, i);
    t.x = p.x + panel.first_depth;
    set_panel(t, panels_, i, panel);
    kernel(t);
  }
}

}  // namespace tersor::sparse
