#include "tersor/sparse/formats.h"

#include <algorithm>

#include "tersor/base/error.h"

namespace tersor::sparse {

SparseParts encode_tiled(const SparseRows& w, const SparseLayout& l) {
  SparseParts p;
  std::vector<int64_t> next(w.start.begin(), w.start.end() - 1);
  for (int64_t first = 0; first < w.columns; first += kTileColumns) {
    for (int64_t r = 0; r < w.rows; ++r) {
      const int64_t begin = next[at(r)];
      int64_t& e = next[at(r)];
      for (; e < w.start[at(r) + 1] && w.column[at(e)] < first + kTileColumns; ++e) {
        p.indices.push_back(static_cast<uint8_t>(w.column[at(e)] - first));
        append_value(p.values, w.value[at(e)], l.dtype);
      }
      append(p.starts, static_cast<uint32_t>(e - begin), 2);
    }
  }
  return p;
}

SparseRows decode_tiled(const SparseParts& p, const SparseLayout& l) {
  const int64_t entries = value_count(p, l), tiles = divide_up(l.columns, kTileColumns);
  check_size("indices", p.indices.size(), entries);
  check_size("starts", p.starts.size(), tiles * l.rows * 2);
  SparseRows w{l.rows, l.columns, {}, {}, {}};
  w.start.assign(at(l.rows) + 1, 0);
  int64_t total = 0;
  for (int64_t i = 0; i < tiles * l.rows; ++i) {
    const int64_t count = number(p.starts, i, 2);
    w.start[at(i % l.rows) + 1] += count;
    total += count;
  }
  TERSOR_CHECK(total == entries, "sparse_matrix: starts must add up to ", entries, ", got ", total);
  for (int64_t r = 0; r < l.rows; ++r) w.start[at(r) + 1] += w.start[at(r)];
  w.column.resize(at(entries));
  w.value.resize(at(entries));
  std::vector<int64_t> next(w.start.begin(), w.start.end() - 1);
  int64_t e = 0;
  for (int64_t i = 0; i < tiles * l.rows; ++i) {
    const int64_t first = i / l.rows * kTileColumns, end = e + number(p.starts, i, 2);
    const int64_t limit = std::min(kTileColumns, l.columns - first);
    for (int64_t previous = -1; e < end; ++e) {
      const int64_t index = p.indices[at(e)], to = next[at(i % l.rows)]++;
      check_index(e, index, previous, limit);
      previous = index;
      w.column[at(to)] = static_cast<int32_t>(first + index);
      w.value[at(to)] = value_of(p.values, e, l.dtype);
    }
  }
  return w;
}

}  // namespace tersor::sparse
