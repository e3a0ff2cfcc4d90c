#include "tensors.h"

namespace tersor::bindings {

TensorView tensor_view(const py::array& array) {
  TensorView view;
  view.data = const_cast<void*>(array.data());
  view.dtype = dtype_from_name(dtype_name(array.dtype()));
  const auto item = static_cast<int64_t>(array.itemsize());
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    view.shape.push_back(array.shape(i));
    TERSOR_CHECK_TYPE(array.strides(i) % item == 0,
                      "array: strides must be multiples of the item size ", item, ", got ",
                      array.strides(i));
    view.strides.push_back(array.strides(i) / item);
  }
  return view;
}

Tensor tensor_from_array(const py::array& array) { return Tensor::copy_of(tensor_view(array)); }

py::array array_from_tensor(const Tensor& tensor, bool writeable) {
  auto* owner = new Tensor(tensor);
  const py::capsule keep(owner, [](void* p) { delete static_cast<Tensor*>(p); });
  const std::vector<py::ssize_t> shape(tensor.shape().begin(), tensor.shape().end());
  py::array array(dtype_named(name_of(tensor.dtype())), shape, owner->data(), keep);
  if (!writeable)
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

py::tuple shape_to_python(const tersor::Shape& shape) {
  py::tuple out(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    out[i] = shape[i] == kBatch ? py::object(py::none()) : py::object(py::int_(shape[i]));
  }
  return out;
}

tersor::Shape shape_from_python(const py::handle& shape) {
  tersor::Shape out;
  for (const py::handle& d : py::reinterpret_borrow<py::sequence>(shape)) {
    out.push_back(d.is_none() ? kBatch : py::cast<int64_t>(d));
  }
  return out;
}

}  // namespace tersor::bindings
