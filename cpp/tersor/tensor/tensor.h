// Owning and viewing tensors.
//
// Tensor owns (shares) a contiguous, row-major, 64-byte aligned buffer. TensorView borrows memory
// with any strides; whoever makes it keeps the memory alive.
#pragma once

#include <cstring>
#include <memory>

#include "tersor/base/export.h"
#include "tersor/tensor/dtype.h"
#include "tersor/tensor/shape.h"

namespace tersor {

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::float32;
  Shape shape;
  Shape strides;  // in elements

  bool is_contiguous() const;
};

class TERSOR_API Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // uninitialised
  static Tensor zeros(DType dtype, Shape shape);
  static Tensor copy_of(const TensorView& view);  // makes it contiguous
  template <class T>
  static Tensor from(DType dtype, Shape shape, const T* values) {
    Tensor t(dtype, std::move(shape));
    std::memcpy(t.data(), values, t.size_bytes());
    return t;
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return size_; }
  size_t size_bytes() const { return static_cast<size_t>(size_) * size_of(dtype_); }
  explicit operator bool() const { return buffer_ != nullptr; }

  void* data() { return buffer_.get(); }
  const void* data() const { return buffer_.get(); }
  template <class T>
  T* as() {
    return static_cast<T*>(data());
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data());
  }

  TensorView view() const;
  Tensor clone() const;
  Tensor reshaped(Shape shape) const;                 // shares the buffer
  Tensor transposed(const Shape& permutation) const;  // copies
  Tensor to(DType dtype) const;                       // float widths and integers; copies
  bool equals(const Tensor& other) const;             // dtype, shape and every byte

 private:
  std::shared_ptr<void> buffer_;
  DType dtype_ = DType::float32;
  Shape shape_;
  int64_t size_ = 0;
};

// dst[i...] = src[i...] for equal shapes and dtypes and any strides. The buffers may not overlap.
TERSOR_API void copy_strided(const TensorView& src, const TensorView& dst);

}  // namespace tersor
