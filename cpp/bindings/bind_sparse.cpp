#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <tuple>

#include "arrays.h"
#include "tersor/base/threads.h"
#include "tersor/sparse/matmul.h"
#include "tersor/sparse/matmul_int8.h"
#include "tersor/sparse/matrix.h"

namespace py = pybind11;
namespace sp = tersor::sparse;
using tersor::bindings::Array;
using tersor::bindings::dtype_named;
using tersor::bindings::empty_array;
using tersor::bindings::output_array;
using tersor::bindings::shape_of;
using tersor::bindings::shape_text;
using tersor::bindings::view_of;
using tersor::bindings::without_gil;

namespace {

using Pair = std::pair<int64_t, int64_t>;

struct Matrix {
  sp::SparseLayout layout;
  sp::SparseParts parts;
  sp::SparseRows rows;
};

sp::SparseLayout layout_of(const Pair& shape, const std::string& dtype, const Pair& block,
                           const Pair& nm) {
  sp::SparseLayout l;
  l.rows = shape.first;
  l.columns = shape.second;
  l.dtype = tersor::dtype_from_name(dtype);
  l.height = block.first;
  l.width = block.second;
  l.n = nm.first;
  l.m = nm.second;
  return l;
}

Matrix from_dense(const py::array& w, const std::string& format, const Pair& block,
                  const Pair& nm) {
  const auto view = view_of(w);
  TERSOR_CHECK_TYPE(view.dtype == "float32" || view.dtype == "int8",
                    "sparse_matrix: w must be float32 or int8, got ", view.dtype);
  TERSOR_CHECK(w.ndim() == 2, "sparse_matrix: w must have 2 dimensions, got shape ",
               shape_text(shape_of(w)));
  TERSOR_CHECK(view.contiguous, "sparse_matrix: w must be C-contiguous, got one that is not");
  Matrix out;
  out.layout = layout_of({w.shape(0), w.shape(1)}, view.dtype, block, nm);
  without_gil([&] {
    const int64_t rows = out.layout.rows, columns = out.layout.columns;
    if (view.dtype == "int8") {
      const auto* codes = static_cast<const int8_t*>(view.data);
      const std::vector<float> values(codes, codes + rows * columns);
      out.rows = sp::rows_of_dense(values.data(), rows, columns, columns);
    } else {
      out.rows = sp::rows_of_dense(static_cast<const float*>(view.data), rows, columns, columns);
    }
    out.layout.format = format == "auto" ? sp::smallest_format(out.rows, out.layout)
                                         : sp::sparse_format_named(format);
    out.parts = sp::encode_sparse(out.rows, out.layout);
  });
  return out;
}

std::vector<uint8_t> bytes_of(const char* name, const py::array& a, const std::string& dtype) {
  const auto view = view_of(a);
  TERSOR_CHECK_TYPE(view.dtype == dtype, "sparse_matrix: ", name, " must be ", dtype, ", got ",
                    view.dtype);
  TERSOR_CHECK(view.contiguous, "sparse_matrix: ", name,
               " must be C-contiguous, got one that is not");
  const auto* data = static_cast<const uint8_t*>(view.data);
  return {data, data + a.nbytes()};
}

std::string unsigned_name(std::size_t bytes) {
  return "uint" + std::to_string(8 * std::max<std::size_t>(bytes, 1));
}

Matrix from_parts(const std::string& format, const Pair& shape, const py::array& values,
                  const py::array& indices, const py::array& starts, const Pair& block,
                  const Pair& nm) {
  Matrix out;
  const std::string dtype = view_of(values).dtype;
  TERSOR_CHECK_TYPE(dtype == "float32" || dtype == "int8",
                    "sparse_matrix: values must be float32 or int8, got ", dtype);
  out.layout = layout_of(shape, dtype, block, nm);
  out.layout.format = sp::sparse_format_named(format);
  out.parts.values = bytes_of("values", values, dtype);
  out.parts.indices = bytes_of("indices", indices, unsigned_name(index_bytes(out.layout)));
  out.parts.starts = bytes_of("starts", starts, unsigned_name(start_bytes(out.layout)));
  without_gil([&] { out.rows = sp::decode_sparse(out.parts, out.layout); });
  return out;
}

py::array array_of(const std::vector<uint8_t>& bytes, const std::string& dtype) {
  const py::dtype type = dtype_named(dtype);
  py::array out = empty_array(type, {static_cast<py::ssize_t>(bytes.size()) / type.itemsize()});
  std::copy(bytes.begin(), bytes.end(), static_cast<uint8_t*>(out.mutable_data()));
  return out;
}

template <class T>
py::array dense_as(const Matrix& m) {
  Array<T> out = empty_array<T>({m.layout.rows, m.layout.columns});
  T* to = out.mutable_data();
  std::fill(to, to + out.size(), T{0});
  for (std::size_t r = 0; r + 1 < m.rows.start.size(); ++r) {
    for (auto e = static_cast<std::size_t>(m.rows.start[r]);
         e < static_cast<std::size_t>(m.rows.start[r + 1]); ++e)
      to[static_cast<int64_t>(r) * m.layout.columns + m.rows.column[e]] =
          static_cast<T>(m.rows.value[e]);
  }
  return out;
}

// Kept by the calling thread: a fresh block of this size costs page faults at every call.
void* scratch_of(std::size_t bytes) {
  thread_local tersor::Buffer scratch;
  if (scratch.size() < bytes) scratch = tersor::Buffer(bytes);
  return scratch.data();
}

using Range = std::pair<float, float>;

py::array multiply(const sp::SpmmPlan& plan, const Array<float>& x,
                   const std::optional<Array<float>>& bias,
                   const std::optional<Array<float>>& residual, const Range& range,
                   const Range& post_range, const py::object& out, int threads) {
  TERSOR_CHECK((x.ndim() == 1 || x.ndim() == 2) && x.shape(0) == plan.depth(),
               "sparse.matmul: x must have shape (", plan.depth(), ",) or (", plan.depth(),
               ", columns), got ", shape_text(shape_of(x)));
  const int64_t columns = x.ndim() == 2 ? x.shape(1) : 1;
  tersor::bindings::Shape shape{plan.rows()};
  if (x.ndim() == 2) shape.push_back(columns);
  TERSOR_CHECK(!bias || (bias->ndim() == 1 && bias->shape(0) == plan.rows()),
               "sparse.matmul: bias must have shape (", plan.rows(), ",), got ",
               bias ? shape_text(shape_of(*bias)) : "");
  TERSOR_CHECK(!residual || shape_of(*residual) == shape,
               "sparse.matmul: residual must have shape ", shape_text(shape), ", got ",
               residual ? shape_text(shape_of(*residual)) : "");
  py::array y = output_array("sparse.matmul", out, py::dtype::of<float>(), shape);
  const auto* begin = static_cast<const float*>(y.data());
  TERSOR_CHECK(begin + y.size() <= x.data() || x.data() + x.size() <= begin,
               "sparse.matmul: out must not overlap x, got memory of x");
  sp::SpmmEpilogue e;
  e.bias = bias ? bias->data() : nullptr;
  e.residual = residual ? residual->data() : nullptr;
  e.residual_stride = columns;
  std::tie(e.low, e.high) = range;
  std::tie(e.post_low, e.post_high) = post_range;
  auto* to = static_cast<float*>(y.mutable_data());
  without_gil([&] {
    const int n = threads > 0 ? threads : tersor::threads();
    void* scratch = scratch_of(plan.scratch_bytes(columns, n));
    plan.run(x.data(), columns, columns, e, to, columns, scratch, n);
  });
  return y;
}

py::array multiply_int8(const sp::SpmmInt8Plan& plan, const py::array& x,
                        const std::optional<Array<int32_t>>& bias, const py::object& out,
                        int threads) {
  const bool is_signed = Array<int8_t>::check_(x);  // and C-contiguous, in 50 ns
  if (!is_signed && !Array<uint8_t>::check_(x)) {
    const auto view = view_of(x);
    TERSOR_CHECK_TYPE(view.dtype == "int8" || view.dtype == "uint8",
                      "sparse.matmul: x must be int8 or uint8, got ", view.dtype);
    throw tersor::ValueError("sparse.matmul: x must be C-contiguous, got one that is not");
  }
  TERSOR_CHECK((x.ndim() == 1 || x.ndim() == 2) && x.shape(0) == plan.depth(),
               "sparse.matmul: x must have shape (", plan.depth(), ",) or (", plan.depth(),
               ", columns), got ", shape_text(shape_of(x)));
  const int64_t columns = x.ndim() == 2 ? x.shape(1) : 1;
  tersor::bindings::Shape shape{plan.rows()};
  if (x.ndim() == 2) shape.push_back(columns);
  TERSOR_CHECK(!bias || (bias->ndim() == 1 && bias->shape(0) == plan.rows()),
               "sparse.matmul: bias must have shape (", plan.rows(), ",), got ",
               bias ? shape_text(shape_of(*bias)) : "");
  py::array y = output_array("sparse.matmul", out, py::dtype::of<int32_t>(), shape);
  auto* to = static_cast<int32_t*>(y.mutable_data());
  without_gil([&] {
    const int n = threads > 0 ? threads : tersor::threads();
    void* scratch = scratch_of(plan.scratch_bytes(columns, n));
    plan.run(x.data(), is_signed, columns, columns, bias ? bias->data() : nullptr, to, columns,
             scratch, n);
  });
  return y;
}

}  // namespace

