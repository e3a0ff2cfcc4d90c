#include "tersor/cuda/cublaslt.h"

#include <dlfcn.h>

#include <mutex>

#include "tersor/base/error.h"

namespace tersor::cuda::cublaslt {
namespace {

constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

std::mutex mutex;
Library library;
bool ready = false;

// Kept open for the life of the process: its threads may outlive our static objects.
void* opened(const std::vector<std::string>& files) {
  for (const char* name : kNames) {
    if (void* found = dlopen(name, RTLD_NOW | RTLD_NOLOAD)) return found;
  }
  for (const std::string& file : files) {
    if (void* found = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return found;
  }
  for (const char* name : kNames) {
    if (void* found = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return found;
  }
  return nullptr;
}

template <class F>
void* find(void* handle, const char* name, F& function) {
  void* const symbol = dlsym(handle, name);
  TERSOR_CHECK_AS(DeviceError, symbol != nullptr, "tersor.cuda: cuBLASLt has no ", name);
  function = reinterpret_cast<F>(symbol);
  return symbol;
}

}  // namespace

const Library& load(const std::vector<std::string>& files) {
  const std::lock_guard lock(mutex);
  if (ready) return library;
  void* const handle = opened(files);
  TERSOR_CHECK_AS(DeviceError, handle != nullptr,
                  "tersor.cuda: products of int8 and float8 need cuBLASLt (libcublasLt.so.13 or "
                  ".12): pip install nvidia-cublas, or install CUDA");
  Library l;
  std::size_t (*version)() = nullptr;
  void* const symbol = find(handle, "cublasLtGetVersion", version);
  find(handle, "cublasLtCreate", l.create);
  find(handle, "cublasLtMatmulDescCreate", l.description_create);
  find(handle, "cublasLtMatmulDescSetAttribute", l.description_set);
  find(handle, "cublasLtMatmulDescDestroy", l.description_destroy);
  find(handle, "cublasLtMatrixLayoutCreate", l.layout_create);
  find(handle, "cublasLtMatrixLayoutDestroy", l.layout_destroy);
  find(handle, "cublasLtMatmulPreferenceCreate", l.preference_create);
  find(handle, "cublasLtMatmulPreferenceSetAttribute", l.preference_set);
  find(handle, "cublasLtMatmulPreferenceDestroy", l.preference_destroy);
  find(handle, "cublasLtMatmulAlgoGetHeuristic", l.heuristic);
  find(handle, "cublasLtMatmul", l.matmul);
  l.version = version();
  Dl_info info = {};
  if (dladdr(symbol, &info) != 0 && info.dli_fname) l.path = info.dli_fname;
  library = l;
  ready = true;
  return library;
}

const Library& loaded() {
  const std::lock_guard lock(mutex);
  TERSOR_CHECK_AS(DeviceError, ready, "tersor.cuda: cuBLASLt is not loaded");
  return library;
}

}  // namespace tersor::cuda::cublaslt
