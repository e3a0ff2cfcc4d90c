#include "tersor/quantization/quantize_packed.h"

#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/quantization/affine_runs.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/qparams_check.h"

namespace tersor::quantization {
namespace {

using std::size_t;

// Codes of a part stay in L1; eight codes are whole bytes at any width.
constexpr size_t kPart = 4096;
constexpr size_t kGrain = 1 << 16;

// Calls part(first element, number of elements, their bytes) on the pool.
template <class Byte, class Part>
void for_each_part(size_t n, int bits, Byte* packed, const Part& part) {
  const size_t parts = (n + kPart - 1) / kPart;
  parallel_for(parts, kGrain / kPart, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      const size_t first = p * kPart;
      part(first, std::min(kPart, n - first), packed + coding::packed_size(first, bits));
    }
  });
}

// Calls one(begin, n, s) and each(begin, n, s) for the runs of elements [begin, end).
template <class One, class Each>
void for_each_run_between(const AffineShape& layout, size_t begin, size_t end, const One& one,
                          const Each& each) {
  const bool stepping = steps(layout);
  while (begin < end) {
    const Run run = run_from(layout, begin);
    const size_t n = std::min(run.length, end - begin);
    if (stepping) {
      each(begin, n, run.s);
    } else {
      one(begin, n, run.s);
    }
    begin += n;
  }
}

template <class Zero, class One, class Each>
void pack(const float* x, const AffineShape& layout, const QParams& q, const Zero* zero, One one,
          Each each, std::uint8_t* packed) {
  const std::int32_t lo = q.code_min(), hi = q.code_max();
  for_each_part(layout.size(), q.bits, packed, [&](size_t first, size_t n, std::uint8_t* to) {
    std::int8_t codes[kPart];
    for_each_run_between(
        layout, first, first + n,
        [&](size_t at, size_t count, size_t s) {
          one(x + at, codes + (at - first), count, q.scale[s], zero[s], lo, hi);
        },
        [&](size_t at, size_t count, size_t s) {
          each(x + at, codes + (at - first), 1, count, &q.scale[s], zero + s, lo, hi);
        });
    coding::pack_bits(reinterpret_cast<const std::uint8_t*>(codes), n, q.bits, to);
  });
}

template <class Zero, class One, class Each>
void unpack(const std::uint8_t* packed, const AffineShape& layout, const QParams& q,
            const Zero* zero, One one, Each each, float* y) {
  const std::uint8_t flip = q.is_signed ? 0 : 128;
  for_each_part(
      layout.size(), q.bits, packed, [&](size_t first, size_t n, const std::uint8_t* from) {
        std::int8_t codes[kPart];
        coding::unpack_bits(from, n, q.bits, q.is_signed, reinterpret_cast<std::uint8_t*>(codes));
        for_each_run_between(
            layout, first, first + n,
            [&](size_t at, size_t count, size_t s) {
              one(codes + (at - first), y + at, count, q.scale[s], zero[s], flip);
            },
            [&](size_t at, size_t count, size_t s) {
              each(codes + (at - first), y + at, 1, count, &q.scale[s], zero + s, flip);
            });
      });
}

}  // namespace

void quantize_packed(const float* x, const Shape& shape, const QParams& q, std::uint8_t* packed) {
  const AffineShape layout = checked_layout("quantize_packed", shape, q);
  if (q.has_float_zero()) {
    pack(x, layout, q, q.zero_point_float.data(), quantize_float_zero_table.pick(),
         quantize_float_zero_columns_table.pick(), packed);
  } else {
    pack(x, layout, q, q.zero_point.data(), quantize_affine_table.pick(),
         quantize_affine_columns_table.pick(), packed);
  }
}

void dequantize_packed(const std::uint8_t* packed, const Shape& shape, const QParams& q, float* y) {
  const AffineShape layout = checked_layout("dequantize_packed", shape, q);
  if (q.has_float_zero()) {
    unpack(packed, layout, q, q.zero_point_float.data(), dequantize_float_zero_table.pick(),
           dequantize_float_zero_columns_table.pick(), y);
  } else {
    unpack(packed, layout, q, q.zero_point.data(), dequantize_affine_table.pick(),
           dequantize_affine_columns_table.pick(), y);
  }
}

}  // namespace tersor::quantization
