#include "tersor/sparse/formats.h"

#include <bit>
#include <cmath>

#include "tersor/base/error.h"

namespace tersor::sparse {

void append(std::vector<uint8_t>& to, uint32_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

uint32_t number(const std::vector<uint8_t>& from, int64_t i, size_t bytes) {
  uint32_t value = 0;
  for (size_t b = 0; b < bytes; ++b)
    value |= static_cast<uint32_t>(from[at(i) * bytes + b]) << (8 * b);
  return value;
}

void append_value(std::vector<uint8_t>& to, float value, DType dtype) {
  if (dtype == DType::int8) {
    TERSOR_CHECK(value >= -128 && value <= 127 && value == std::nearbyint(value),
                 "sparse_matrix: values must be int8, got ", value);
    to.push_back(static_cast<uint8_t>(static_cast<int8_t>(value)));
    return;
  }
  append(to, std::bit_cast<uint32_t>(value), 4);
}

float value_of(const std::vector<uint8_t>& from, int64_t i, DType dtype) {
  if (dtype == DType::int8) return static_cast<float>(static_cast<int8_t>(from[at(i)]));
  return std::bit_cast<float>(number(from, i, 4));
}

void check_size(const char* part, size_t got, int64_t wanted) {
  TERSOR_CHECK(static_cast<int64_t>(got) == wanted, "sparse_matrix: ", part, " must have ", wanted,
               " bytes, got ", got);
}

void check_index(int64_t entry, int64_t index, int64_t previous, int64_t limit) {
  TERSOR_CHECK(index < limit, "sparse_matrix: indices must be below ", limit, ", got ", index,
               " at entry ", entry);
  TERSOR_CHECK(index > previous, "sparse_matrix: indices must ascend, got ", index, " after ",
               previous, " at entry ", entry);
}

void check_starts(const SparseParts& p, int64_t lines, int64_t entries) {
  check_size("starts", p.starts.size(), (lines + 1) * 4);
  int64_t last = 0;
  for (int64_t i = 0; i <= lines; ++i) {
    const int64_t start = number(p.starts, i, 4);
    TERSOR_CHECK(start >= last && (i > 0 || start == 0), "sparse_matrix: starts must ascend from 0",
                 ", got ", start, " after ", last, " at ", i);
    last = start;
  }
  TERSOR_CHECK(last == entries, "sparse_matrix: starts must end with ", entries, ", got ", last);
}

int64_t value_count(const SparseParts& p, const SparseLayout& l) {
  const size_t bytes = size_of(l.dtype);
  TERSOR_CHECK(p.values.size() % bytes == 0, "sparse_matrix: values must be whole, got ",
               p.values.size(), " bytes");
  return static_cast<int64_t>(p.values.size() / bytes);
}

}  // namespace tersor::sparse
