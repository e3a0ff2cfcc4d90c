#include "tersor/cuda/device.h"

#include <array>
#include <mutex>
#include <utility>

#include "tersor/cuda/check.h"

namespace tersor::cuda {
namespace {

constexpr int kMostDevices = 64;

DeviceInfo ask(int device) {
  DeviceInfo info;
  cudaDeviceProp p;
  TERSOR_CUDA_CHECK("device_info", cudaGetDeviceProperties(&p, device));
  info.name = p.name;
  info.major = p.major;
  info.minor = p.minor;
  info.multiprocessors = p.multiProcessorCount;
  info.l2_bytes = static_cast<std::size_t>(p.l2CacheSize);
  info.memory_bytes = p.totalGlobalMem;
  info.shared_bytes = p.sharedMemPerBlockOptin;
  return info;
}

}  // namespace

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();  // the error would stay
    return 0;
  }
  return count;
}

const DeviceInfo& device_info(int device) {
  static std::mutex mutex;
  static std::array<DeviceInfo, kMostDevices> known;
  static std::array<bool, kMostDevices> asked{};
  const int count = device_count();
  TERSOR_CHECK_AS(DeviceError, count > 0, "tersor.cuda: no CUDA device");
  TERSOR_CHECK_AS(DeviceError, 0 <= device && device < count && device < kMostDevices,
                  "tersor.cuda: device must be below ", count, ", got ", device);
  const std::lock_guard lock(mutex);
  const auto at = static_cast<std::size_t>(device);
  if (!asked[at]) {
    known[at] = ask(device);
    asked[at] = true;
  }
  return known[at];
}

int current_device() {
  TERSOR_CHECK_AS(DeviceError, device_count() > 0, "tersor.cuda: no CUDA device");
  int device = 0;
  TERSOR_CUDA_CHECK("current_device", cudaGetDevice(&device));
  return device;
}

void set_device(int device) { TERSOR_CUDA_CHECK("set_device", cudaSetDevice(device)); }

namespace {

// A pool of our own, so that the process's keeps its settings. Memory up to here stays with it when
// a stream is waited for: mapping the sums of a product again would take longer than the product.
constexpr std::uint64_t kKeptBytes = std::uint64_t{512} << 20;

cudaMemPool_t pool_of(int device) {
  static std::mutex mutex;
  static std::array<cudaMemPool_t, kMostDevices> pools{};
  const std::lock_guard lock(mutex);
  cudaMemPool_t& pool = pools.at(static_cast<std::size_t>(device));
  if (!pool) {
    cudaMemPoolProps properties = {};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    TERSOR_CUDA_CHECK("memory", cudaMemPoolCreate(&pool, &properties));
    std::uint64_t kept = kKeptBytes;
    TERSOR_CUDA_CHECK("memory",
                      cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
  }
  return pool;
}

}  // namespace

Memory::Memory(std::size_t bytes, Stream stream) : stream_(stream) {
  if (bytes == 0) return;
  TERSOR_CUDA_CHECK("memory",
                    cudaMallocFromPoolAsync(&data_, bytes, pool_of(current_device()), stream));
}
Memory::~Memory() {
  if (data_) (void)cudaFreeAsync(data_, stream_);
}
Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), stream_(other.stream_) {}
Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(stream_, other.stream_);
  return *this;
}

void copy_to_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  // From pageable memory: the driver copies the source before the call returns.
  if (bytes > 0) {
    TERSOR_CUDA_CHECK("copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
  }
}
void copy_to_host(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes > 0) {
    TERSOR_CUDA_CHECK("copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
  }
  synchronize(stream);
}
void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes > 0) {
    TERSOR_CUDA_CHECK("copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
  }
}
void fill_bytes(void* to, int value, std::size_t bytes, Stream stream) {
  if (bytes > 0) TERSOR_CUDA_CHECK("fill", cudaMemsetAsync(to, value, bytes, stream));
}
void synchronize(Stream stream) { TERSOR_CUDA_CHECK("synchronize", cudaStreamSynchronize(stream)); }

}  // namespace tersor::cuda
