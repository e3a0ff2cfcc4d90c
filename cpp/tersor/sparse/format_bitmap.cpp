#include "tersor/sparse/formats.h"

#include <bit>

#include "tersor/base/error.h"

namespace tersor::sparse {

SparseParts encode_bitmap(const SparseRows& w, const SparseLayout& l) {
  SparseParts p;
  p.indices.assign(at(divide_up(w.rows * w.columns, 8)), 0);
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e) {
      const int64_t bit = r * w.columns + w.column[at(e)];
      p.indices[at(bit / 8)] |= static_cast<uint8_t>(1u << (bit % 8));
    }
  }
  for (const float v : w.value) append_value(p.values, v, l.dtype);
  return p;
}

SparseRows decode_bitmap(const SparseParts& p, const SparseLayout& l) {
  const int64_t entries = value_count(p, l), elements = l.rows * l.columns;
  check_size("indices", p.indices.size(), divide_up(elements, 8));
  check_size("starts", p.starts.size(), 0);
  int64_t bits = 0;
  for (const uint8_t byte : p.indices) bits += std::popcount(byte);
  TERSOR_CHECK(bits == entries, "sparse_matrix: indices must have ", entries, " bits, got ", bits);
  TERSOR_CHECK(elements % 8 == 0 || p.indices.back() >> (elements % 8) == 0,
               "sparse_matrix: indices must have no bit beyond the matrix, got ",
               static_cast<int>(p.indices.back()), " in the last byte");
  SparseRows w{l.rows, l.columns, {}, {}, {}};
  w.start.assign(1, 0);
  int64_t e = 0;
  for (int64_t r = 0; r < l.rows; ++r) {
    for (int64_t c = 0; c < l.columns; ++c) {
      const int64_t bit = r * l.columns + c;
      if (!(p.indices[at(bit / 8)] >> (bit % 8) & 1)) continue;
      w.column.push_back(static_cast<int32_t>(c));
      w.value.push_back(value_of(p.values, e++, l.dtype));
    }
    w.start.push_back(e);
  }
  return w;
}

}  // namespace tersor::sparse
