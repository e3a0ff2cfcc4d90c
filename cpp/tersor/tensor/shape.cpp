#include "tersor/tensor/shape.h"

#include <algorithm>

#include "tersor/base/error.h"

namespace tersor {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t d : shape) {
    TERSOR_CHECK(d >= 0, "element_count: dimensions must be known and >= 0, got ",
                 to_string(shape));
    TERSOR_CHECK(!__builtin_mul_overflow(count, d, &count),
                 "element_count: the number of elements must fit 63 bits, got shape ",
                 to_string(shape));
  }
  return count;
}

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += ", ";
    text += shape[i] == kBatch ? "N" : std::to_string(shape[i]);
  }
  return text + "]";
}

Shape broadcast_shapes(const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i + a.size() < rank ? 1 : a[i + a.size() - rank];
    const int64_t db = i + b.size() < rank ? 1 : b[i + b.size() - rank];
    TERSOR_CHECK(da == db || da == 1 || db == 1, "broadcast: shapes must be compatible, got ",
                 to_string(a), " and ", to_string(b));
    out[i] = da == 1 ? db : da;
  }
  return out;
}

Shape with_batch(Shape shape, int64_t batch) {
  if (!shape.empty() && shape[0] == kBatch) shape[0] = batch;
  return shape;
}

int normalize_axis(int64_t axis, size_t rank, const char* what) {
  const auto r = static_cast<int64_t>(rank);
  TERSOR_CHECK(-r <= axis && axis < r, what, ": axis must be in [", -r, ", ", r, "), got ", axis);
  return static_cast<int>(axis < 0 ? axis + r : axis);
}

}  // namespace tersor
