#include "tersor/runtime/input_check.h"

#include <algorithm>

#include "tersor/base/error.h"

namespace tersor::runtime {
namespace {

// Index of the first value with all exponent bits set, or n.
template <class Word>
int64_t first_not_finite(const Word* bits, int64_t n, Word exponent) {
  constexpr int64_t kBlock = 4096;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = std::min(n, start + kBlock);
    Word any = 0;
    for (int64_t i = start; i < end; ++i) {
      any |= static_cast<Word>((bits[i] & exponent) == exponent);
    }
    if (!any) continue;
    for (int64_t i = start; i < end; ++i) {
      if ((bits[i] & exponent) == exponent) return i;
    }
  }
  return n;
}

int64_t first_not_finite(DType dtype, const void* data, int64_t n) {
  switch (dtype) {
    case DType::float32:
      return first_not_finite<uint32_t>(static_cast<const uint32_t*>(data), n, 0x7f800000u);
    case DType::float64:
      return first_not_finite<uint64_t>(static_cast<const uint64_t*>(data), n, 0x7ff0000000000000u);
    case DType::float16:
      return first_not_finite<uint16_t>(static_cast<const uint16_t*>(data), n, 0x7c00);
    case DType::bfloat16:
      return first_not_finite<uint16_t>(static_cast<const uint16_t*>(data), n, 0x7f80);
    default:
      return n;
  }
}

bool fits(const Shape& wanted, const Shape& got) {
  if (wanted.size() != got.size()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] != got[i] && !(i == 0 && wanted[i] == kBatch && got[i] >= 0)) return false;
  }
  return true;
}

}  // namespace

void check_tensor(const graph::Edge& edge, const TensorView& view, const char* what) {
  TERSOR_CHECK_TYPE(view.dtype == edge.dtype, "session: ", what, " '", edge.name, "' must be ",
                    name_of(edge.dtype), " of shape ", to_string(edge.shape), ", got ",
                    name_of(view.dtype));
  TERSOR_CHECK(fits(edge.shape, view.shape), "session: ", what, " '", edge.name,
               "' must have shape ", to_string(edge.shape), ", got ", to_string(view.shape));
}

void check_finite(const graph::Edge& edge, const TensorView& view) {
  if (!is_float(view.dtype)) return;
  const int64_t size = element_count(view.shape);
  const Tensor copy = view.is_contiguous() ? Tensor() : Tensor::copy_of(view);
  int64_t at = first_not_finite(view.dtype, copy ? copy.data() : view.data, size);
  if (at == size) return;
  Shape index(view.shape.size());
  for (size_t i = index.size(); i-- > 0;) {
    index[i] = at % view.shape[i];
    at /= view.shape[i];
  }
  throw ValueError(message("session: input '", edge.name,
                           "' must be finite, got NaN or infinity at index ", to_string(index)));
}

}  // namespace tersor::runtime
