#include "tersor/sparse/formats.h"

#include <algorithm>

#include "tersor/base/error.h"

namespace tersor::sparse {
namespace {

// Block columns of block row `row` that have an entry, ascending.
std::vector<int64_t> used_blocks(const SparseRows& w, const SparseLayout& l, int64_t row) {
  std::vector<int64_t> used;
  for (int64_t r = row * l.height; r < std::min(w.rows, (row + 1) * l.height); ++r) {
    for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e)
      used.push_back(w.column[at(e)] / l.width);
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  return used;
}

}  // namespace

SparseParts encode_block(const SparseRows& w, const SparseLayout& l) {
  SparseParts p;
  const int64_t block_rows = divide_up(w.rows, l.height), size = l.height * l.width;
  int64_t blocks = 0;
  append(p.starts, 0, 4);
  std::vector<float> values;
  for (int64_t b = 0; b < block_rows; ++b) {
    const std::vector<int64_t> used = used_blocks(w, l, b);
    values.assign(used.size() * at(size), 0.0f);
    for (int64_t r = b * l.height; r < std::min(w.rows, (b + 1) * l.height); ++r) {
      auto block = used.begin();
      for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e) {
        const int64_t column = w.column[at(e)];
        while (*block < column / l.width) ++block;
        const int64_t place = (block - used.begin()) * size + (r - b * l.height) * l.width;
        values[at(place + column % l.width)] = w.value[at(e)];
      }
    }
    for (const int64_t column : used)
      append(p.indices, static_cast<uint32_t>(column), index_bytes(l));
    for (const float v : values) append_value(p.values, v, l.dtype);
    append(p.starts, static_cast<uint32_t>(blocks += static_cast<int64_t>(used.size())), 4);
  }
  return p;
}

SparseRows decode_block(const SparseParts& p, const SparseLayout& l) {
  const int64_t size = l.height * l.width, values = value_count(p, l), blocks = values / size;
  TERSOR_CHECK(values % size == 0, "sparse_matrix: values must be whole blocks of ", size, ", got ",
               values);
  check_size("indices", p.indices.size(), blocks * static_cast<int64_t>(index_bytes(l)));
  check_starts(p, divide_up(l.rows, l.height), blocks);
  SparseRows w{l.rows, l.columns, {}, {}, {}};
  w.start.assign(1, 0);
  const int64_t block_columns = divide_up(l.columns, l.width);
  for (int64_t r = 0; r < divide_up(l.rows, l.height) * l.height; ++r) {
    int64_t previous = -1;
    const int64_t end = number(p.starts, r / l.height + 1, 4);
    for (int64_t b = number(p.starts, r / l.height, 4); b < end; ++b) {
      const int64_t index = number(p.indices, b, index_bytes(l));
      check_index(b, index, previous, block_columns);
      previous = index;
      for (int64_t i = 0; i < l.width; ++i) {
        const float v = value_of(p.values, b * size + r % l.height * l.width + i, l.dtype);
        const int64_t column = index * l.width + i;
        if (v == 0.0f) continue;
        TERSOR_CHECK(r < l.rows && column < l.columns,
                     "sparse_matrix: values outside of the matrix must be 0, got ", v, " in block ",
                     b);
        w.column.push_back(static_cast<int32_t>(column));
        w.value.push_back(v);
      }
    }
    if (r < l.rows) w.start.push_back(w.entries());
  }
  return w;
}

int64_t block_count(const SparseRows& w, const SparseLayout& l) {
  int64_t blocks = 0;
  for (int64_t b = 0; b < divide_up(w.rows, l.height); ++b)
    blocks += static_cast<int64_t>(used_blocks(w, l, b).size());
  return blocks;
}

}  // namespace tersor::sparse
