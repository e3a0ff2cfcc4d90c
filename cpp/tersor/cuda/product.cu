#include "tersor/cuda/product.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "tersor/cuda/check.h"
#include "tersor/cuda/cublaslt.h"
#include "tersor/cuda/device.h"
#include "tersor/cuda/launch.h"

namespace tersor::cuda {
namespace {

using cublaslt::Algorithm;
using cublaslt::Heuristic;
using cublaslt::Library;
using Result = Product::Result;

constexpr int kCandidates = 16;
constexpr int kRepeats = 5;

void check(int status, const char* what) {
  TERSOR_CHECK_AS(DeviceError, status == 0, "product: ", what, " of cuBLASLt says status ", status);
}

// Numbers that the library multiplies with, of the type of its sums.
struct Factors {
  std::int32_t int32[2] = {1, 0};
  float float32[2] = {1, 0};
  const void* alpha(bool float8) const {
    return float8 ? static_cast<const void*>(float32) : int32;
  }
  const void* beta(bool float8) const {
    return float8 ? static_cast<const void*>(float32 + 1) : int32 + 1;
  }
};

// The library counts columns first: its A is w, transposed, its B is x, its D is y.
struct Plan {
  cublaslt::Description description = nullptr;
  cublaslt::Layout w = nullptr, x = nullptr, y = nullptr;
  std::array<Heuristic, kCandidates> candidates;
  int found = 0, chosen = 0;
  bool timed = false;
  ProductTimes times;

