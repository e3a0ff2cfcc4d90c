#include "tersor/base/config.h"
#include "tersor/runtime/step.h"

#if TERSOR_HAVE_ONEDNN

#include "tersor/base/error.h"
#include "tersor/base/isa.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/onednn.h"

// OpenMP comes with oneDNN; weak, so that no header and no library of OpenMP is needed to build.
extern "C" {
__attribute__((weak)) void omp_set_num_threads(int);
__attribute__((weak)) int omp_get_max_threads();
}

namespace tersor::runtime {
namespace {

struct Cap {
  FeatureBits needed;
  dnnl::cpu_isa isa;
};

Cap cap_of(FeatureBits active) {
  if (active & Feature::avx512bf16) return {Feature::avx512bf16, dnnl::cpu_isa::avx512_core_bf16};
  if (active & Feature::avx512vnni) return {Feature::avx512vnni, dnnl::cpu_isa::avx512_core_vnni};
  if (active & Feature::avx512) return {Feature::avx512, dnnl::cpu_isa::avx512_core};
  if (active & Feature::avxvnni) return {Feature::avxvnni, dnnl::cpu_isa::avx2_vnni};
  if (active & Feature::avx2) return {Feature::avx2, dnnl::cpu_isa::avx2};
  return {Feature::none, dnnl::cpu_isa::sse41};
}

dnnl::stream& stream_of(const dnnl::engine& engine) {
  thread_local dnnl::stream stream(engine);
  return stream;
}

}  // namespace

const dnnl::engine* onednn_engine() {
  const FeatureBits active = active_features();
  if (!(active & Feature::avx2)) return nullptr;
  static const Cap cap = [active] {
    const Cap c = cap_of(active);
    // Fails when the process has already used this copy of oneDNN, which is ours alone.
    dnnl::set_max_cpu_isa(c.isa);
    return c;
  }();
  if ((cap.needed & active) != cap.needed) return nullptr;
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return &engine;
}

OnednnOneThread::OnednnOneThread() : before_(omp_get_max_threads ? omp_get_max_threads() : 1) {
  if (before_ != 1 && omp_set_num_threads) omp_set_num_threads(1);
}

OnednnOneThread::~OnednnOneThread() {
  if (before_ != 1 && omp_set_num_threads) omp_set_num_threads(before_);
}

bool onednn_is_fast(const dnnl::primitive_desc_base& desc) {
  const std::string name = desc.impl_info_str();
  return name.find("ref") == std::string::npos;
}

dnnl::memory onednn_reorder(const dnnl::engine& engine, const dnnl::memory::desc& given,
                            const void* values, const dnnl::memory::desc& wanted) {
  const OnednnOneThread one;
  dnnl::memory from(given, engine, const_cast<void*>(values));
  dnnl::memory to(wanted, engine);
  dnnl::stream& stream = stream_of(engine);
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  return to;
}

struct OnednnCall::List {
  std::vector<dnnl::memory> changing;
  std::vector<dnnl_exec_arg_t> all;
};

OnednnCall::OnednnCall(const dnnl::engine& engine, dnnl::primitive primitive,
                       std::vector<Argument> changing, std::vector<Constant> constant)
    : engine_(engine),
      primitive_(std::move(primitive)),
      changing_(std::move(changing)),
      constant_(std::move(constant)) {}

OnednnCall::OnednnCall(OnednnCall&& other) noexcept
    : engine_(other.engine_),
      primitive_(std::move(other.primitive_)),
      changing_(std::move(other.changing_)),
      constant_(std::move(other.constant_)) {
}  // lists refer to these memories: `other` has made none yet

OnednnCall::~OnednnCall() {
  for (auto& slot : idle_) delete slot.load();
}

void OnednnCall::run(void* const* data) const {
  std::unique_ptr<List> list;
  for (auto& slot : idle_) {
    if (!slot.load(std::memory_order_relaxed)) continue;
    list.reset(slot.exchange(nullptr, std::memory_order_acquire));
    if (list) break;
  }
  if (!list) {
    list = std::make_unique<List>();
    for (const auto& [name, desc] : changing_) {
      list->changing.push_back(dnnl::memory(desc, engine_, DNNL_MEMORY_NONE));
      list->all.push_back({name, list->changing.back().get()});
    }
    for (const auto& [name, memory] : constant_) list->all.push_back({name, memory.get()});
  }
  for (size_t i = 0; i < changing_.size(); ++i) list->changing[i].set_data_handle(data[i]);
  {
    const OnednnOneThread one;
    const dnnl_status_t status =
        dnnl_primitive_execute(primitive_.get(), stream_of(engine_).get(),
                               static_cast<int>(list->all.size()), list->all.data());
    TERSOR_CHECK(status == dnnl_success, "session: oneDNN must run its primitive, got status ",
                 status);
  }
  for (auto& slot : idle_) {
    List* expected = nullptr;
    if (slot.compare_exchange_strong(expected, list.get(), std::memory_order_release)) {
      list.release();
      break;
    }
  }
}

std::unique_ptr<Step> make_onednn_step(const StepSpec& spec) {
  const dnnl::engine* engine = onednn_engine();
  if (!engine) return nullptr;
  try {
    const OnednnOneThread one;
    if (auto step = make_onednn_int8_step(spec, *engine)) return step;
    if (spec.op == Op::conv || spec.op == Op::conv_transpose)
      return make_onednn_conv_step(spec, *engine);
    if (spec.op == Op::dense || spec.op == Op::matmul)
      return make_onednn_matmul_step(spec, *engine);
  } catch (const dnnl::error&) {
    // Unimplemented for this shape or this processor: another provider's.
  }
  return nullptr;
}

std::unique_ptr<Step> make_preferred_onednn_step(const StepSpec& spec) {
  // fp32 and int8: tersor's own kernels were faster over ResNet-20, ResNet-18 and MobileNetV2 as
  // wholes (benchmarks/runtime/bench_conv_float32.py; AVX2: 0.47 against 0.88 ms for ResNet-20).
  // bf16 multiplication is oneDNN's, but for depthwise layers, where rounding the input costs more
  // than it saves, and Winograd's: a quarter of the products in fp32 beats all of them in bf16.
  if (spec.options.precision != Precision::bfloat16) return nullptr;
  if (!(active_features() & Feature::avx512bf16)) return nullptr;
  const auto conv = read_conv_float32(spec);
  if (!conv || conv->shape.depthwise() || winograd_pays(conv->shape)) return nullptr;
  return make_onednn_step(spec);
}

}  // namespace tersor::runtime

#else

namespace tersor::runtime {

std::unique_ptr<Step> make_onednn_step(const StepSpec&) { return nullptr; }
std::unique_ptr<Step> make_preferred_onednn_step(const StepSpec&) { return nullptr; }

}  // namespace tersor::runtime

#endif
