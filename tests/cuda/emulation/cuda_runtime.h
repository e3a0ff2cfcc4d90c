// Stands in for NVIDIA's header when the .cu files are compiled for the host, so that their results
// can be compared with the CPU's without a device. Found first on the include path of that build.
//
// A block's threads are fibers of one thread: each runs until a barrier, then the next one. Shared
// memory and fresh device memory are filled with ones (NaN as floats), a barrier that not every
// thread of its group reaches is an error, and TERSOR_EMULATION_ORDER=backward runs the threads of
// a block last to first, so that a missing barrier shows in one of the two orders. Not emulated:
// timing, memory coalescing, races inside one barrier interval, tensor cores.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#define TERSOR_CUDA_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

enum class Group { warp, block, cluster };
void wait(Group group, unsigned mask = 0xffffffffu);
// Every lane of the mask gives 8 bytes and gets what lane source(lane) gave; with `all`, a pointer
// to the 32 values.
const std::uint64_t* exchange(unsigned mask, std::uint64_t value);
void* shared(const void* key, std::size_t bytes);
void* dynamic_shared();
void run(dim3 grid, dim3 block, std::size_t shared_bytes, unsigned cluster,
         const std::function<void()>& kernel);

template <class T>
std::uint64_t to_bits(T x) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
template <class T>
T shuffle(unsigned mask, T x, unsigned source) {
  return from_bits<T>(exchange(mask, to_bits(x))[source % 32]);
}
}  // namespace emulation

// Of the fiber that runs.
inline uint3 threadIdx{}, blockIdx{};
inline dim3 blockDim, gridDim;

#define TERSOR_SHARED(type, name, count) \
  static const char name##_key = 0;      \
  type* const name = static_cast<type*>(::emulation::shared(&name##_key, sizeof(type) * (count)))
#define TERSOR_DYNAMIC_SHARED(name) \
  unsigned char* const name = static_cast<unsigned char*>(::emulation::dynamic_shared())
#define TERSOR_CLUSTER 1
namespace tersor::cuda {
inline void cluster_barrier() { ::emulation::wait(::emulation::Group::cluster); }
}  // namespace tersor::cuda

inline void __syncthreads() { emulation::wait(emulation::Group::block); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulation::wait(emulation::Group::warp, mask);
}
inline void __threadfence() {}
template <class T>
T __shfl_sync(unsigned mask, T x, int source) {
  return emulation::shuffle(mask, x, static_cast<unsigned>(source));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int lanes) {
  return emulation::shuffle(mask, x, (threadIdx.x % 32) ^ static_cast<unsigned>(lanes));
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, unsigned lanes) {
  const unsigned source = (threadIdx.x % 32) + lanes;
  return emulation::shuffle(mask, x, source < 32 ? source : (threadIdx.x % 32));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const std::uint64_t* given = emulation::exchange(mask, predicate != 0);
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= (mask >> i & 1 && given[i]) ? 1u << i : 0u;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }

template <class T>
T atomicAdd(T* p, T x) {
  return std::exchange(*p, *p + x);
}
template <class T>
T atomicMin(T* p, T x) {
  return std::exchange(*p, std::min(*p, x));
}
template <class T>
T atomicMax(T* p, T x) {
  return std::exchange(*p, std::max(*p, x));
}
template <class T>
T atomicOr(T* p, T x) {
  return std::exchange(*p, *p | x);
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T x) {
  *p = x;
}

inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
using std::isnan;

// The runtime, as far as it is used.
using cudaError_t = int;
inline constexpr cudaError_t cudaSuccess = 0;
struct CUstream_st;
using cudaStream_t = CUstream_st*;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount, l2CacheSize;
  std::size_t totalGlobalMem, sharedMemPerBlockOptin;
};
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  // Few multiprocessors, so that small tests go round the grid-stride loops.
  *p = {"host emulation", 9, 0, 1, 1 << 20, std::size_t{1} << 30, 227 * 1024};
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorName(cudaError_t) { return "cudaSuccess"; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
struct cudaMemPoolStub {};
using cudaMemPool_t = cudaMemPoolStub*;
enum { cudaMemAllocationTypePinned, cudaMemLocationTypeDevice, cudaMemPoolAttrReleaseThreshold };
struct cudaMemPoolProps {
  int allocType;
  struct {
    int type, id;
  } location;
};
inline cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
  static cudaMemPoolStub one;
  *pool = &one;
  return cudaSuccess;
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, int, void*) { return cudaSuccess; }
inline cudaError_t cudaMallocFromPoolAsync(void** p, std::size_t bytes, cudaMemPool_t,
                                           cudaStream_t) {
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*p, 0xff, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t) {
  std::free(p);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* p, int value, std::size_t bytes, cudaStream_t) {
  std::memset(p, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
struct cudaEventStub {
  std::chrono::steady_clock::time_point time;
};
using cudaEvent_t = cudaEventStub*;
inline cudaError_t cudaEventCreate(cudaEvent_t* e) {
  *e = new cudaEventStub;
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) {
  e->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}

enum cudaLaunchAttributeID {
  cudaLaunchAttributeClusterDimension = 4,
  cudaLaunchAttributeProgrammaticStreamSerialization = 6
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  unsigned cluster = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) {
      cluster = config->attrs[i].val.clusterDim.x;
    }
  }
  emulation::run(config->gridDim, config->blockDim, config->dynamicSmemBytes, cluster,
                 [&] { std::apply(kernel, values); });
  return cudaSuccess;
}
