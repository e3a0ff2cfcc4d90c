// The devices there are, and memory on them.
#pragma once

#include <cstddef>
#include <string>

#include "tersor/cuda/stream.h"

namespace tersor::cuda {

// 0 where there is no driver or no device; never throws.
int device_count() noexcept;
struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t l2_bytes = 0, memory_bytes = 0;
  std::size_t shared_bytes = 0;  // that a block may ask for
};
// DeviceError where there is no such device. The first call per device asks the driver.
const DeviceInfo& device_info(int device);
int current_device();

void set_device(int device);  // DeviceError where it does not exist

// Memory in the order of a stream: what the stream runs before the release may use it.
class Memory {
 public:
  Memory() = default;
  Memory(std::size_t bytes, Stream stream);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  Stream stream_ = nullptr;
};

// Ordered by the stream; to_host returns when the bytes are there. to_device returns when the
// source may be overwritten.
void copy_to_device(void* to, const void* from, std::size_t bytes, Stream stream);
void copy_to_host(void* to, const void* from, std::size_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream);
void fill_bytes(void* to, int value, std::size_t bytes, Stream stream);
void synchronize(Stream stream);

}  // namespace tersor::cuda
