// How kernels are started: one function instead of <<<>>>, so that the same sources compile as
// plain C++ against the host emulation of the tests (tests/cuda/emulation).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tersor/cuda/check.h"
#include "tersor/cuda/device.h"

namespace tersor::cuda {

// Enough threads to hide latency, few enough registers each: the usual middle.
constexpr unsigned kThreads = 256;
// Resident blocks of that size on a multiprocessor of 2,048 threads (1,536 on some: 6).
constexpr unsigned kBlocksPerMultiprocessor = 8;

struct Grid {
  dim3 blocks = {1, 1, 1};
  unsigned threads = kThreads;
  std::size_t shared_bytes = 0;
  Stream stream = nullptr;
  unsigned cluster = 1;  // blocks along x that run together; above 1 from compute capability 9.0 on
  // May start before the kernel in front of it ends, from 9.0 on: it calls wait_for_grid_before.
  bool early = false;
};

template <class... Parameters, class... Arguments>
void launch(const char* op, const Grid& grid, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads, 1, 1);
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = grid.stream;
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (grid.cluster > 1) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = grid.cluster;
    a.val.clusterDim.y = 1;
    a.val.clusterDim.z = 1;
  }
  if (grid.early && device_info(current_device()).major >= 9) {
    cudaLaunchAttribute& a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  // 48 KiB are free to take; more must be asked for.
  if (grid.shared_bytes > 48 * 1024) {
    TERSOR_CUDA_CHECK(op, cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(grid.shared_bytes)));
  }
  TERSOR_CUDA_CHECK(op, cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

// Blocks for a grid-stride loop over n items: no more than run at once.
inline unsigned blocks_for(std::size_t items, unsigned per_block = kThreads) {
  const auto most = static_cast<std::size_t>(device_info(current_device()).multiprocessors) *
                    kBlocksPerMultiprocessor;
  return static_cast<unsigned>(std::min(most, (items + per_block - 1) / per_block));
}

inline bool aligned(const void* p, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

}  // namespace tersor::cuda
