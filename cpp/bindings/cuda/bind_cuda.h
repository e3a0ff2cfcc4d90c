// What the files of the extension _core_cuda share: device arrays are numbers here, Python keeps
// the memory alive and says which stream to use.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <utility>

#include "tersor/cuda/device.h"
#include "tersor/cuda/stream.h"

namespace tersor::bindings {

using Address = std::uintptr_t;

template <class T = void>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}
inline cuda::Stream stream_at(Address address) { return reinterpret_cast<cuda::Stream>(address); }
inline cuda::Number number_of(bool bfloat16) {
  return bfloat16 ? cuda::Number::bfloat16 : cuda::Number::float32;
}
template <class F>
auto without_gil(F&& f) {
  const pybind11::gil_scoped_release released;
  return f();
}

void bind_memory(pybind11::module_& m);
void bind_quantization_cuda(pybind11::module_& m);
void bind_distillation_cuda(pybind11::module_& m);
void bind_layers_cuda(pybind11::module_& m);
void bind_products(pybind11::module_& m);

}  // namespace tersor::bindings
