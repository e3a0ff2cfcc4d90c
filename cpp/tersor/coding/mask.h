// Which elements of a tensor are kept, in the fewest bits of several forms.
//
// A tensor of [outer][axis][inner] elements is cut into units of `width` consecutive indices of the
// axis (the last unit of an axis may be short): unit (o * units of the axis + b) * inner + i. A
// unit is kept where one of its elements is. In ascending order of kept units, with g units left
// out before each (bits from the least significant one of a byte on, unused bits 0):
//   bitmap            one bit for each unit
//   relative (b)      b bits: g where g < 2^b - 1; before that, once for every 2^b - 1 left out,
//                     2^b - 1
//   rice (k)          g >> k ones, a zero, the k low bits of g
//   positions (n)     every group of m = 4, 8 or 16 units (parameter n + 32 * log2 m) has exactly
//   n:
//                     log2 m bits each
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::coding {

enum class MaskMethod : uint8_t { bitmap = 0, relative = 1, rice = 2, positions = 3 };

struct MaskForm {
  MaskMethod method = MaskMethod::bitmap;
  uint8_t parameter = 0;
};

// The cut into units; outer * axis * inner elements.
struct MaskUnits {
  int64_t outer = 1, axis = 0, inner = 1, width = 1;
  int64_t per_axis() const { return (axis + width - 1) / width; }
  int64_t count() const { return outer * per_axis() * inner; }
};

// Kept units, ascending, of keep[elements].
TERSOR_API std::vector<int64_t> kept_units(const std::vector<bool>& keep, const MaskUnits& units);
// Bits of a form, or -1 where it cannot hold the mask.
TERSOR_API int64_t mask_bits(const std::vector<int64_t>& kept, int64_t units, MaskForm form);
// The form of fewest bits; the first in the order of the enumeration and its parameter on a tie.
TERSOR_API MaskForm smallest_mask(const std::vector<int64_t>& kept, int64_t units);
TERSOR_API std::vector<uint8_t> encode_mask(const std::vector<int64_t>& kept, int64_t units,
                                            MaskForm form);
// `count` kept units of a mask that fills `size` bytes exactly. ArtifactError where the bytes end
// early or late, a unit lies beyond the last, or the form does not exist. Time and memory are
// bounded by size and count.
TERSOR_API std::vector<int64_t> decode_mask(const uint8_t* bytes, size_t size, int64_t count,
                                            int64_t units, MaskForm form);

}  // namespace tersor::coding
