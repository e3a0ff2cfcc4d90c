#include "tersor/sparse/offsets_int8.h"

#include "tersor/sparse/kernels.h"
#include "tersor/sparse/tiles.h"

namespace tersor::sparse {

SpmmInt8Offsets::SpmmInt8Offsets(const SparseRows& w, int64_t depth, int64_t block_rows)
    : kernels_{Int8Kernels::has_quads()},
      panels_(kernels_.weights(w), offset_tiling(depth, block_rows)) {}

size_t SpmmInt8Offsets::sums_words(int64_t columns) const { return offset_sums(panels_, columns); }

int64_t SpmmInt8Offsets::slack(int64_t columns) { return offset_slack(columns); }

std::string SpmmInt8Offsets::kernel() const { return kernels_.name(); }

void SpmmInt8Offsets::run(int64_t block, const OffsetInt8Product& p) const {
  const int64_t first_row = panels_.first_row(block);
  SpmmInt8Tile t{};
  t.step = 4;
  t.columns = p.columns;
  t.together = 1;
  t.sums = p.sums;
  t.sums_stride = round_up(p.columns, kSpmmPad);
  t.block_rows = panels_.block_rows(block);
  t.bias = p.bias ? p.bias + first_row : nullptr;
  t.y = p.y + first_row * p.y_stride;
  t.y_stride = p.y_stride;
  auto* const kernel = kernels_.kernel();
  for (int64_t i = 0; i < panels_.tiles(); ++i) {
    const SpmmPanels::Panel panel = panels_.panel(block, i);
    t.x = p.x + panel.first_depth;
    set_panel(t, panels_, i, panel);
    kernel(t);
  }
}

}  // namespace tersor::sparse
