#include "tersor/sparse/formats.h"

#include <algorithm>
#include <bit>

#include "tersor/base/error.h"
#include "tersor/coding/bit_packing.h"

namespace tersor::sparse {

int position_bits(const SparseLayout& l) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(l.m - 1))));
}

SparseParts encode_nm(const SparseRows& w, const SparseLayout& l) {
  SparseParts p;
  const int64_t groups = divide_up(w.columns, l.m);
  std::vector<uint8_t> positions;
  std::vector<float> group(at(l.m));
  for (int64_t r = 0; r < w.rows; ++r) {
    int64_t e = w.start[at(r)];
    for (int64_t g = 0; g < groups; ++g) {
      std::fill(group.begin(), group.end(), 0.0f);
      std::vector<bool> chosen(at(l.m));
      int64_t count = 0;
      for (; e < w.start[at(r) + 1] && w.column[at(e)] < (g + 1) * l.m; ++e, ++count) {
        group[at(w.column[at(e)] - g * l.m)] = w.value[at(e)];
        chosen[at(w.column[at(e)] - g * l.m)] = true;
      }
      TERSOR_CHECK(count <= l.n, "sparse_matrix: groups of ", l.m, " must have at most ", l.n,
                   " entries, got ", count, " in row ", r, ", group ", g);
      for (int64_t i = 0; i < l.m && count < l.n; ++i) {
        if (!chosen[at(i)]) chosen[at(i)] = true, ++count;
      }
      for (int64_t i = 0; i < l.m; ++i) {
        if (!chosen[at(i)]) continue;
        positions.push_back(static_cast<uint8_t>(i));
        append_value(p.values, group[at(i)], l.dtype);
      }
    }
  }
  const int bits = position_bits(l);
  p.indices.resize(coding::packed_size(positions.size(), bits));
  coding::pack_bits(positions.data(), positions.size(), bits, p.indices.data());
  return p;
}

SparseRows decode_nm(const SparseParts& p, const SparseLayout& l) {
  const int64_t groups = divide_up(l.columns, l.m), places = l.rows * groups * l.n;
  const int bits = position_bits(l);
  check_size("values", p.values.size(), places * static_cast<int64_t>(size_of(l.dtype)));
  check_size("indices", p.indices.size(),
             static_cast<int64_t>(coding::packed_size(at(places), bits)));
  check_size("starts", p.starts.size(), 0);
  std::vector<uint8_t> positions(at(places));
  coding::unpack_bits(p.indices.data(), positions.size(), bits, false, positions.data());
  SparseRows w{l.rows, l.columns, {}, {}, {}};
  w.start.assign(1, 0);
  int64_t e = 0;
  for (int64_t r = 0; r < l.rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      int64_t previous = -1;
      for (int64_t i = 0; i < l.n; ++i, ++e) {
        check_index(e, positions[at(e)], previous, l.m);
        previous = positions[at(e)];
        const float v = value_of(p.values, e, l.dtype);
        const int64_t column = g * l.m + previous;
        if (v == 0.0f) continue;
        TERSOR_CHECK(column < l.columns,
                     "sparse_matrix: values outside of the matrix must be 0, got ", v, " at entry ",
                     e);
        w.column.push_back(static_cast<int32_t>(column));
        w.value.push_back(v);
      }
    }
    w.start.push_back(w.entries());
  }
  return w;
}

// True where no group of m columns has more than n entries.
bool nm_fits(const SparseRows& w, const SparseLayout& l) {
  for (int64_t r = 0; r < w.rows; ++r) {
    int64_t group = -1, count = 0;
    for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e) {
      const int64_t now = w.column[at(e)] / l.m;
      count = now == group ? count + 1 : 1;
      group = now;
      if (count > l.n) return false;
    }
  }
  return true;
}

}  // namespace tersor::sparse
