#include <pybind11/pybind11.h>

#include <exception>

#include "tersor/base/error.h"

namespace py = pybind11;

// bind_rooms.inc lists the files bind_<room>.cpp (cmake/bindings.cmake).
#define TERSOR_BIND(room) void bind_##room(py::module_&);
#include "bind_rooms.inc"
#undef TERSOR_BIND

namespace {

// The Python classes live in tersor/base/error.py, so that they exist without an error having
// happened.
void set_error(const char* name, const std::exception& e) {
  py::set_error(py::module_::import("tersor.base.error").attr(name), e.what());
}

// Most derived first.
void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const tersor::GraphError& e) {
    set_error("GraphError", e);
  } catch (const tersor::ValueError& e) {
    py::set_error(PyExc_ValueError, e.what());
  } catch (const tersor::TypeError& e) {
    py::set_error(PyExc_TypeError, e.what());
  } catch (const tersor::ArtifactError& e) {
    set_error("ArtifactError", e);
  } catch (const tersor::UnsupportedError& e) {
    set_error("UnsupportedError", e);
  } catch (const tersor::DeviceError& e) {
    set_error("DeviceError", e);
  } catch (const tersor::BudgetError& e) {
    set_error("BudgetError", e);
  } catch (const tersor::Cancelled& e) {
    py::set_error(PyExc_KeyboardInterrupt, e.what());
  } catch (const tersor::Error& e) {
    set_error("Error", e);
  }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Native half of tersor; one submodule per room of cpp/tersor.";
  py::register_local_exception_translator(translate);
#define TERSOR_BIND(room)                     \
  {                                           \
    py::module_ sub = m.def_submodule(#room); \
    bind_##room(sub);                         \
  }
#include "bind_rooms.inc"
#undef TERSOR_BIND
}
