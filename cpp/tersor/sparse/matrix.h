// Sparse matrices in the formats of storage and exchange. Multiplication: matmul.h.
//
// The parts of a format, entries in ascending order of what is named first:
//   csr     values[entries]; indices: column of each, uint16 (uint32 above 65536 columns);
//           starts: uint32[rows + 1]
//   csc     the same by columns
//   tiled   csr inside tiles of 256 columns, tile after tile: values; indices: column in the tile,
//           uint8; starts: entries of each row of each tile, uint16[tiles * rows]
//   bitmap  values; indices: one bit for each element of the matrix by rows, least significant bit
//           of a byte first, unused bits 0; no starts
//   block   values[blocks][height][width], 0 outside of the matrix; indices: block column, uint16
//           (uint32 above 65536); starts: uint32[block rows + 1]
//   nm      values[rows][groups][n]; indices: position in the group, strictly ascending, packed to
//           the bits of m - 1 (bit_packing.h); unused places have value 0; no starts
// Values are float32 or int8. Every byte of storage is in one of the parts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/sparse/rows.h"
#include "tersor/tensor/dtype.h"

namespace tersor::sparse {

enum class SparseFormat : uint8_t { csr = 0, csc = 1, tiled = 2, bitmap = 3, block = 4, nm = 5 };
inline constexpr int kSparseFormats = 6;
TERSOR_API const char* name_of(SparseFormat format);
TERSOR_API SparseFormat sparse_format_named(const std::string& name);  // ValueError

// Columns of a tile of SparseFormat::tiled.
inline constexpr int64_t kTileColumns = 256;

struct SparseLayout {
  SparseFormat format = SparseFormat::csr;
  int64_t rows = 0, columns = 0;  // each below 2^31
  DType dtype = DType::float32;   // or int8
  int64_t height = 1, width = 4;  // block: each in [1, 64]
  int64_t n = 2, m = 4;           // nm: 1 <= n <= m <= 256
};

struct SparseParts {
  std::vector<uint8_t> values, indices, starts;  // little endian
};

// Bytes of one element of indices and starts; 0: bits.
TERSOR_API size_t index_bytes(const SparseLayout& layout);
TERSOR_API size_t start_bytes(const SparseLayout& layout);  // 0: there are none

// ValueError where a layout is out of range, an int8 value is not one, or a group of an nm matrix
// has more than n entries.
TERSOR_API SparseParts encode_sparse(const SparseRows& rows, const SparseLayout& layout);
// ValueError, naming the entry, for parts of a wrong size or indices that are out of range or out
// of order. Zeros inside blocks and nm groups are no entries.
TERSOR_API SparseRows decode_sparse(const SparseParts& parts, const SparseLayout& layout);
// Bytes of encode_sparse without making them; -1 where the format cannot hold the matrix.
TERSOR_API int64_t encoded_bytes(const SparseRows& rows, const SparseLayout& layout);
// The format of fewest bytes; the first in the order of the enumeration on a tie.
TERSOR_API SparseFormat smallest_format(const SparseRows& rows, const SparseLayout& layout);

}  // namespace tersor::sparse
