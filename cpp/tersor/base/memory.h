// Memory for tensors, arenas and large outputs.
//
// Every block is aligned to 64 bytes. Blocks of at least 1 MiB are kept in a cache when they are
// freed, by size class (four per power of two), because first-touch page faults cost more than most
// kernels do: a fresh 64 MiB block costs about 10 ms, a recycled one nothing. Blocks of at least 2
// MiB are aligned to and advised as huge pages.
#pragma once

#include <cstddef>
#include <utility>

#include "tersor/base/export.h"

namespace tersor {

inline constexpr std::size_t kAlignment = 64;           // a cache line, and one AVX-512 register
inline constexpr std::size_t kRecycleBytes = 1u << 20;  // smaller blocks: malloc is fast enough

// Uninitialised bytes, or nullptr for bytes == 0. std::bad_alloc when there are none.
TERSOR_API void* allocate(std::size_t bytes);
// Gives back a block of allocate(bytes).
TERSOR_API void deallocate(void* p, std::size_t bytes) noexcept;

struct MemoryStats {
  std::size_t current_bytes = 0;  // handed out and not given back
  std::size_t peak_bytes = 0;     // highest value of current_bytes since reset_peak_memory
  std::size_t cached_bytes = 0;   // kept for reuse
};
TERSOR_API MemoryStats memory_stats();
TERSOR_API void reset_peak_memory();
// Returns the cache to the operating system.
TERSOR_API void trim_memory();
// Most bytes that the cache keeps (default 256 MiB; TERSOR_CACHE_BYTES).
TERSOR_API void set_memory_cache_limit(std::size_t bytes);

// An owned block.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes) : data_(allocate(bytes)), size_(bytes) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { deallocate(data_, size_); }

  void* data() { return data_; }
  const void* data() const { return data_; }
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tersor
