// NumPy arrays and tersor tensors: copies in, zero copies out.
#pragma once

#include <pybind11/numpy.h>

#include "arrays.h"
#include "tersor/tensor/tensor.h"

namespace tersor::bindings {

// Borrows the array's memory; strides in elements (TypeError for strides that are no multiple of
// the item).
TensorView tensor_view(const py::array& array);
// A contiguous copy.
Tensor tensor_from_array(const py::array& array);
// Shares the tensor's buffer. `writeable` false for constants that others share.
py::array array_from_tensor(const Tensor& tensor, bool writeable = true);
// A leading batch dimension is None in Python.
py::tuple shape_to_python(const tersor::Shape& shape);
tersor::Shape shape_from_python(const py::handle& shape);

}  // namespace tersor::bindings
