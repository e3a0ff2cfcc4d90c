#include "tersor/sparse/formats.h"

#include "tersor/base/error.h"

namespace tersor::sparse {

SparseParts encode_csr(const SparseRows& w, const SparseLayout& l) {
  SparseParts p;
  for (const int64_t start : w.start) append(p.starts, static_cast<uint32_t>(start), 4);
  for (const int32_t c : w.column)
    append(p.indices, static_cast<uint32_t>(c), w.columns > kMostColumns16 ? 4 : 2);
  for (const float v : w.value) append_value(p.values, v, l.dtype);
  return p;
}

SparseRows decode_csr(const SparseParts& p, const SparseLayout& l, int64_t rows, int64_t columns) {
  const int64_t entries = value_count(p, l);
  const size_t bytes = columns > kMostColumns16 ? 4 : 2;
  check_size("indices", p.indices.size(), entries * static_cast<int64_t>(bytes));
  check_starts(p, rows, entries);
  SparseRows w{rows, columns, {}, {}, {}};
  for (int64_t r = 0; r <= rows; ++r) w.start.push_back(number(p.starts, r, 4));
  for (int64_t r = 0; r < rows; ++r) {
    int64_t previous = -1;
    for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e) {
      const int64_t index = number(p.indices, e, bytes);
      check_index(e, index, previous, columns);
      previous = index;
      w.column.push_back(static_cast<int32_t>(index));
      w.value.push_back(value_of(p.values, e, l.dtype));
    }
  }
  return w;
}

}  // namespace tersor::sparse
