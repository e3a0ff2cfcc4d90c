#include "tersor/base/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace tersor {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
constexpr std::size_t kDefaultCacheBytes = 256u << 20;

std::atomic<std::size_t> current{0};
std::atomic<std::size_t> peak{0};

void count_in(std::size_t bytes) {
  const std::size_t now = current.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::size_t seen = peak.load(std::memory_order_relaxed);
  while (seen < now && !peak.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
  }
}

std::size_t round_up(std::size_t n, std::size_t step) {
  if (n > SIZE_MAX - step) throw std::bad_alloc();
  return (n + step - 1) / step * step;
}

// Four classes per power of two waste at most a quarter, and let shapes that differ a little share.
std::size_t size_class(std::size_t bytes) {
  if (bytes < kRecycleBytes) return round_up(bytes, kAlignment);
  const std::size_t quarter = std::bit_floor(bytes) / 4;
  const std::size_t size = round_up(bytes, quarter);
  return size < kHugePage ? size : round_up(size, kHugePage);
}

void* allocate_fresh(std::size_t size) {
  const bool huge = size >= kHugePage;
  void* p = std::aligned_alloc(huge ? kHugePage : kAlignment, size);
  if (!p) throw std::bad_alloc();
  if (huge) madvise(p, size, MADV_HUGEPAGE);  // advice: where it is refused, small pages do
  return p;
}

// Free blocks of at least kRecycleBytes, newest first: the newest is the likeliest to be in a
// cache.
class Cache {
 public:
  void* take(std::size_t size) {
    const std::lock_guard lock(mutex_);
    const auto found = free_.find(size);
    if (found == free_.end() || found->second.empty()) return nullptr;
    void* p = found->second.back();
    found->second.pop_back();
    bytes_ -= size;
    return p;
  }
  bool keep(void* p, std::size_t size) noexcept {
    const std::lock_guard lock(mutex_);
    if (bytes_ + size > limit_) return false;
    try {
      free_[size].push_back(p);
    } catch (const std::bad_alloc&) {
      return false;
    }
    bytes_ += size;
    return true;
  }
  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_) {
      for (void* p : blocks) std::free(p);
    }
    free_.clear();
    bytes_ = 0;
  }
  void set_limit(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      limit_ = bytes;
      if (bytes_ <= limit_) return;
    }
    trim();
  }
  std::size_t bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> free_;
  std::size_t bytes_ = 0;
  std::size_t limit_ = kDefaultCacheBytes;
};

// Never destroyed: an array freed while the process ends may still come back here.
Cache& cache() {
  static Cache* const instance = [] {
    auto* made = new Cache;
    if (const char* text = std::getenv("TERSOR_CACHE_BYTES")) {
      made->set_limit(std::strtoull(text, nullptr, 10));
    }
    // Held across fork(), so that the child never finds it locked by a thread that it does not
    // have.
    pthread_atfork([] { cache().lock(); }, [] { cache().unlock(); }, [] { cache().unlock(); });
    return made;
  }();
  return *instance;
}

}  // namespace

void* allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t size = size_class(bytes);
  void* p = size >= kRecycleBytes ? cache().take(size) : nullptr;
  if (!p) p = allocate_fresh(size);
  count_in(size);
  return p;
}

void deallocate(void* p, std::size_t bytes) noexcept {
  if (!p) return;
  const std::size_t size = size_class(bytes);
  current.fetch_sub(size, std::memory_order_relaxed);
  if (size < kRecycleBytes || !cache().keep(p, size)) std::free(p);
}

MemoryStats memory_stats() {
  return {current.load(std::memory_order_relaxed), peak.load(std::memory_order_relaxed),
          cache().bytes()};
}

void reset_peak_memory() {
  peak.store(current.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

void trim_memory() { cache().trim(); }

void set_memory_cache_limit(std::size_t bytes) { cache().set_limit(bytes); }

}  // namespace tersor
