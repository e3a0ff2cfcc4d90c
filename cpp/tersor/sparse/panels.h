// The form of a sparse matrix that the kernels read: blocks of rows x tiles of depth, in each of
// which rows are ordered by their number of entries and put together in groups (spmm.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/base/memory.h"
#include "tersor/sparse/rows.h"

namespace tersor::sparse {

// How a matrix is cut.
struct SpmmTiling {
  int64_t block_rows = 0;  // at most 65535
  int64_t depth = 0;       // of a tile, at most 65535
  int together = 0;        // rows of a group: 1, 2, 4, 8; 16 for products with one column
  int64_t width = 0;       // most columns of x that are taken at a time
  bool packed = true;      // x is copied tile by tile; false where it is better read in place
};

class TERSOR_API SpmmPanels {
 public:
  // The entries of one block of rows in one tile of depth.
  struct Panel {
    int64_t first_depth, depth, groups;
    const uint16_t* counts;
    const uint16_t* rows;
    const uint16_t* index;
    const float* values;
  };

  // ValueError where a tiling is out of range. Values may be any 32 bits.
  SpmmPanels(const SparseRows& w, const SpmmTiling& tiling);

  int64_t rows() const { return rows_; }
  int64_t depth() const { return depth_; }
  const SpmmTiling& tiling() const { return tiling_; }
  int64_t blocks() const { return (rows_ + tiling_.block_rows - 1) / tiling_.block_rows; }
  int64_t first_row(int64_t block) const { return block * tiling_.block_rows; }
  int64_t block_rows(int64_t block) const;
  int64_t tiles() const;  // at least one
  Panel panel(int64_t block, int64_t tile) const;
  size_t bytes() const;

 private:
  struct Place {
    int64_t groups;
    size_t group, entry;
  };
  struct Entries {
    std::vector<uint16_t> index;
    std::vector<float> values;
  };
  void pack(const SparseRows& w, int64_t block, Entries& entries);

  int64_t rows_, depth_;
  SpmmTiling tiling_;
  std::vector<Place> places_;  // [blocks][tiles]
  std::vector<uint16_t> counts_, group_rows_;
  // Streamed through by every product: huge pages, where they are large.
  Buffer index_, values_;
};

// Rows of a block, of 640 at most: few enough for their sums to stay in L2, and as many blocks as
// make blocks x strips of columns a fair share for the threads of this moment.
int64_t balanced_rows(int64_t rows, int64_t strips);
// Pieces in which `columns` are taken, so that blocks x pieces feed `threads`.
int64_t column_pieces(const SpmmPanels& w, int64_t columns, int64_t threads);
// Piece i of n: first column and end, at multiples of `step` but for the last.
struct ColumnRange {
  int64_t first, count;
};
ColumnRange column_range(int64_t columns, int64_t piece, int64_t pieces, int64_t step);

}  // namespace tersor::sparse
