// Shared memory of a block. Macros, because the host emulation (tests/cuda/emulation) keeps it
// elsewhere: there several blocks of a cluster are alive at once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#ifndef TERSOR_SHARED
// TERSOR_SHARED(float, sums, 32): an array of a size known to the compiler.
#define TERSOR_SHARED(type, name, count) __shared__ type name[count]
// TERSOR_DYNAMIC_SHARED(bytes): what the launch asked for, aligned to 16 bytes.
#define TERSOR_DYNAMIC_SHARED(name)                              \
  extern __shared__ __align__(16) unsigned char tersor_shared[]; \
  unsigned char* const name = tersor_shared
#endif

namespace tersor::cuda {

// Blocks of a cluster, from compute capability 9.0 on; elsewhere every block is alone.
#ifndef TERSOR_CLUSTER
__device__ inline void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  // Release and acquire: what a thread of the cluster wrote before is seen after.
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::
                   : "memory");
#endif
}
#endif

}  // namespace tersor::cuda
