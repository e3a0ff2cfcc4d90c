// What the formats of matrix.h share: numbers in byte strings and the checks of their parts.
#pragma once

#include <cstdint>
#include <vector>

#include "tersor/sparse/matrix.h"
#include "tersor/sparse/sizes.h"

namespace tersor::sparse {

// From this many columns on, indices take 32 bits.
inline constexpr int64_t kMostColumns16 = 65536;

inline size_t at(int64_t i) { return static_cast<size_t>(i); }

// Numbers of 1, 2 or 4 bytes at the end of a byte string, and from it.
void append(std::vector<uint8_t>& to, uint32_t value, size_t bytes);
uint32_t number(const std::vector<uint8_t>& from, int64_t i, size_t bytes);
void append_value(std::vector<uint8_t>& to, float value, DType dtype);
float value_of(const std::vector<uint8_t>& from, int64_t i, DType dtype);
void check_size(const char* part, size_t got, int64_t wanted);
// Entries of one line (row, column or tile row): index i must ascend and stay below `limit`.
void check_index(int64_t entry, int64_t index, int64_t previous, int64_t limit);
// Starts of `lines` lines that hold `entries` entries in all.
void check_starts(const SparseParts& p, int64_t lines, int64_t entries);
// Number of values of `bytes` each; they must be whole.
int64_t value_count(const SparseParts& p, const SparseLayout& l);

// One format each; the layout is checked.
SparseParts encode_csr(const SparseRows& w, const SparseLayout& l);
SparseRows decode_csr(const SparseParts& p, const SparseLayout& l, int64_t rows, int64_t columns);
SparseParts encode_tiled(const SparseRows& w, const SparseLayout& l);
SparseRows decode_tiled(const SparseParts& p, const SparseLayout& l);
SparseParts encode_bitmap(const SparseRows& w, const SparseLayout& l);
SparseRows decode_bitmap(const SparseParts& p, const SparseLayout& l);
SparseParts encode_block(const SparseRows& w, const SparseLayout& l);
SparseRows decode_block(const SparseParts& p, const SparseLayout& l);
int64_t block_count(const SparseRows& w, const SparseLayout& l);  // blocks with an entry
SparseParts encode_nm(const SparseRows& w, const SparseLayout& l);
SparseRows decode_nm(const SparseParts& p, const SparseLayout& l);
bool nm_fits(const SparseRows& w, const SparseLayout& l);
int position_bits(const SparseLayout& l);  // of a position in a group of m

}  // namespace tersor::sparse
