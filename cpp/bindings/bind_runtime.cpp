// tersor::runtime::Session for Python. The Python class tersor.Session converts and documents.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "runtime_calibrate.h"
#include "runtime_sparse.h"
#include "tensors.h"
#include "tersor/runtime/session.h"

namespace py = pybind11;
namespace tr = tersor::runtime;
using tersor::bindings::array_from_tensor;
using tersor::bindings::empty_array;
using tersor::bindings::shape_to_python;
using tersor::bindings::tensor_view;
using tersor::bindings::without_gil;

namespace {

// NumPy's dtype objects by tersor::DType, looked up once: a lookup by name costs 2 us.
const py::dtype& numpy_dtype(tersor::DType dtype) {
  static std::array<py::dtype*, tersor::kDTypeCount> known{};  // never destroyed: Python ends first
  py::dtype*& found = known.at(static_cast<size_t>(dtype));
  if (!found) found = new py::dtype(tersor::bindings::dtype_named(tersor::name_of(dtype)));
  return *found;
}

tersor::TensorView view_of(const py::array& array) {
  const PyObject* type = py::detail::array_proxy(array.ptr())->descr;
  const auto item = static_cast<int64_t>(array.itemsize());
  for (int i = 0; i < tersor::kDTypeCount; ++i) {
    const auto dtype = static_cast<tersor::DType>(i);
    if (numpy_dtype(dtype).ptr() != type) continue;
    tersor::TensorView view{const_cast<void*>(array.data()), dtype, {}, {}};
    view.shape.assign(array.shape(), array.shape() + array.ndim());
    view.strides.resize(view.shape.size());
    for (size_t d = 0; d < view.shape.size(); ++d) {
      const int64_t stride = array.strides(static_cast<py::ssize_t>(d));
      if (stride % item != 0) return tensor_view(array);  // says what is wrong
      view.strides[d] = stride / item;
    }
    return view;
  }
  return tensor_view(array);
}

std::vector<tersor::TensorView> views_of(const std::vector<py::array>& arrays) {
  std::vector<tersor::TensorView> views;
  views.reserve(arrays.size());
  for (const py::array& a : arrays) views.push_back(view_of(a));
  return views;
}

py::tuple run(const tr::Session& session, const std::vector<py::array>& inputs,
              const std::optional<std::vector<py::array>>& out) {
  const auto views = views_of(inputs);
  std::vector<py::array> outputs;
  if (out) {
    outputs = *out;
    for (const py::array& a : outputs) {
      TERSOR_CHECK(a.writeable(), "session: out must be writeable, got a read-only array");
    }
  } else {
    for (const tersor::graph::EdgeType& type : session.output_types(views)) {
      outputs.push_back(
          empty_array(numpy_dtype(type.dtype), {type.shape.begin(), type.shape.end()}));
    }
  }
  const auto output_views = views_of(outputs);
  without_gil([&] { session.run_into(views, output_views); });
  py::tuple result(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) result[i] = outputs[i];
  return result;
}

void run_tapped(const tr::Session& session, const std::vector<py::array>& inputs,
                const std::vector<std::string>& edges, const py::function& tap) {
  const auto views = views_of(inputs);
  without_gil([&] {
    session.run_tapped(views, edges, [&](const std::string& edge, const tersor::TensorView& value) {
      const py::gil_scoped_acquire gil;  // a copy: the value lives in the arena
      tap(edge, array_from_tensor(tersor::Tensor::copy_of(value)));
    });
  });
}

tr::SessionOptions options_from(int threads, const std::string& arithmetic,
                                const std::string& precision, const std::string& provider,
                                int micro_batch, bool check_finite) {
  TERSOR_CHECK(arithmetic == "fast" || arithmetic == "exact",
               "Session: arithmetic must be 'fast' or 'exact', got '", arithmetic, "'");
  TERSOR_CHECK(precision == "fp32" || precision == "bf16",
               "Session: precision must be 'fp32' or 'bf16', got '", precision, "'");
  tr::SessionOptions options;
  options.threads = threads;
  options.arithmetic = arithmetic == "exact" ? tr::Arithmetic::exact : tr::Arithmetic::fast;
  options.precision = precision == "bf16" ? tr::Precision::bfloat16 : tr::Precision::float32;
  options.provider = provider;
  options.micro_batch = micro_batch;
  options.check_finite = check_finite;
  return options;
}

}  // namespace

void bind_runtime(py::module_& m) {
  py::class_<tr::LayerProfile>(m, "LayerProfile")
      .def_readonly("node", &tr::LayerProfile::node)
      .def_readonly("op", &tr::LayerProfile::op)
      .def_readonly("kernel", &tr::LayerProfile::kernel)
      .def_readonly("time_us", &tr::LayerProfile::time_us)
      .def_readonly("macs", &tr::LayerProfile::macs)
      .def_readonly("bytes", &tr::LayerProfile::bytes)
      .def_property_readonly("output_shape", [](const tr::LayerProfile& p) {
        return shape_to_python(p.output_shape);
      });
  py::class_<tr::Session, std::shared_ptr<tr::Session>>(m, "Session")
      .def(py::init([](std::shared_ptr<const tersor::graph::Graph> graph, int threads,
                       const std::string& arithmetic, const std::string& precision,
                       const std::string& provider, int micro_batch, bool check_finite,
                       std::map<std::string, std::string> choices) {
             tr::SessionOptions options =
                 options_from(threads, arithmetic, precision, provider, micro_batch, check_finite);
             options.choices = std::move(choices);
             return std::make_shared<tr::Session>(std::move(graph), std::move(options));
           }),
           py::arg("graph"), py::arg("threads"), py::arg("arithmetic"), py::arg("precision"),
           py::arg("provider"), py::arg("micro_batch"), py::arg("check_finite"), py::arg("choices"))
      .def("run", run, py::arg("inputs"), py::arg("out"))
      .def(
          "run_edges",
          [](const tr::Session& session, const std::vector<std::string>& input_edges,
             const std::vector<py::array>& inputs, const std::vector<std::string>& output_edges) {
            const auto views = views_of(inputs);
            const std::vector<tersor::Tensor> outputs =
                without_gil([&] { return session.run_edges(input_edges, views, output_edges); });
            py::tuple result(outputs.size());
            for (size_t i = 0; i < outputs.size(); ++i) result[i] = array_from_tensor(outputs[i]);
            return result;
          },
          py::arg("input_edges"), py::arg("inputs"), py::arg("output_edges"))
      .def("run_tapped", run_tapped, py::arg("inputs"), py::arg("edges"), py::arg("tap"))
      .def(
          "profile",
          [](const tr::Session& session, const std::vector<py::array>& inputs, int repeats) {
            const auto views = views_of(inputs);
            return without_gil([&] { return session.profile(views, repeats); });
          },
          py::arg("inputs"), py::arg("repeats"))
      .def(
          "update_weights",
          [](tr::Session& session, const std::string& name, const py::array& value) {
            const tersor::TensorView view = view_of(value);
            without_gil([&] { session.update_weights(name, view); });
          },
          py::arg("name"), py::arg("value"))
      .def_property_readonly("micro_batch", &tr::Session::micro_batch)
      .def_property_readonly("peak_memory_bytes", &tr::Session::peak_memory_bytes)
      .def_property_readonly("graph", [](const tr::Session& session) {
        return std::make_shared<tersor::graph::Graph>(session.graph());
      });
  tersor::bindings::bind_calibrate(m);
  tersor::bindings::bind_sparse_pays(m);
}
