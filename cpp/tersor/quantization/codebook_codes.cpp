#include "tersor/quantization/codebook_codes.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/affine_runs.h"

namespace tersor::quantization {
namespace {

constexpr size_t kMostValues = 256;

size_t rows_of(const Shape& shape) { return shape.empty() ? 1 : static_cast<size_t>(shape[0]); }

// Calls one(first element, number of elements, table, scale) for runs that share both, on the pool.
template <class One>
void for_each_part(const Shape& shape, const QParams& q, const One& one) {
  const AffineShape layout = q.layout(shape);
  const size_t rows = rows_of(shape), per_table = rows_of_table(shape, q);
  const size_t length = rows ? layout.size() / rows : 0;
  if (length == 0) return;
  parallel_for(rows, std::max<size_t>(1, kAffineGrain / length), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float* table = q.codebook.data() + r / per_table * q.codebook_size();
      for (size_t at = r * length; at < (r + 1) * length;) {
        const Run run = steps(layout) ? Run{layout.scale_of(at), 1} : run_from(layout, at);
        const size_t n = std::min(run.length, (r + 1) * length - at);
        one(at, n, table, q.scale[run.s]);
        at += n;
      }
    }
  });
}

uint8_t nearest(const float* table, size_t k, float x) {
  const float* above = std::lower_bound(table, table + k, x);
  if (above == table) return 0;
  const float* below = std::lower_bound(table, above, *(above - 1));  // the first of equal values
  if (above == table + k) return static_cast<uint8_t>(below - table);
  return static_cast<uint8_t>((x - *below <= *above - x ? below : above) - table);
}

}  // namespace

size_t rows_of_table(const Shape& shape, const QParams& q) {
  const auto tables = static_cast<size_t>(q.codebook_tables);
  return std::max<size_t>(1, (rows_of(shape) + tables - 1) / tables);
}

void check_codebook(const char* op, const Shape& shape, const QParams& q) {
  const size_t rows = rows_of(shape), count = q.codebook.size();
  TERSOR_CHECK(q.codebook_tables >= 1 && static_cast<size_t>(q.codebook_tables) <= rows &&
                   (static_cast<size_t>(q.codebook_tables) - 1) * rows_of_table(shape, q) < rows,
               op, ": codebook must have tables for equal parts of ", rows, " rows, got ",
               q.codebook_tables);
  const auto tables = static_cast<size_t>(q.codebook_tables);
  TERSOR_CHECK(count % tables == 0 && count / tables <= kMostValues, op,
               ": codebook must have 1 to 256 values for each of ", tables, " tables, got ", count);
  TERSOR_CHECK(!q.is_signed && q.bits == codebook_bits(count / tables), op, ": codes of ",
               count / tables, " values must be unsigned, of ", codebook_bits(count / tables),
               " bits, got ", q.is_signed ? "signed ones of " : "", q.bits);
  TERSOR_CHECK(!q.has_float_zero() && std::all_of(q.zero_point.begin(), q.zero_point.end(),
                                                  [](int32_t z) { return z == 0; }),
               op, ": zero_point must be 0 beside a codebook, got another");
  for (size_t i = 0; i < count; ++i) {
    TERSOR_CHECK(std::isfinite(q.codebook[i]), op, ": codebook must be finite, got ",
                 q.codebook[i]);
    TERSOR_CHECK(i % (count / tables) == 0 || q.codebook[i - 1] <= q.codebook[i], op,
                 ": codebook must ascend, got ", q.codebook[i], " after ", q.codebook[i - (i > 0)]);
  }
}

void quantize_codebook(const float* x, const Shape& shape, const QParams& q, uint8_t* codes) {
  const size_t k = q.codebook_size();
  for_each_part(shape, q, [&](size_t at, size_t n, const float* table, float scale) {
    for (size_t i = at; i < at + n; ++i) {
      const float v = x[i] / scale;
      codes[i] = nearest(table, k, std::isnan(v) ? 0.0f : v);
    }
  });
}

void dequantize_codebook(const uint8_t* codes, const Shape& shape, const QParams& q, float* y) {
  const size_t most = q.codebook_size() - 1;
  for_each_part(shape, q, [&](size_t at, size_t n, const float* table, float scale) {
    for (size_t i = at; i < at + n; ++i) y[i] = scale * table[std::min<size_t>(codes[i], most)];
  });
}

}  // namespace tersor::quantization
