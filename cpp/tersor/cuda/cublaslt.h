// cuBLASLt as far as it is used, declared here so that building needs nothing of it, and loaded
// when a product first needs it: the library is larger than all of tersor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tersor/cuda/stream.h"

namespace tersor::cuda::cublaslt {

using Status = int;  // 0: success
using Handle = void*;
using Description = void*;
using Layout = void*;
using Preference = void*;

// Values of cublasLt.h, cublas_api.h and library_types.h, the same in versions 12 and 13.
inline constexpr int kComputeFloat32 = 68, kComputeInt32 = 72;
inline constexpr int kFloat32 = 0, kInt8 = 3, kInt32 = 10, kBFloat16 = 14, kFloat8E4M3 = 28;
inline constexpr int kTransposeA = 3, kScalePointerA = 17, kScalePointerB = 18;  // of descriptions
inline constexpr int kTranspose = 1;
inline constexpr int kMostWorkspace = 1, kAlignments[] = {5, 6, 7, 8};  // of preferences

struct Algorithm {
  std::uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  std::size_t workspace_bytes;
  Status status;
  float waves;
  int reserved[4];
};

struct Library {
  std::string path;
  std::size_t version = 0;  // 130000 and so on
  Status (*create)(Handle*);
  Status (*description_create)(Description*, int compute, int scale);
  Status (*description_set)(Description, int attribute, const void*, std::size_t);
  Status (*description_destroy)(Description);
  Status (*layout_create)(Layout*, int type, std::uint64_t rows, std::uint64_t columns,
                          std::int64_t leading);
  Status (*layout_destroy)(Layout);
  Status (*preference_create)(Preference*);
  Status (*preference_set)(Preference, int attribute, const void*, std::size_t);
  Status (*preference_destroy)(Preference);
  Status (*heuristic)(Handle, Description, Layout a, Layout b, Layout c, Layout d, Preference,
                      int wanted, Heuristic*, int* found);
  Status (*matmul)(Handle, Description, const void* alpha, const void* a, Layout, const void* b,
                   Layout, const void* beta, const void* c, Layout, void* d, Layout,
                   const Algorithm*, void* workspace, std::size_t workspace_bytes, Stream);
};

// Loads the library once: the one that the process has already, else the first of `files` that can
// be loaded, else the system's. DeviceError with what to install where there is none.
const Library& load(const std::vector<std::string>& files);
// What load found; DeviceError before.
const Library& loaded();

}  // namespace tersor::cuda::cublaslt
