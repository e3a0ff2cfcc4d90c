#include <exception>

#include "bind_cuda.h"
#include "tersor/base/error.h"

namespace py = pybind11;

namespace {

void translate(std::exception_ptr p) {
  const auto set_error = [](const char* name, const std::exception& e) {
    py::set_error(py::module_::import("tersor.base.error").attr(name), e.what());
  };
  try {
    if (p) std::rethrow_exception(p);
  } catch (const tersor::ValueError& e) {
    py::set_error(PyExc_ValueError, e.what());
  } catch (const tersor::TypeError& e) {
    py::set_error(PyExc_TypeError, e.what());
  } catch (const tersor::UnsupportedError& e) {
    set_error("UnsupportedError", e);
  } catch (const tersor::DeviceError& e) {
    set_error("DeviceError", e);
  } catch (const tersor::Error& e) {
    set_error("Error", e);
  }
}

}  // namespace

PYBIND11_MODULE(_core_cuda, m) {
  m.doc() = "CUDA half of tersor; arrays are addresses in device memory.";
  py::module_::import("tersor._core");  // QParams and the observers are its types
  py::register_local_exception_translator(translate);
#ifdef TERSOR_CUDA_EMULATED
  m.attr("emulated") = true;
#else
  m.attr("emulated") = false;
#endif
  tersor::bindings::bind_memory(m);
  tersor::bindings::bind_quantization_cuda(m);
  tersor::bindings::bind_distillation_cuda(m);
  tersor::bindings::bind_layers_cuda(m);
  tersor::bindings::bind_products(m);
}
