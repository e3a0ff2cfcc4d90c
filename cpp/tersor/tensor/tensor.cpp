#include "tersor/tensor/tensor.h"

#include <algorithm>
#include <limits>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/tensor/half.h"

namespace tersor {
namespace {

double load(const void* p, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::float32:
      return static_cast<const float*>(p)[i];
    case DType::float16:
      return half_to_float(static_cast<const uint16_t*>(p)[i]);
    case DType::bfloat16:
      return bfloat_to_float(static_cast<const uint16_t*>(p)[i]);
    case DType::int8:
      return static_cast<const int8_t*>(p)[i];
    case DType::uint8:
      return static_cast<const uint8_t*>(p)[i];
    case DType::int16:
      return static_cast<const int16_t*>(p)[i];
    case DType::int32:
      return static_cast<const int32_t*>(p)[i];
    case DType::int64:
      return static_cast<double>(static_cast<const int64_t*>(p)[i]);
    case DType::boolean:
      return static_cast<const uint8_t*>(p)[i] != 0;
    case DType::float64:
      return static_cast<const double*>(p)[i];
  }
  return 0;
}

// Casting a float outside the integer's range is undefined behaviour, so it is clamped; NaN becomes
// 0.
template <class T>
T saturate(double v) {
  if (v != v) return 0;
  const auto lo = static_cast<double>(std::numeric_limits<T>::min());
  const auto hi = static_cast<double>(std::numeric_limits<T>::max());
  if (v <= lo) return std::numeric_limits<T>::min();
  if (v >= hi) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}

void store(void* p, DType dtype, int64_t i, double v) {
  switch (dtype) {
    case DType::float32:
      static_cast<float*>(p)[i] = static_cast<float>(v);
      break;
    case DType::float16:
      static_cast<uint16_t*>(p)[i] = float_to_half(static_cast<float>(v));
      break;
    case DType::bfloat16:
      static_cast<uint16_t*>(p)[i] = float_to_bfloat(static_cast<float>(v));
      break;
    case DType::int8:
      static_cast<int8_t*>(p)[i] = saturate<int8_t>(v);
      break;
    case DType::uint8:
      static_cast<uint8_t*>(p)[i] = saturate<uint8_t>(v);
      break;
    case DType::int16:
      static_cast<int16_t*>(p)[i] = saturate<int16_t>(v);
      break;
    case DType::int32:
      static_cast<int32_t*>(p)[i] = saturate<int32_t>(v);
      break;
    case DType::int64:
      static_cast<int64_t*>(p)[i] = saturate<int64_t>(v);
      break;
    case DType::boolean:
      static_cast<uint8_t*>(p)[i] = v != 0;
      break;
    case DType::float64:
      static_cast<double*>(p)[i] = v;
      break;
  }
}

}  // namespace

bool TensorView::is_contiguous() const {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) {  // any strides do for an empty tensor
      return std::find(shape.begin(), shape.end(), 0) != shape.end();
    }
    expected *= shape[i];
  }
  return true;
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)) {
  const size_t bytes = std::max<size_t>(size_bytes(), 1);
  buffer_ = std::shared_ptr<void>(allocate(bytes), [bytes](void* p) { deallocate(p, bytes); });
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t(dtype, std::move(shape));
  std::memset(t.data(), 0, t.size_bytes());
  return t;
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor t(view.dtype, view.shape);
  copy_strided(view, t.view());
  return t;
}

TensorView Tensor::view() const {
  return {buffer_.get(), dtype_, shape_, row_major_strides(shape_)};
}

Tensor Tensor::clone() const { return copy_of(view()); }

Tensor Tensor::reshaped(Shape shape) const {
  TERSOR_CHECK(element_count(shape) == size_, "reshape: shape must hold ", size_, " elements, got ",
               to_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::transposed(const Shape& permutation) const {
  TERSOR_CHECK(permutation.size() == shape_.size(), "transpose: permutation must have ",
               shape_.size(), " entries, got ", permutation.size());
  TensorView source = view();
  TensorView permuted = source;
  for (size_t i = 0; i < permutation.size(); ++i) {
    const int axis = normalize_axis(permutation[i], shape_.size(), "transpose");
    permuted.shape[i] = source.shape[axis];
    permuted.strides[i] = source.strides[axis];
  }
  return copy_of(permuted);
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return clone();
  Tensor t(dtype, shape_);
  if (dtype_ == DType::int64 && dtype == DType::int32) {
    for (int64_t i = 0; i < size_; ++i) {
      t.as<int32_t>()[i] = static_cast<int32_t>(
          std::clamp<int64_t>(as<int64_t>()[i], std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()));
    }
    return t;
  }
  for (int64_t i = 0; i < size_; ++i) store(t.data(), dtype, i, load(data(), dtype_, i));
  return t;
}

bool Tensor::equals(const Tensor& other) const {
  return dtype_ == other.dtype_ && shape_ == other.shape_ &&
         (size_bytes() == 0 || std::memcmp(data(), other.data(), size_bytes()) == 0);
}

void copy_strided(const TensorView& src, const TensorView& dst) {
  const size_t bytes = size_of(src.dtype);
  const size_t rank = src.shape.size();
  const int64_t count = element_count(src.shape);
  if (count == 0) return;
  const auto* from = static_cast<const char*>(src.data);
  auto* to = static_cast<char*>(dst.data);
  if (src.is_contiguous() && dst.is_contiguous()) {
    std::memcpy(to, from, static_cast<size_t>(count) * bytes);
    return;
  }
  const int64_t inner = rank ? src.shape[rank - 1] : 1;
  const int64_t step_from = (rank ? src.strides[rank - 1] : 1) * static_cast<int64_t>(bytes);
  const int64_t step_to = (rank ? dst.strides[rank - 1] : 1) * static_cast<int64_t>(bytes);
  const bool dense = step_from == static_cast<int64_t>(bytes) && step_to == step_from;
  Shape index(rank, 0);
  for (int64_t row = 0; row < count / inner; ++row) {
    int64_t a = 0, b = 0;
    for (size_t i = 0; i + 1 < rank; ++i) {
      a += index[i] * src.strides[i];
      b += index[i] * dst.strides[i];
    }
    const char* pa = from + a * static_cast<int64_t>(bytes);
    char* pb = to + b * static_cast<int64_t>(bytes);
    if (dense) {
      std::memcpy(pb, pa, static_cast<size_t>(inner) * bytes);
    } else {
      for (int64_t i = 0; i < inner; ++i) std::memcpy(pb + i * step_to, pa + i * step_from, bytes);
    }
    for (size_t i = rank - (rank > 0); i-- > 0;) {
      if (++index[i] < src.shape[i]) break;
      index[i] = 0;
    }
  }
}

}  // namespace tersor
