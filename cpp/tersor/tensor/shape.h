// Dimensions of a tensor. kBatch stands for the leading batch dimension that a graph leaves open.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"

namespace tersor {

using Shape = std::vector<int64_t>;

inline constexpr int64_t kBatch = -1;

// Product of the dimensions (1 for a scalar). ValueError on a negative one or on 64-bit overflow.
TERSOR_API int64_t element_count(const Shape& shape);
TERSOR_API Shape row_major_strides(const Shape& shape);  // in elements
TERSOR_API std::string to_string(const Shape& shape);    // "[N, 3, 32, 32]"
// NumPy broadcasting of two shapes (kBatch equals only itself and 1); ValueError when impossible.
TERSOR_API Shape broadcast_shapes(const Shape& a, const Shape& b);
TERSOR_API Shape with_batch(Shape shape, int64_t batch);  // a leading kBatch becomes `batch`
// Axis in [-rank, rank) to [0, rank); `what` names the operation in the error.
TERSOR_API int normalize_axis(int64_t axis, size_t rank, const char* what);

}  // namespace tersor
