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

namespace {

struct Span {
  const char* first;
  const char* last;  // one past the end
};

Span span_of(const TensorView& view) {
  const auto item = static_cast<int64_t>(size_of(view.dtype));
  int64_t low = 0, high = 0;
  for (size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return {nullptr, nullptr};
    const int64_t reach = (view.shape[i] - 1) * view.strides[i] * item;
    (reach < 0 ? low : high) += reach;
  }
  const auto* data = static_cast<const char*>(view.data);
  return {data + low, data + high + item};
}

bool overlap(const TensorView& a, const TensorView& b) {
  const Span p = span_of(a), q = span_of(b);
  return p.first < q.last && q.first < p.last;
}

}  // namespace

void check_apart(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    for (const TensorView& input : inputs) {
      TERSOR_CHECK(!overlap(outputs[i], input),
                   "session: out must not share memory with an input, got an output that does");
    }
    for (size_t j = 0; j < i; ++j) {
      TERSOR_CHECK(!overlap(outputs[i], outputs[j]),
                   "session: outs must not share memory with each other, got two that do");
    }
  }
}

}  // namespace tersor::runtime