  void enqueue(const Library& l, cublaslt::Handle handle, const Product& p, int algorithm,
               Stream stream) const {
    const Factors factors;
    const Algorithm& a = candidates[static_cast<std::size_t>(algorithm)].algorithm;
    check(l.matmul(handle, description, factors.alpha(p.float8), p.w, w, p.x, x,
                   factors.beta(p.float8), p.y, y, p.y, y, &a, p.workspace, p.workspace_bytes,
                   stream),
          "cublasLtMatmul");
  }
};

// device, rows, outputs, inputs, float8, result, workspace, alignment of the arrays.
using Key = std::tuple<int, std::size_t, std::size_t, std::size_t, bool, Result, std::size_t,
                       std::uint32_t>;
// Rows differ from batch to batch; a plan is a few kilobytes and microseconds.
constexpr std::size_t kMostPlans = 1024;

std::mutex mutex;
std::map<int, cublaslt::Handle> handles;
std::map<Key, Plan> plans;

// 256 is what the library hopes for, 16 what is promised.
std::uint32_t alignment_of(const Product& p) {
  return aligned(p.x, 256) && aligned(p.w, 256) && aligned(p.y, 256) ? 256 : 16;
}

Key key_of(const Product& p) {
  return {current_device(), p.rows,   p.outputs,         p.inputs,
          p.float8,         p.result, p.workspace_bytes, alignment_of(p)};
}

int type_of(Result result) {
  switch (result) {
    case Result::int32:
      return cublaslt::kInt32;
    case Result::float32:
      return cublaslt::kFloat32;
    case Result::bfloat16:
      return cublaslt::kBFloat16;
  }
  return -1;
}

cublaslt::Handle handle_of(const Library& l, int device) {
  cublaslt::Handle& handle = handles[device];
  if (!handle) check(l.create(&handle), "cublasLtCreate");
  return handle;
}

void destroy(const Library& l, const Plan& plan) {
  if (plan.y) (void)l.layout_destroy(plan.y);
  if (plan.x) (void)l.layout_destroy(plan.x);
  if (plan.w) (void)l.layout_destroy(plan.w);
  if (plan.description) (void)l.description_destroy(plan.description);
}

void describe(const Library& l, cublaslt::Handle handle, const Product& p, Plan& plan) {
  const int compute = p.float8 ? cublaslt::kComputeFloat32 : cublaslt::kComputeInt32;
  const int scale = p.float8 ? cublaslt::kFloat32 : cublaslt::kInt32;
  const int type = p.float8 ? cublaslt::kFloat8E4M3 : cublaslt::kInt8;
  const auto leading = static_cast<std::int64_t>(p.inputs);
  check(l.description_create(&plan.description, compute, scale), "cublasLtMatmulDescCreate");
  const std::int32_t transposed = cublaslt::kTranspose;
  check(l.description_set(plan.description, cublaslt::kTransposeA, &transposed, sizeof transposed),
        "cublasLtMatmulDescSetAttribute");
  check(l.layout_create(&plan.w, type, p.inputs, p.outputs, leading), "cublasLtMatrixLayoutCreate");
  check(l.layout_create(&plan.x, type, p.inputs, p.rows, leading), "cublasLtMatrixLayoutCreate");
  check(l.layout_create(&plan.y, type_of(p.result), p.outputs, p.rows,
                        static_cast<std::int64_t>(p.outputs)),
        "cublasLtMatrixLayoutCreate");
  cublaslt::Preference preference = nullptr;
  check(l.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  int status = l.preference_set(preference, cublaslt::kMostWorkspace, &p.workspace_bytes,
                                sizeof p.workspace_bytes);
  const std::uint32_t alignment = alignment_of(p);
  for (const int attribute : cublaslt::kAlignments) {
    if (status == 0) {
      status = l.preference_set(preference, attribute, &alignment, sizeof alignment);
    }
  }
  if (status == 0) {
    status = l.heuristic(handle, plan.description, plan.w, plan.x, plan.y, plan.y, preference,
                         kCandidates, plan.candidates.data(), &plan.found);
  }
  (void)l.preference_destroy(preference);
  TERSOR_CHECK_AS(DeviceError, status == 0 && plan.found > 0 && plan.candidates[0].status == 0,
                  "product: cuBLASLt must have an algorithm for ", p.rows, " x ", p.outputs, " x ",
                  p.inputs, p.float8 ? " of float8" : " of int8", " on this device, got status ",
                  status);
}

// Pointers may differ from call to call; null is a factor of 1.
void set_scales(const Library& l, const Product& p, const Plan& plan) {
  if (!p.float8) return;
  check(l.description_set(plan.description, cublaslt::kScalePointerA, &p.w_scale, sizeof p.w_scale),
        "cublasLtMatmulDescSetAttribute");
  check(l.description_set(plan.description, cublaslt::kScalePointerB, &p.x_scale, sizeof p.x_scale),
        "cublasLtMatmulDescSetAttribute");
}

class Events {
 public:
  Events() {
    TERSOR_CUDA_CHECK("product", cudaEventCreate(&begin_));
    TERSOR_CUDA_CHECK("product", cudaEventCreate(&end_));
  }
  ~Events() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }
  Events(const Events&) = delete;
  template <class F>
  float milliseconds(Stream stream, F&& enqueue) {
    TERSOR_CUDA_CHECK("product", cudaEventRecord(begin_, stream));
    enqueue();
    TERSOR_CUDA_CHECK("product", cudaEventRecord(end_, stream));
    TERSOR_CUDA_CHECK("product", cudaEventSynchronize(end_));
    float ms = 0;
    TERSOR_CUDA_CHECK("product", cudaEventElapsedTime(&ms, begin_, end_));
    return ms;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

void choose(const Library& l, cublaslt::Handle handle, const Product& p, Plan& plan,
            Stream stream) {
  Events events;
  plan.times = {};
  for (int i = 0; i < plan.found; ++i) {
    if (plan.candidates[static_cast<std::size_t>(i)].status != 0) continue;
    plan.enqueue(l, handle, p, i, stream);  // loads the kernel
    float least = 0;
    for (int r = 0; r < kRepeats; ++r) {
      const float ms = events.milliseconds(stream, [&] { plan.enqueue(l, handle, p, i, stream); });
      least = r == 0 ? ms : std::min(least, ms);
    }
    if (i == 0) plan.times.first = least;
    if (plan.times.candidates == 0 || least < plan.times.best) {
      plan.times.best = least;
      plan.chosen = i;
    }
    ++plan.times.candidates;
  }
  plan.timed = true;
}

}  // namespace

void product_cuda(const Product& p, bool timed, Stream stream) {
  TERSOR_CHECK(p.inputs > 0 && p.inputs % 16 == 0 && p.outputs > 0 && p.outputs % 16 == 0,
               "product: inputs and outputs must be multiples of 16, got ", p.inputs, " and ",
               p.outputs);
  TERSOR_CHECK(p.float8 == (p.result != Result::int32), "product: result must be int32 of int8");
  TERSOR_CHECK(aligned(p.x, 16) && aligned(p.w, 16) && aligned(p.y, 16),
               "product: x and w must be aligned to 16 bytes");
  if (p.rows == 0) return;
  const Library& l = cublaslt::loaded();
  const Key key = key_of(p);
  const std::lock_guard lock(mutex);  // scales are part of the description
  const cublaslt::Handle handle = handle_of(l, std::get<0>(key));
  auto at = plans.find(key);
  if (at == plans.end()) {
    if (plans.size() >= kMostPlans) {
      for (const auto& [unused, plan] : plans) destroy(l, plan);
      plans.clear();
    }
    Plan plan;
    try {
      describe(l, handle, p, plan);
    } catch (...) {
      destroy(l, plan);
      throw;
    }
    at = plans.emplace(key, plan).first;
  }
  Plan& plan = at->second;
  set_scales(l, p, plan);
  if (timed && !plan.timed) choose(l, handle, p, plan, stream);
  plan.enqueue(l, handle, p, timed ? plan.chosen : 0, stream);
}

ProductTimes product_times(const Product& p) {
  const Key key = key_of(p);
  const std::lock_guard lock(mutex);
  const auto at = plans.find(key);
  return at == plans.end() ? ProductTimes{} : at->second.times;
}

}  // namespace tersor::cuda
