#include "tersor/base/config.h"

#if TERSOR_HAVE_ONEDNN

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tersor/base/isa.h"
#include "tersor/base/threads.h"
#include "tersor/runtime/onednn_float.h"

namespace tersor::runtime {
namespace {

using dnnl::memory;

constexpr size_t kLine = 64;
size_t whole_lines(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

bool wants_bfloat16(const StepSpec& spec) { return spec.options.precision == Precision::bfloat16; }

bool multiplies_bfloat16() { return (active_features() & Feature::avx512bf16) != 0; }

void append_clamp(dnnl::post_ops& ops, float low, float high) {
  if (std::isinf(low)) return;
  if (std::isinf(high)) {
    ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
  } else {
    ops.append_eltwise(dnnl::algorithm::eltwise_clip, low, high);
  }
}

}  // namespace

OnednnFloatStep::OnednnFloatStep(const EpilogueFloat32& epilogue, const char* op,
                                 const StepSpec& spec)
    : epilogue_(epilogue),
      type_(wants_bfloat16(spec) && multiplies_bfloat16() ? memory::data_type::bf16
                                                          : memory::data_type::f32),
      kernel_(std::string("onednn ") + op) {
  if (type_ == memory::data_type::bf16) {
    kernel_ += " bf16";
  } else if (wants_bfloat16(spec)) {
    kernel_ += " (bf16 computed in fp32)";
  }
}

dnnl::primitive_attr OnednnFloatStep::attributes(const memory::desc& dst) const {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  append_clamp(ops, epilogue_.low, epilogue_.high);
  if (epilogue_.residual >= 0) {
    ops.append_binary(dnnl::algorithm::binary_add, dst);
    append_clamp(ops, epilogue_.post_low, epilogue_.post_high);
  }
  attr.set_post_ops(ops);
  return attr;
}

void OnednnFloatStep::add(const dnnl::engine& engine, const dnnl::primitive_desc_base& desc,
                          const Descs& descs, dnnl::primitive primitive, const Given& given,
                          Piece piece) {
  if (!onednn_is_fast(desc)) throw dnnl::error(dnnl_unimplemented, "plain loops only");
  std::vector<OnednnCall::Argument> changing{{DNNL_ARG_SRC, descs.src}, {DNNL_ARG_DST, descs.dst}};
  changing.emplace_back(DNNL_ARG_SCRATCHPAD, descs.scratchpad);
  std::vector<OnednnCall::Constant> constant;
  right_changes_ = !given.weights;
  if (right_changes_) {
    changing.emplace_back(DNNL_ARG_WEIGHTS, descs.weights);
  } else {
    // Pieces that want the same layout share one copy.
    memory weights;
    for (const Piece& other : pieces_) {
      const memory& candidate = other.call[0].constants()[0].second;
      if (candidate.get_desc() == descs.weights) weights = candidate;
    }
    if (!weights) {
      weights = onednn_reorder(engine, given.desc, given.weights.data(), descs.weights);
      packed_bytes_ += descs.weights.get_size();
    }
    constant.emplace_back(DNNL_ARG_WEIGHTS, weights);
  }
  if (given.bias) {
    memory bias(descs.bias, engine);
    std::memcpy(bias.get_data_handle(), given.bias.data(), given.bias.size_bytes());
    constant.emplace_back(DNNL_ARG_BIAS, bias);
    packed_bytes_ += given.bias.size_bytes();
  }
  if (epilogue_.residual >= 0) {
    const int index = std::isinf(epilogue_.low) ? 0 : 1;  // after the first clamp
    changing.emplace_back(DNNL_ARG_ATTR_MULTIPLE_POST_OP(index) | DNNL_ARG_SRC_1, descs.dst);
  }
  if (type_ == memory::data_type::bf16) {
    const memory::dims line{piece.input_size};
    const memory::desc floats(line, memory::data_type::f32, memory::format_tag::a);
    const memory::desc rounded(line, memory::data_type::bf16, memory::format_tag::a);
    const dnnl::reorder::primitive_desc reorder(engine, floats, engine, rounded);
    piece.rounding.emplace_back(
        engine, dnnl::reorder(reorder),
        std::vector<OnednnCall::Argument>{{DNNL_ARG_FROM, floats}, {DNNL_ARG_TO, rounded}},
        std::vector<OnednnCall::Constant>{});
    rounded_bytes_ = std::max(rounded_bytes_, whole_lines(rounded.get_size()));
  }
  scratchpad_bytes_ = std::max(scratchpad_bytes_, whole_lines(descs.scratchpad.get_size()));
  if (pieces_.empty()) kernel_ += std::string(" ") + desc.impl_info_str();
  piece.call.emplace_back(engine, std::move(primitive), std::move(changing), std::move(constant));
  pieces_.push_back(std::move(piece));
}

void OnednnFloatStep::run(const StepBuffers& buffers) const {
  auto* scratch = static_cast<char*>(buffers.scratch);
  const size_t each = rounded_bytes_ + scratchpad_bytes_;
  if (buffers.threads <= 1 || pieces_.size() == 1) {
    for (const Piece& piece : pieces_) run_piece(buffers, piece, scratch);
    return;
  }
  parallel_tasks(pieces_.size(), buffers.threads, [&](size_t i, int worker) {
    run_piece(buffers, pieces_[i], scratch + static_cast<size_t>(worker) * each);
  });
}

size_t OnednnFloatStep::scratch_bytes(int threads) const {
  return static_cast<size_t>(std::max(1, threads)) * (rounded_bytes_ + scratchpad_bytes_);
}

void OnednnFloatStep::run_piece(const StepBuffers& buffers, const Piece& piece,
                                void* scratch) const {
  auto* input = const_cast<float*>(static_cast<const float*>(buffers.inputs[0])) + piece.input;
  auto* output = static_cast<float*>(buffers.outputs[0]) + piece.output;
  void* source = input;
  if (!piece.rounding.empty()) {
    void* data[] = {input, scratch};
    piece.rounding[0].run(data);
    source = scratch;
  }
  void* data[5] = {source, output, static_cast<char*>(scratch) + rounded_bytes_};
  int count = 3;
  if (right_changes_) {
    data[count++] = const_cast<float*>(static_cast<const float*>(buffers.inputs[1])) + piece.right;
  }
  if (const float* residual = epilogue_.residual_of(buffers)) {
    data[count++] = const_cast<float*>(residual) + piece.output;
  }
  piece.call[0].run(data);
}

}  // namespace tersor::runtime

#endif
