// What the oneDNN steps share. Included only where TERSOR_HAVE_ONEDNN.
//
// Primitives are made for one thread, and tersor's pool divides the work: OpenMP workers would spin
// beside it.
#pragma once

#include <atomic>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// Null when oneDNN must not be used: at the level baseline, or when the active level lacks
// instructions of the level at oneDNN's first use, which fixes its choice for the life of the
// process.
const dnnl::engine* onednn_engine();

// OpenMP regions of the calling thread run on it alone while this lives.
class OnednnOneThread {
 public:
  OnednnOneThread();
  ~OnednnOneThread();
  OnednnOneThread(const OnednnOneThread&) = delete;
  OnednnOneThread& operator=(const OnednnOneThread&) = delete;

 private:
  int before_;
};

// Whether to choose a primitive: oneDNN's plain loops ("ref") are slower than ours.
bool onednn_is_fast(const dnnl::primitive_desc_base& desc);

// Constant memory with the layout `wanted`, from values with the layout `given`.
dnnl::memory onednn_reorder(const dnnl::engine& engine, const dnnl::memory::desc& given,
                            const void* values, const dnnl::memory::desc& wanted);

// A primitive with its constant arguments. run() may be called by several threads at once: memory
// objects, which are costly to make (about 0.3 us each), are kept in a few slots and taken by one
// run at a time. No locks: a fork may happen at any moment.
class OnednnCall {
 public:
  using Argument = std::pair<int, dnnl::memory::desc>;
  using Constant = std::pair<int, dnnl::memory>;

  // `changing`: arguments whose data is given with every run, in that order.
  OnednnCall(const dnnl::engine& engine, dnnl::primitive primitive, std::vector<Argument> changing,
             std::vector<Constant> constant);
  OnednnCall(OnednnCall&& other) noexcept;
  ~OnednnCall();

  void run(void* const* data) const;
  const std::vector<Constant>& constants() const { return constant_; }

 private:
  struct List;
  static constexpr int kSlots = 8;

  dnnl::engine engine_;
  dnnl::primitive primitive_;
  std::vector<Argument> changing_;
  std::vector<Constant> constant_;
  mutable std::atomic<List*> idle_[kSlots] = {};
};

// The makers; each returns nullptr for what oneDNN lacks or only does with plain loops.
std::unique_ptr<Step> make_onednn_conv_step(const StepSpec& spec, const dnnl::engine& engine);
std::unique_ptr<Step> make_onednn_int8_step(const StepSpec& spec, const dnnl::engine& engine);
std::unique_ptr<Step> make_onednn_matmul_step(const StepSpec& spec,
                                              const dnnl::engine& engine);  // and dense

}  // namespace tersor::runtime
