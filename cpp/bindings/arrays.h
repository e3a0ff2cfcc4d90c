// NumPy arrays at the door: views without copies, outputs, the released GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"

namespace tersor::bindings {

namespace py = pybind11;

// A C-contiguous array of T. Take it with py::arg(...).noconvert(): another dtype or layout is then
// a TypeError, never a silent copy.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

using Shape = std::vector<py::ssize_t>;

inline Shape shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }

inline std::size_t count_of(const Shape& shape) {
  std::size_t n = 1;
  for (const py::ssize_t d : shape) n *= static_cast<std::size_t>(d);
  return n;
}

inline std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

// "float32", "int8", ..., also "bfloat16", "float8_e4m3fn", "int4" of ml_dtypes.
inline std::string dtype_name(const py::dtype& dtype) {
  return py::cast<std::string>(dtype.attr("name"));
}

// The dtype of that name; those of ml_dtypes are known to NumPy by their class only.
inline py::dtype dtype_named(const std::string& name) {
  const py::module_ ml_dtypes = py::module_::import("ml_dtypes");
  if (py::hasattr(ml_dtypes, name.c_str())) {
    return py::dtype::from_args(ml_dtypes.attr(name.c_str()));
  }
  return py::dtype(name);
}

// Any array as pointer, shape and strides (in bytes); keeps no reference.
struct ArrayView {
  const void* data = nullptr;
  std::string dtype;
  std::vector<std::ptrdiff_t> shape;
  std::vector<std::ptrdiff_t> strides;
  std::size_t item_bytes = 0;
  bool contiguous = false;
  bool writeable = false;
};

inline ArrayView view_of(const py::array& a) {
  return {a.data(),
          dtype_name(a.dtype()),
          {a.shape(), a.shape() + a.ndim()},
          {a.strides(), a.strides() + a.ndim()},
          static_cast<std::size_t>(a.itemsize()),
          (a.flags() & py::array::c_style) != 0,
          a.writeable()};
}

// A new uninitialised C-contiguous array; large ones live in recycled memory (memory.h).
inline py::array empty_array(const py::dtype& dtype, const Shape& shape) {
  const std::size_t bytes = count_of(shape) * static_cast<std::size_t>(dtype.itemsize());
  if (bytes < kRecycleBytes) return py::array(dtype, shape);
  auto* buffer = new Buffer(bytes);
  const py::capsule owner(buffer, [](void* p) { delete static_cast<Buffer*>(p); });
  return py::array(dtype, shape, buffer->data(), owner);
}

template <class T>
Array<T> empty_array(const Shape& shape) {
  return py::reinterpret_borrow<Array<T>>(empty_array(py::dtype::of<T>(), shape));
}

// The array to write: `out` after checks, or a new one if it is None. `op` names the operation.
inline py::array output_array(const char* op, const py::object& out, const py::dtype& dtype,
                              const Shape& shape) {
  if (out.is_none()) return empty_array(dtype, shape);
  TERSOR_CHECK_TYPE(py::isinstance<py::array>(out), op, ": out must be an ndarray, got ",
                    Py_TYPE(out.ptr())->tp_name);
  py::array a = py::reinterpret_borrow<py::array>(out);
  TERSOR_CHECK_TYPE(a.dtype().equal(dtype), op, ": out must have dtype ", dtype_name(dtype),
                    ", got ", dtype_name(a.dtype()));
  TERSOR_CHECK(shape_of(a) == shape, op, ": out must have shape ", shape_text(shape), ", got ",
               shape_text(shape_of(a)));
  TERSOR_CHECK((a.flags() & py::array::c_style) && a.writeable(), op,
               ": out must be writeable and C-contiguous, got one that is not");
  return a;
}

// The same with the dtype T and the shape of `like`. A good `out` passes in 50 ns.
template <class T>
Array<T> output_array(const char* op, const py::object& out, const py::array& like) {
  if (out.is_none()) return empty_array<T>(shape_of(like));
  if (Array<T>::check_(out)) {
    auto a = py::reinterpret_borrow<Array<T>>(out);
    if (a.ndim() == like.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), like.shape()) &&
        a.writeable()) {
      return a;
    }
  }
  return py::reinterpret_borrow<Array<T>>(
      output_array(op, out, py::dtype::of<T>(), shape_of(like)));
}

// Refuses memory that an input and an output share: kernels and threads would read what others
// wrote. `in_place`: the very same bytes are fine, each element being read before it is written.
enum class Sharing { none, in_place };

inline void check_apart(const char* op, const char* name, const py::array& in, const py::array& out,
                        Sharing sharing = Sharing::none, const char* result = "out") {
  const auto* a = static_cast<const char*>(in.data());
  const auto* b = static_cast<const char*>(out.data());
  const py::ssize_t bytes = in.nbytes(), others = out.nbytes();
  if (bytes == 0 || others == 0 || a + bytes <= b || b + others <= a) return;
  if (sharing == Sharing::in_place && a == b && bytes == others) return;
  TERSOR_CHECK(false, op, ": ", result, " must not overlap ", name, " in memory",
               sharing == Sharing::in_place ? message(" unless it is ", name, " itself") : "",
               ", got arrays that share bytes");
}

// Runs f without the GIL.
template <class F>
decltype(auto) without_gil(F&& f) {
  const py::gil_scoped_release release;
  return std::forward<F>(f)();
}

}  // namespace tersor::bindings
