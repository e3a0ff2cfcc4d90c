#include "tersor/sparse/matmul_int8.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/sparse/int8_form.h"
#include "tersor/sparse/kernels.h"
#include "tersor/sparse/tiles.h"

namespace tersor::sparse {
namespace {

// Blocks of 1 x 4 as entries, their four codes as the bits of the value.
SparseRows blocks_of(const SparseRows& w) {
  SparseRows out{w.rows, divide_up(w.columns, 4), {0}, {}, {}};
  for (int64_t r = 0; r < w.rows; ++r) {
    for (auto e = static_cast<size_t>(w.start[static_cast<size_t>(r)]);
         e < static_cast<size_t>(w.start[static_cast<size_t>(r) + 1]); ++e) {
      const float v = w.value[e];
      TERSOR_CHECK(v >= -128 && v <= 127 && v == std::nearbyint(v),
                   "spmm_int8: values must be int8 codes, got ", v);
      const int32_t block = w.column[e] / 4;
      const bool fresh = out.entries() == out.start.back() || out.column.back() != block;
      if (fresh) {
        out.column.push_back(block);
        out.value.push_back(0.0f);
      }
      const auto code = static_cast<uint32_t>(static_cast<uint8_t>(static_cast<int8_t>(v)));
      const uint32_t four = std::bit_cast<uint32_t>(out.value.back());
      out.value.back() = std::bit_cast<float>(four | code << (8 * (w.column[e] % 4)));
    }
    out.start.push_back(out.entries());
  }
  return out;
}

// Sum of the codes of each row.
std::vector<int32_t> sums_of(const SparseRows& w) {
  std::vector<int32_t> sums;
  for (size_t r = 0; r < static_cast<size_t>(w.rows); ++r) {
    int64_t sum = 0, size = 0;
    for (auto e = static_cast<size_t>(w.start[r]); e < static_cast<size_t>(w.start[r + 1]); ++e) {
      sum += static_cast<int64_t>(w.value[e]);
      size += std::abs(static_cast<int64_t>(w.value[e]));
    }
    TERSOR_CHECK(255 * size < int64_t{1} << 31, "spmm_int8: 255 * sum |w| must be below 2^31, got ",
                 255 * size, " for row ", r);
    sums.push_back(static_cast<int32_t>(sum));
  }
  return sums;
}

SpmmTiling choose(const SparseRows& blocks, int64_t columns, SpmmTiling t) {
  const double elements = static_cast<double>(blocks.rows) * static_cast<double>(blocks.columns);
  const double density = elements > 0 ? static_cast<double>(blocks.entries()) / elements : 0;
  const int64_t vectors = divide_up(std::max<int64_t>(columns, 1), lanes());
  const int64_t strips = divide_up(vectors, 9), wide = divide_up(vectors, strips);
  if (!t.block_rows) t.block_rows = balanced_rows(blocks.rows, strips);
  if (!t.width) t.width = wide * lanes();
  if (!t.together) t.together = wide >= 6 ? 1 : wide >= 3 ? 2 : 4;
  const int64_t bytes = density > 0.15 ? 28 << 10 : density > 0.07 ? 36 << 10 : 72 << 10;
  if (!t.depth) t.depth = std::clamp<int64_t>(bytes / (4 * t.width), 8, 65535);
  return t;
}

Int8Kernels kernels_of(Int8Form form) {
  return {form == Int8Form::automatic ? Int8Kernels::has_quads() : form == Int8Form::quads};
}

}  // namespace

struct SpmmInt8Plan::Product {
  const uint8_t* x;
  ptrdiff_t x_stride;
  bool x_signed;
  const int32_t* bias;
  int32_t* y;
  ptrdiff_t y_stride;
};

SpmmInt8Plan::SpmmInt8Plan(const SparseRows& w, int64_t columns, SpmmTiling tiling, Int8Form form)
    : panels_([&] {
        const SparseRows blocks = blocks_of(w);
        return SpmmPanels(kernels_of(form).weights(blocks), choose(blocks, columns, tiling));
      }()),
      depth_(w.columns),
      quads_(kernels_of(form).quads),
      row_sums_(sums_of(w)) {
  TERSOR_CHECK(panels_.tiling().together <= 8, "spmm_int8: together must be at most 8, got ",
               panels_.tiling().together);
}

size_t SpmmInt8Plan::worker_bytes(int64_t columns) const {
  const int64_t stride = round_up(std::min(columns, tiling().width), kSpmmPad);
  const int64_t sums = (tiling().block_rows + 1) * stride * 4;
  return static_cast<size_t>((tiling().depth + 1) * stride * 4 + sums +
                             round_up(tiling().block_rows * 4, 64) + 64);
}

size_t SpmmInt8Plan::scratch_bytes(int64_t columns, int threads) const {
  const int n = threads > 0 ? threads : tersor::threads();
  return worker_bytes(columns) * static_cast<size_t>(n);
}

void SpmmInt8Plan::run(const void* x, bool x_signed, ptrdiff_t x_stride, int64_t columns,
                       const int32_t* bias, int32_t* y, ptrdiff_t y_stride, void* scratch,
                       int threads) const {
  if (rows() == 0 || columns == 0) return;
  const int n = threads > 0 ? threads : tersor::threads();
  const Product product{static_cast<const uint8_t*>(x), x_stride, x_signed, bias, y, y_stride};
  const int64_t pieces = column_pieces(panels_, columns, n);
  const size_t bytes = worker_bytes(columns);
  parallel_tasks(static_cast<size_t>(panels_.blocks() * pieces), n, [&](size_t task, int worker) {
    const int64_t piece = static_cast<int64_t>(task) % pieces;
    run_block(product, static_cast<int64_t>(task) / pieces,
              column_range(columns, piece, pieces, lanes()),
              static_cast<char*>(scratch) + bytes * static_cast<size_t>(worker));
  });
}

void SpmmInt8Plan::run_block(const Product& p, int64_t block, ColumnRange range,
                             char* scratch) const {
  const auto [first, columns] = range;
  const int64_t first_row = panels_.first_row(block), rows = panels_.block_rows(block);
  const int64_t stride = round_up(columns, kSpmmPad);
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  int32_t* bias = sums + (rows + 1) * stride;
  auto* packed = reinterpret_cast<uint8_t*>(bias + round_up(rows, 16));
  // Signed codes are multiplied as 128 more: 128 * sum w goes off again.
  for (int64_t r = 0; r < rows; ++r) {
    auto b = static_cast<uint32_t>(p.bias ? p.bias[first_row + r] : 0);
    if (p.x_signed)
      b -= 128u * static_cast<uint32_t>(row_sums_[static_cast<size_t>(first_row + r)]);
    bias[r] = static_cast<int32_t>(b);
  }
  auto* const kernel = Int8Kernels{quads_}.kernel();
  SpmmInt8Tile t{};
  t.x = packed;
  t.step = stride * 4;
  t.columns = columns;
  t.together = tiling().together;
  t.sums = sums;
  t.sums_stride = stride;
  t.block_rows = rows;
  t.bias = bias;
  t.y = p.y + first_row * p.y_stride + first;
  t.y_stride = p.y_stride;
  for (int64_t i = 0; i < panels_.tiles(); ++i) {
    const SpmmPanels::Panel panel = panels_.panel(block, i);
    const int64_t k = 4 * panel.first_depth;
    spmm_pack_quads_table.pick()({p.x + k * p.x_stride + first, p.x_stride,
                                  std::min(4 * panel.depth, depth_ - k), panel.depth, columns,
                                  p.x_signed ? uint8_t{128} : uint8_t{0}, packed, stride});
    set_panel(t, panels_, i, panel);
    kernel(t);
  }
}

}  // namespace tersor::sparse
