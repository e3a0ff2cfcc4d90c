// The layout of DLPack's structures (dmlc.github.io/dlpack, version 0.8), as far as it is read.
#pragma once

#include <cstdint>

namespace tersor::bindings::dlpack {

struct Device {
  std::int32_t type;  // 1 host, 2 CUDA, 3 pinned host, 13 CUDA managed
  std::int32_t index;
};
struct DataType {
  std::uint8_t code;  // 0 int, 1 uint, 2 float, 4 bfloat, 6 bool
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // null: compact
  std::uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

}  // namespace tersor::bindings::dlpack
