// What a plan executes: one step per operator (or fused group), made by a provider for exact
// shapes.
//
// A step is immutable after it was made, holds its packed constants, and may be run by several
// threads at once: everything that changes lives in the buffers of StepBuffers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::runtime {

using graph::Attributes;
using graph::Op;
using graph::QParams;

// Physical order of a data edge of rank >= 3 whose logical order is [N, C, spatial...].
enum class Layout : uint8_t {
  row_major,      // the logical order
  channels_last,  // [N, spatial..., C]
};

enum class Arithmetic : uint8_t { fast, exact };
enum class Precision : uint8_t { float32, bfloat16 };

// An edge of the plan: batch fixed, dimensions in physical order, contiguous.
struct PlanEdge {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;  // physical
  Layout layout = Layout::row_major;
  std::optional<QParams> qparams;  // axis is physical
  Tensor
      constant;  // weights: always in logical order (conv OIHW, dense [O, I]); other constants that
                 // meet a channels-last operand (elementwise): physical order of that operand
  int64_t size() const { return element_count(shape); }
  size_t bytes() const { return static_cast<size_t>(size()) * size_of(dtype); }
};

struct StepOptions {
  Arithmetic arithmetic = Arithmetic::fast;
  Precision precision = Precision::float32;
};

// One operator as a provider sees it. Axis attributes are already physical. `post_add` is set when
// the plan asks for conv/dense + residual add in one step: inputs.back() is then the residual (same
// shape and layout as the output), `inner` the edge between the two (its qparams are a rounding
// point that must be kept), `post_activation` the add's activation.
struct StepSpec {
  Op op;
  std::string name;
  Attributes attributes;
  std::vector<const PlanEdge*> inputs;  // nullptr for an absent optional input
  std::vector<const PlanEdge*> outputs;
  bool post_add = false;
  const PlanEdge* inner = nullptr;
  std::string post_activation = "none";
  StepOptions options;
};

struct StepBuffers {
  const void* const* inputs;  // by input index; constants are nullptr (the step holds them)
  void* const* outputs;
  void* scratch;  // scratch_bytes(), 64-byte aligned
  int threads;    // how many threads this step may use (1 inside a micro-batch worker)
};

class TERSOR_API Step {
 public:
  virtual ~Step() = default;
  virtual void run(const StepBuffers& buffers) const = 0;
  virtual size_t scratch_bytes(int threads) const {
    (void)threads;
    return 0;
  }
  // Provider and kernel, e.g. "native conv_int8 avx2 winograd", for profile().
  virtual std::string kernel() const = 0;
  // The output may be written over input 0 (same bytes, element-wise).
  virtual bool in_place() const { return false; }
  // Bytes of packed constants that this step keeps.
  virtual size_t packed_bytes() const { return 0; }
};

// A provider makes a step for what it supports and returns nullptr for the rest. Providers are
// asked in order: session options, then `native` and `onednn` by their own ranking, `reference`
// last (it has all).
using StepFactory = std::unique_ptr<Step> (*)(const StepSpec&);

struct Provider {
  const char* name;
  StepFactory make;
};

// In the order in which a plan asks them. `only` = "reference" restricts to the truth.
TERSOR_API std::vector<Provider> providers(const std::string& only = "");

std::unique_ptr<Step> make_reference_step(const StepSpec& spec);  // runtime/reference*.cpp
std::unique_ptr<Step> make_native_step(const StepSpec& spec);  // runtime/native*.cpp: fp32 and int8
std::unique_ptr<Step> make_dense_step(
    const StepSpec& spec);  // native, zeros multiplied like others
std::unique_ptr<Step> make_sparse_step(
    const StepSpec& spec);  // layers from the entries of their weights that are not 0, always
std::unique_ptr<Step> make_onednn_step(
    const StepSpec& spec);  // runtime/onednn*.cpp; nullptr when off
std::unique_ptr<Step> make_preferred_onednn_step(
    const StepSpec& spec);  // only where it beats `native`

}  // namespace tersor::runtime
