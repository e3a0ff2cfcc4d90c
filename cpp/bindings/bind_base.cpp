#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "tersor/base/cancel.h"
#include "tersor/base/config.h"
#include "tersor/base/crc32c.h"
#include "tersor/base/error.h"
#include "tersor/base/isa.h"
#include "tersor/base/kernel_table.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"

namespace py = pybind11;

namespace {

// Runs Python's signal handlers; what they raise (KeyboardInterrupt) travels up through C++ as it
// is.
bool python_cancelled() {
  const py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  return false;
}

py::list kernel_list() {
  py::list rows;
  for (const tersor::KernelInfo& row : tersor::kernel_rows()) {
    py::dict d;
    d["room"] = row.room;
    d["op"] = row.op;
    d["variant"] = row.variant;
    d["needed"] = tersor::feature_names(row.needed);
    d["available"] = row.available;
    d["active"] = row.active;
    rows.append(std::move(d));
  }
  return rows;
}

py::dict memory() {
  const tersor::MemoryStats stats = tersor::memory_stats();
  py::dict d;
  d["current_bytes"] = stats.current_bytes;
  d["peak_bytes"] = stats.peak_bytes;
  d["cached_bytes"] = stats.cached_bytes;
  return d;
}

}  // namespace

void bind_base(py::module_& m) {
  tersor::set_cancel_callback(python_cancelled);

  m.def("version", &tersor::version);
  m.def("compiler", &tersor::compiler);
  m.def("build_type", &tersor::build_type);
  m.def("pybind11_version", [] {
    return PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR);
  });
  m.def("eigen_version", &tersor::eigen_version);
  m.def("onednn_version", &tersor::onednn_version);

  m.def("active_isa", &tersor::active_isa);
  m.def("supported_isas", &tersor::supported_isas);
  m.def("force_isa", &tersor::force_isa, py::arg("name"));
  m.def("active_features", [] { return tersor::feature_names(tersor::active_features()); });
  m.def("cpu_features", [] { return tersor::feature_names(tersor::cpu_features()); });
  m.def("kernels", &kernel_list);
  m.def("force_kernel", &tersor::force_kernel, py::arg("room"), py::arg("op"), py::arg("variant"));

  m.def("threads", &tersor::threads);
  m.def("set_threads", &tersor::set_threads, py::arg("n"));

  m.def("memory_stats", &memory);
  m.def("reset_peak_memory", &tersor::reset_peak_memory);
  m.def("trim_memory", &tersor::trim_memory);

  m.def(
      "crc32c",
      [](const py::buffer& data, std::uint32_t crc) {
        const py::buffer_info info = data.request();
        TERSOR_CHECK(PyBuffer_IsContiguous(info.view(), 'C'), "crc32c: data must be contiguous");
        const auto bytes = static_cast<std::size_t>(info.size * info.itemsize);
        const py::gil_scoped_release release;
        return tersor::crc32c(info.ptr, bytes, crc);
      },
      py::arg("data"), py::arg("crc") = 0);
}
