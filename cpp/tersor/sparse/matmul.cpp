#include "tersor/sparse/matmul.h"

#include <algorithm>
#include <numeric>

#include "tersor/base/threads.h"
#include "tersor/sparse/kernels.h"
#include "tersor/sparse/tiles.h"

namespace tersor::sparse {
namespace {

// Rows of x far apart by nearly whole pages fall into a few sets of L1 and push each other out.
bool rows_collide(int64_t stride_bytes) { return std::gcd(stride_bytes, int64_t{4096}) >= 1024; }

template <class T>
void either(T& field, int64_t value) {
  if (!field) field = static_cast<T>(value);
}

SpmmTiling choose(const SparseRows& w, int64_t columns, SpmmTiling t) {
  if (columns == 1) {
    either(t.block_rows, 1024);
    either(t.together, kSpmvTogether);
    either(t.depth, 65535);
    either(t.width, 1);
    return t;
  }
  const double elements = static_cast<double>(w.rows) * static_cast<double>(w.columns);
  const double density = elements > 0 ? static_cast<double>(w.entries()) / elements : 0;
  const int64_t vectors = divide_up(std::max<int64_t>(columns, 1), lanes());
  // Thirteen vectors spend least on broadcasts; nine leave room for deeper tiles, which counts from
  // 60 % sparsity on (Zen 3).
  const int64_t strips = divide_up(vectors, density > 0.4 ? 13 : 9);
  const int64_t wide = divide_up(vectors, strips);
  either(t.block_rows, balanced_rows(w.rows, strips));
  either(t.width, wide * lanes());
  if (!t.together) {
    t.together = wide >= 7 ? 1 : wide >= 3 ? 2 : 4;
    // Copying a row costs as much as about eight uses gain by it.
    const double uses = density * static_cast<double>(std::min(t.block_rows, w.rows));
    t.packed = t.together > 1 || uses >= 8 || rows_collide(columns * 4);
  }
  // The tile and a row of sums share L1 (32 KiB). The fewer the entries, the more the sums cost
  // that every tile loads and stores again (measured on Zen 3 at 75, 90 and 95 %).
  const int64_t bytes = density > 0.15 ? 28 << 10 : density > 0.07 ? 36 << 10 : 72 << 10;
  either(t.depth, std::clamp<int64_t>(bytes / (t.width * 4), 16, 65535));
  return t;
}

}  // namespace

struct SpmmPlan::Product {
  const float* x;
  ptrdiff_t x_stride;
  int64_t columns;
  const SpmmEpilogue& epilogue;
  float* y;
  ptrdiff_t y_stride;
  spmm_tile_sig* tile;
  spmm_pack_sig* pack;
  spmv_tile_sig* vector;
};

SpmmPlan::SpmmPlan(const SparseRows& w, int64_t columns, SpmmTiling tiling)
    : panels_(w, choose(w, columns, tiling)) {}

size_t SpmmPlan::worker_bytes(int64_t columns) const {
  if (tiling().together == kSpmvTogether) {
    return static_cast<size_t>(
        round_up((tiling().depth + 1 + round_up(tiling().block_rows, kSpmvTogether)) * 4, 64) + 64);
  }
  const int64_t stride = round_up(std::min(columns, tiling().width), kSpmmPad);
  return static_cast<size_t>((tiling().depth + 1 + tiling().block_rows + 1) * stride * 4 + 128);
}

size_t SpmmPlan::scratch_bytes(int64_t columns, int threads) const {
  const int n = threads > 0 ? threads : tersor::threads();
  return worker_bytes(columns) * static_cast<size_t>(n);
}

void SpmmPlan::run(const float* x, ptrdiff_t x_stride, int64_t columns,
                   const SpmmEpilogue& epilogue, float* y, ptrdiff_t y_stride, void* scratch,
                   int threads) const {
  if (rows() == 0 || columns == 0) return;
  const int n = threads > 0 ? threads : tersor::threads();
  const Product product{x,
                        x_stride,
                        columns,
                        epilogue,
                        y,
                        y_stride,
                        spmm_tile_table.pick(),
                        spmm_pack_table.pick(),
                        spmv_tile_table.pick()};
  const bool vector = tiling().together == kSpmvTogether;
  const int64_t pieces = vector ? columns : column_pieces(panels_, columns, n);
  const size_t bytes = worker_bytes(columns);
  parallel_tasks(static_cast<size_t>(panels_.blocks() * pieces), n, [&](size_t task, int worker) {
    const int64_t piece = static_cast<int64_t>(task) % pieces;
    const int64_t block = static_cast<int64_t>(task) / pieces;
    char* mine = static_cast<char*>(scratch) + bytes * static_cast<size_t>(worker);
    if (vector) {
      run_vector(product, block, piece, mine);
    } else {
      run_block(product, block, column_range(columns, piece, pieces, lanes()), mine);
    }
  });
}

void SpmmPlan::run_block(const Product& p, int64_t block, ColumnRange range, char* scratch) const {
  const auto [first, columns] = range;
  const int64_t first_row = panels_.first_row(block), rows = panels_.block_rows(block);
  const int64_t stride = round_up(columns, kSpmmPad);
  auto* sums = reinterpret_cast<float*>(scratch);
  float* packed = sums + (rows + 1) * stride;
  const SpmmEpilogue& e = p.epilogue;
  SpmmTile t{};
  t.columns = columns;
  t.together = tiling().together;
  t.sums = sums;
  t.sums_stride = stride;
  t.block_rows = rows;
  t.bias = e.bias ? e.bias + first_row : nullptr;
  t.residual = e.residual ? e.residual + first_row * e.residual_stride + first : nullptr;
  t.residual_stride = e.residual_stride;
  t.y = p.y + first_row * p.y_stride + first;
  t.y_stride = p.y_stride;
  t.low = e.low;
  t.high = e.high;
  t.post_low = e.post_low;
  t.post_high = e.post_high;
  const bool in_place = !tiling().packed && first + stride <= p.columns;
  for (int64_t i = 0; i < panels_.tiles(); ++i) {
    const SpmmPanels::Panel panel = panels_.panel(block, i);
    const float* x = p.x + panel.first_depth * p.x_stride + first;
    if (in_place) {
      t.x = x;
      t.x_stride = p.x_stride;
    } else {
      p.pack({x, p.x_stride, panel.depth, columns, packed, stride});
      t.x = packed;
      t.x_stride = stride;
    }
    set_panel(t, panels_, i, panel);
    p.tile(t);
  }
}

void SpmmPlan::run_vector(const Product& p, int64_t block, int64_t column, char* scratch) const {
  const int64_t first_row = panels_.first_row(block), rows = panels_.block_rows(block);
  auto* sums = reinterpret_cast<float*>(scratch);
  float* x = sums + round_up(tiling().block_rows, kSpmvTogether);
  const uint16_t* order = nullptr;
  for (int64_t i = 0; i < panels_.tiles(); ++i) {
    const SpmmPanels::Panel panel = panels_.panel(block, i);
    for (int64_t k = 0; k < panel.depth; ++k)
      x[k] = p.x[(panel.first_depth + k) * p.x_stride + column];
    x[panel.depth] = 0;
    p.vector({x, panel.groups, panel.counts, panel.values, panel.index, i == 0, sums});
    order = panel.rows;
  }
  const SpmmEpilogue& e = p.epilogue;
  const auto clamp = [](float v, float low, float high) {
    return v < low ? low : v > high ? high : v;
  };
  for (int64_t place = 0; place < rows; ++place) {
    const int64_t row = first_row + order[place];
    float y = clamp(sums[place] + (e.bias ? e.bias[row] : 0.0f), e.low, e.high);
    if (e.residual)
      y = clamp(y + e.residual[row * e.residual_stride + column], e.post_low, e.post_high);
    p.y[row * p.y_stride + column] = y;
  }
}

}  // namespace tersor::sparse