void bind_sparse(py::module_& m) {
  py::class_<Matrix>(m, "SparseMatrix", "A matrix in one of the formats of sparse/matrix.h.")
      .def_static("from_dense", from_dense, py::arg("w"), py::arg("format"), py::arg("block"),
                  py::arg("nm"))
      .def_static("from_parts", from_parts, py::arg("format"), py::arg("shape"), py::arg("values"),
                  py::arg("indices"), py::arg("starts"), py::arg("block"), py::arg("nm"))
      .def("to_dense",
           [](const Matrix& a) {
             return a.layout.dtype == tersor::DType::int8 ? dense_as<int8_t>(a)
                                                          : dense_as<float>(a);
           })
      .def_property_readonly("format", [](const Matrix& a) { return name_of(a.layout.format); })
      .def_property_readonly(
          "shape", [](const Matrix& a) { return py::make_tuple(a.layout.rows, a.layout.columns); })
      .def_property_readonly("dtype", [](const Matrix& a) { return name_of(a.layout.dtype); })
      .def_property_readonly("entries", [](const Matrix& a) { return a.rows.entries(); })
      .def_property_readonly(
          "values",
          [](const Matrix& a) { return array_of(a.parts.values, name_of(a.layout.dtype)); })
      .def_property_readonly("indices",
                             [](const Matrix& a) {
                               return array_of(a.parts.indices,
                                               unsigned_name(index_bytes(a.layout)));
                             })
      .def_property_readonly("starts",
                             [](const Matrix& a) {
                               return array_of(a.parts.starts,
                                               unsigned_name(start_bytes(a.layout)));
                             })
      .def_property_readonly("part_bytes", [](const Matrix& a) {
        return py::make_tuple(a.parts.values.size(), a.parts.indices.size(), a.parts.starts.size());
      });
  py::class_<sp::SpmmPlan>(m, "SpmmPlan", "A matrix in the form that the kernels read.")
      .def(py::init([](const Matrix& a, int64_t columns, int64_t block_rows, int64_t depth,
                       int together, int64_t width, bool packed) {
             return without_gil([&] {
               return std::make_unique<sp::SpmmPlan>(
                   a.rows, columns, sp::SpmmTiling{block_rows, depth, together, width, packed});
             });
           }),
           py::arg("matrix"), py::arg("columns"), py::arg("block_rows") = 0, py::arg("depth") = 0,
           py::arg("together") = 0, py::arg("width") = 0, py::arg("packed") = true)
      .def("multiply", multiply, py::arg("x").noconvert(), py::arg("bias").noconvert(),
           py::arg("residual").noconvert(), py::arg("range"), py::arg("post_range"), py::arg("out"),
           py::arg("threads"))
      .def_property_readonly("nbytes", &sp::SpmmPlan::bytes);
  py::class_<sp::SpmmInt8Plan>(m, "SpmmInt8Plan", "An int8 matrix in blocks of 1 x 4.")
      .def(py::init([](const Matrix& a, int64_t columns, int64_t block_rows, int64_t depth,
                       int together, int64_t width, std::optional<bool> quads) {
             const auto form = !quads   ? sp::Int8Form::automatic
                               : *quads ? sp::Int8Form::quads
                                        : sp::Int8Form::pairs;
             return without_gil([&] {
               return std::make_unique<sp::SpmmInt8Plan>(
                   a.rows, columns, sp::SpmmTiling{block_rows, depth, together, width, true}, form);
             });
           }),
           py::arg("matrix"), py::arg("columns"), py::arg("block_rows") = 0, py::arg("depth") = 0,
           py::arg("together") = 0, py::arg("width") = 0, py::arg("quads") = py::none())
      .def("multiply", multiply_int8, py::arg("x").noconvert(), py::arg("bias").noconvert(),
           py::arg("out"), py::arg("threads"))
      .def_property_readonly("nbytes", &sp::SpmmInt8Plan::bytes);
}
