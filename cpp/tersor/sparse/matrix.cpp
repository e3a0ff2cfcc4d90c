#include "tersor/sparse/matrix.h"

#include "tersor/base/error.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/sparse/formats.h"

namespace tersor::sparse {
namespace {

constexpr const char* kNames[kSparseFormats] = {"csr", "csc", "tiled", "bitmap", "block", "nm"};
void check_layout(const SparseLayout& l) {
  const auto in_range = [](const char* name, int64_t value, int64_t least, int64_t most) {
    TERSOR_CHECK(least <= value && value <= most, "sparse_matrix: ", name, " must be in [", least,
                 ", ", most, "], got ", value);
  };
  in_range("rows", l.rows, 0, INT32_MAX);
  in_range("columns", l.columns, 0, INT32_MAX);
  in_range("block height", l.height, 1, 64);
  in_range("block width", l.width, 1, 64);
  in_range("m", l.m, 1, 256);
  in_range("n", l.n, 1, l.m);
  TERSOR_CHECK(l.dtype == DType::float32 || l.dtype == DType::int8,
               "sparse_matrix: dtype must be float32 or int8, got ", name_of(l.dtype));
}

SparseRows transposed(const SparseRows& w) {
  SparseRows t{w.columns, w.rows, {}, {}, {}};
  t.start.assign(at(t.rows) + 1, 0);
  for (const int32_t c : w.column) ++t.start[at(c) + 1];
  for (int64_t r = 0; r < t.rows; ++r) t.start[at(r) + 1] += t.start[at(r)];
  t.column.resize(w.column.size());
  t.value.resize(w.value.size());
  std::vector<int64_t> next(t.start.begin(), t.start.end() - 1);
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t e = w.start[at(r)]; e < w.start[at(r) + 1]; ++e) {
      const int64_t to = next[at(w.column[at(e)])]++;
      t.column[at(to)] = static_cast<int32_t>(r);
      t.value[at(to)] = w.value[at(e)];
    }
  }
  return t;
}

}  // namespace

const char* name_of(SparseFormat format) { return kNames[static_cast<int>(format)]; }

SparseFormat sparse_format_named(const std::string& name) {
  for (int i = 0; i < kSparseFormats; ++i) {
    if (name == kNames[i]) return static_cast<SparseFormat>(i);
  }
  throw ValueError(message(
      "sparse_matrix: format must be auto, csr, csc, tiled, bitmap, block or nm, got ", name));
}

size_t index_bytes(const SparseLayout& l) {
  switch (l.format) {
    case SparseFormat::csr:
      return l.columns > kMostColumns16 ? 4 : 2;
    case SparseFormat::csc:
      return l.rows > kMostColumns16 ? 4 : 2;
    case SparseFormat::block:
      return divide_up(l.columns, l.width) > kMostColumns16 ? 4 : 2;
    case SparseFormat::tiled:
      return 1;
    default:
      return 0;
  }
}

size_t start_bytes(const SparseLayout& l) {
  if (l.format == SparseFormat::tiled) return 2;
  return l.format == SparseFormat::bitmap || l.format == SparseFormat::nm ? 0 : 4;
}

SparseParts encode_sparse(const SparseRows& rows, const SparseLayout& layout) {
  check_layout(layout);
  TERSOR_CHECK(rows.rows == layout.rows && rows.columns == layout.columns,
               "sparse_matrix: layout must have the shape of the matrix, got ", layout.rows, " x ",
               layout.columns);
  TERSOR_CHECK(rows.entries() <= UINT32_MAX, "sparse_matrix: entries must be below 2^32, got ",
               rows.entries());
  switch (layout.format) {
    case SparseFormat::csr:
      return encode_csr(rows, layout);
    case SparseFormat::csc:
      return encode_csr(transposed(rows), layout);
    case SparseFormat::tiled:
      return encode_tiled(rows, layout);
    case SparseFormat::bitmap:
      return encode_bitmap(rows, layout);
    case SparseFormat::block:
      return encode_block(rows, layout);
    default:
      return encode_nm(rows, layout);
  }
}

SparseRows decode_sparse(const SparseParts& parts, const SparseLayout& layout) {
  check_layout(layout);
  switch (layout.format) {
    case SparseFormat::csr:
      return decode_csr(parts, layout, layout.rows, layout.columns);
    case SparseFormat::csc:
      return transposed(decode_csr(parts, layout, layout.columns, layout.rows));
    case SparseFormat::tiled:
      return decode_tiled(parts, layout);
    case SparseFormat::bitmap:
      return decode_bitmap(parts, layout);
    case SparseFormat::block:
      return decode_block(parts, layout);
    default:
      return decode_nm(parts, layout);
  }
}

int64_t encoded_bytes(const SparseRows& w, const SparseLayout& l) {
  check_layout(l);
  const int64_t item = static_cast<int64_t>(size_of(l.dtype)), entries = w.entries();
  const auto index = static_cast<int64_t>(index_bytes(l));
  switch (l.format) {
    case SparseFormat::csr:
      return entries * (item + index) + 4 * (w.rows + 1);
    case SparseFormat::csc:
      return entries * (item + index) + 4 * (w.columns + 1);
    case SparseFormat::tiled:
      return entries * (item + index) + 2 * w.rows * divide_up(w.columns, kTileColumns);
    case SparseFormat::bitmap:
      return entries * item + divide_up(w.rows * w.columns, 8);
    case SparseFormat::block: {
      const int64_t block_rows = divide_up(w.rows, l.height);
      return block_count(w, l) * (l.height * l.width * item + index) + 4 * (block_rows + 1);
    }
    default: {
      if (!nm_fits(w, l)) return -1;
      const int64_t places = w.rows * divide_up(w.columns, l.m) * l.n;
      return places * item +
             static_cast<int64_t>(coding::packed_size(at(places), position_bits(l)));
    }
  }
}

SparseFormat smallest_format(const SparseRows& rows, const SparseLayout& layout) {
  SparseLayout tried = layout;
  SparseFormat best = SparseFormat::csr;
  int64_t least = -1;
  for (int i = 0; i < kSparseFormats; ++i) {
    tried.format = static_cast<SparseFormat>(i);
    const int64_t bytes = encoded_bytes(rows, tried);
    if (bytes >= 0 && (least < 0 || bytes < least)) {
      least = bytes;
      best = tried.format;
    }
  }
  return best;
}

}  // namespace tersor::sparse
