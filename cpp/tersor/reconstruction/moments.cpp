#include "tersor/reconstruction/moments.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/reconstruction/kernels.h"

namespace tersor::reconstruction {
namespace {

// Columns of one block of the sums: 256 rows of 48 columns are 48 KiB on each side, which stay in
// L2 beside the 18 KiB of sums; 48 is a multiple of every kernel's block.
constexpr size_t kBlock = 48;

// Room for reading beyond the end, and never a multiple of 4 KiB, or the rows of a column would
// share one set of the L1 cache.
size_t padded(size_t columns) {
  const size_t lines = (columns + kProductPad - 1) / kProductPad + 1;
  return (lines | 1) * kProductPad;
}

void check_finite(const float* x, size_t n, const char* name) {
  for (size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(std::isfinite(x[i]), "moments: ", name, " must be finite, got ", x[i]);
  }
}

struct Block {
  size_t group, row, column;
  bool target;
};

}  // namespace

Moments::Moments(size_t groups, size_t columns, size_t outputs, int threads)
    : groups_(groups),
      columns_(columns),
      outputs_(outputs),
      threads_(threads),
      x_stride_(padded(groups * columns)),
      t_stride_(padded(groups * outputs)) {
  TERSOR_CHECK(groups >= 1, "moments: groups must be at least 1, got ", groups);
  TERSOR_CHECK(columns >= 1, "moments: columns must be at least 1, got ", columns);
  x_rows_.assign(kProductRows * x_stride_, 0.0f);
  if (outputs > 0) t_rows_.assign(kProductRows * t_stride_, 0.0f);
  xx_.assign(groups * columns * columns, 0.0);
  x_.assign(groups * columns, 0.0);
  tx_.assign(groups * outputs * columns, 0.0);
  t_.assign(groups * outputs, 0.0);
  tt_.assign(groups * outputs, 0.0);
}

void Moments::add_rows(const float* x, const float* t, size_t rows) {
  const size_t width = groups_ * columns_, targets = groups_ * outputs_;
  TERSOR_CHECK((t != nullptr) == (outputs_ > 0), "moments: targets must ",
               outputs_ ? "be given" : "not be given where outputs is 0");
  check_finite(x, rows * width, "x");
  if (t) check_finite(t, rows * targets, "targets");
  for (size_t begin = 0; begin < rows; begin += kProductRows) {
    const size_t count = std::min(kProductRows, rows - begin);
    for (size_t r = 0; r < count; ++r) {
      std::memcpy(&x_rows_[r * x_stride_], x + (begin + r) * width, width * sizeof(float));
      if (t) {
        std::memcpy(&t_rows_[r * t_stride_], t + (begin + r) * targets, targets * sizeof(float));
      }
    }
    add_chunk(count);
  }
}

void Moments::add_patches(const float* x, const float* t, size_t images,
                          const PatchGeometry& geometry) {
  geometry.check("moments");
  TERSOR_CHECK(geometry.row_size() == groups_ * columns_, "moments: patches must have ",
               groups_ * columns_, " values, got ", geometry.row_size());
  TERSOR_CHECK((t != nullptr) == (outputs_ > 0), "moments: targets must ",
               outputs_ ? "be given" : "not be given where outputs is 0");
  const size_t positions = geometry.positions(), targets = groups_ * outputs_;
  check_finite(x, images * geometry.input_size(), "x");
  if (t) check_finite(t, images * targets * positions, "targets");
  const size_t total = images * positions;
  for (size_t begin = 0; begin < total; begin += kProductRows) {
    const size_t count = std::min(kProductRows, total - begin);
    // Pieces of 32 rows: coarse enough for the pool, and a patch's tables are shared by its row.
    constexpr size_t kPiece = 32;
    parallel_tasks((count + kPiece - 1) / kPiece, threads_, [&](size_t piece, int) {
      size_t r = piece * kPiece;
      const size_t end = std::min(count, r + kPiece);
      while (r < end) {
        const size_t image = (begin + r) / positions, first = (begin + r) % positions;
        const size_t n = std::min(end - r, positions - first);
        gather_patches(x + image * geometry.input_size(), geometry, first, n,
                       &x_rows_[r * x_stride_], x_stride_);
        if (t) {
          const float* source = t + image * targets * positions + first;
          for (size_t i = 0; i < n; ++i) {
            for (size_t c = 0; c < targets; ++c)
              t_rows_[(r + i) * t_stride_ + c] = source[c * positions + i];
          }
        }
        r += n;
      }
    });
    add_chunk(count);
  }
}

void Moments::add_chunk(size_t rows) {
  std::vector<Block> blocks;
  for (size_t g = 0; g < groups_; ++g) {
    for (size_t j = 0; j < columns_; j += kBlock) {
      for (size_t i = 0; i <= j; i += kBlock) blocks.push_back({g, i, j, false});
      for (size_t i = 0; i < outputs_; i += kBlock) blocks.push_back({g, i, j, true});
    }
  }
  const auto kernel = add_products_table.pick();
  parallel_tasks(blocks.size() + 1, threads_, [&](size_t task, int) {
    if (task == blocks.size()) return add_sums(rows);
    const Block& b = blocks[task];
    const size_t height = std::min(kBlock, (b.target ? outputs_ : columns_) - b.row);
    const size_t width = std::min(kBlock, columns_ - b.column);
    const float* right = &x_rows_[b.group * columns_ + b.column];
    if (b.target) {
      double* out = &tx_[(b.group * outputs_ + b.row) * columns_ + b.column];
      kernel(&t_rows_[b.group * outputs_ + b.row], t_stride_, right, x_stride_, rows, height, width,
             out, columns_);
      return;
    }
    double* sums = &xx_[b.group * columns_ * columns_];
    kernel(&x_rows_[b.group * columns_ + b.row], x_stride_, right, x_stride_, rows, height, width,
           sums + b.row * columns_ + b.column, columns_);
    for (size_t i = b.row; i < b.row + height; ++i) {
      for (size_t j = std::max(i + 1, b.column); j < b.column + width; ++j)
        sums[j * columns_ + i] = sums[i * columns_ + j];
    }
  });
  rows_ += static_cast<int64_t>(rows);
}

void Moments::add_sums(size_t rows) {
  for (size_t r = 0; r < rows; ++r) {
    const float* x = &x_rows_[r * x_stride_];
    for (size_t c = 0; c < x_.size(); ++c) x_[c] += static_cast<double>(x[c]);
    if (t_.empty()) continue;
    const float* t = &t_rows_[r * t_stride_];
    for (size_t c = 0; c < t_.size(); ++c) {
      const auto v = static_cast<double>(t[c]);
      t_[c] += v;
      tt_[c] += v * v;
    }
  }
}

void Moments::merge(const Moments& other) {
  TERSOR_CHECK(other.groups_ == groups_ && other.columns_ == columns_ && other.outputs_ == outputs_,
               "moments: other must have ", groups_, " groups of ", columns_, " columns and ",
               outputs_, " outputs, got ", other.groups_, ", ", other.columns_, " and ",
               other.outputs_);
  const auto add = [](std::vector<double>& to, const std::vector<double>& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  add(xx_, other.xx_);
  add(x_, other.x_);
  add(tx_, other.tx_);
  add(t_, other.t_);
  add(tt_, other.tt_);
  rows_ += other.rows_;
}

}  // namespace tersor::reconstruction
