// int8 convolution and dense layers by oneDNN, `fast` arithmetic.
#include "tersor/base/config.h"

#if TERSOR_HAVE_ONEDNN

#include <algorithm>
#include <cstring>

#include "tersor/base/isa.h"
#include "tersor/runtime/onednn.h"
#include "tersor/runtime/operand.h"

namespace tersor::runtime {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

// Without VNNI oneDNN sums pairs of products in 16 bits, which saturate: wrong results.
bool sums_are_exact() {
  return (active_features() & (Feature::avx512vnni | Feature::avxvnni)) != 0;
}

bool is_codes(const PlanEdge* edge) {
  return edge && edge->dtype == DType::int8 && edge->qparams && edge->qparams->per_tensor();
}

bool supported(const StepSpec& spec) {
  // A residual's sum needs the convolution's own rounding point, which no post-operation has.
  if (spec.post_add || spec.options.arithmetic != Arithmetic::fast) return false;
  if (spec.op != Op::conv && spec.op != Op::dense) return false;
  const PlanEdge* x = spec.inputs.at(0);
  const PlanEdge* w = spec.inputs.at(1);
  const PlanEdge* b = spec.inputs.size() > 2 ? spec.inputs[2] : nullptr;
  if (!is_codes(x) || !is_codes(spec.outputs.at(0)) || x->constant || x->size() == 0) return false;
  if (!w || w->dtype != DType::int8 || !w->constant || !w->qparams || w->qparams->group_size) {
    return false;
  }
  const auto& zero = w->qparams->zero_point;
  if (std::any_of(zero.begin(), zero.end(), [](int32_t z) { return z != 0; })) return false;
  if (b && (b->dtype != DType::int32 || !b->constant)) return false;
  if (spec.op == Op::dense) return w->shape.size() == 2;
  return w->shape.size() == 4 && x->layout == Layout::channels_last &&
         spec.outputs[0]->layout == Layout::channels_last;
}

class OnednnInt8Step final : public Step {
 public:
  OnednnInt8Step(const dnnl::engine& engine, const StepSpec& spec) {
    const PlanEdge& y = *spec.outputs[0];
    const float output_scale = y.qparams->scale[0];
    const std::vector<float>& scales = spec.inputs[1]->qparams->scale;
    const int64_t outputs = spec.inputs[1]->shape[0];
    multipliers_.resize(static_cast<size_t>(outputs));
    for (size_t o = 0; o < multipliers_.size(); ++o) {
      multipliers_[o] = static_cast<float>(static_cast<double>(spec.inputs[0]->qparams->scale[0]) *
                                           scales[scales.size() == 1 ? 0 : o] / output_scale);
    }
    bias_.assign(multipliers_.size(), 0.0f);
    if (spec.inputs.size() > 2 && spec.inputs[2]) {
      const auto* bias = spec.inputs[2]->constant.as<int32_t>();
      for (size_t o = 0; o < bias_.size(); ++o) {
        bias_[o] = static_cast<float>(static_cast<double>(bias[o]) * multipliers_[o]);
      }
    }
    const Range range = activation_range(spec, spec.attributes.text("activation"));
    if (spec.op == Op::conv) {
      make_conv(engine, spec, range, output_scale);
    } else {
      make_dense(engine, spec, range, output_scale);
    }
  }

  void run(const StepBuffers& buffers) const override {
    void* data[] = {const_cast<void*>(buffers.inputs[0]), buffers.outputs[0], buffers.scratch};
    call_[0].run(data);
  }
  size_t scratch_bytes(int) const override { return scratch_bytes_; }
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return packed_bytes_; }

 private:
  // y = clamp(rint(float(sum) * multiplier[c] + bias[c] in units of the output) + zero point): all
  // scales in one, so that one rounding of a product separates it from the reference.
  dnnl::primitive_attr attributes(const Range& range, float output_scale, int scale_mask) const {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attr.set_scales_mask(DNNL_ARG_WEIGHTS, scale_mask);
    attr.set_zero_points_mask(DNNL_ARG_SRC, 0);
    attr.set_zero_points_mask(DNNL_ARG_DST, 0);
    dnnl::post_ops ops;
    if (range.high < 1e30) {
      ops.append_eltwise(dnnl::algorithm::eltwise_clip, 0,
                         static_cast<float>(range.high) / output_scale);
    } else if (range.low == 0) {
      ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
    }
    attr.set_post_ops(ops);
    return attr;
  }

  void make_conv(const dnnl::engine& engine, const StepSpec& spec, const Range& range,
                 float output_scale) {
    const Shape& x = spec.inputs[0]->shape;
    const Shape& y = spec.outputs[0]->shape;
    const Shape& w = spec.inputs[1]->shape;
    const graph::Ints& strides = spec.attributes.integers("strides");
    const graph::Ints& dilations = spec.attributes.integers("dilations");
    const graph::Ints& pads = spec.attributes.integers("pads");
    const int64_t groups = spec.attributes.integer("groups");
    const bool grouped = groups != 1;
    memory::dims end(2);
    for (size_t i = 0; i < 2; ++i) {
      const int64_t reach = dilations[i] * (w[2 + i] - 1) + 1;
      end[i] = std::max<int64_t>(0, (y[1 + i] - 1) * strides[i] + reach - x[1 + i] - pads[i]);
    }
    const memory::dims dims = grouped ? memory::dims{groups, w[0] / groups, w[1], w[2], w[3]}
                                      : memory::dims{w[0], w[1], w[2], w[3]};
    const dnnl::convolution_forward::primitive_desc desc(
        engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
        {{x[0], x[3], x[1], x[2]}, Type::s8, Tag::nhwc}, {dims, Type::s8, Tag::any},
        {{w[0]}, Type::f32, Tag::a}, {{y[0], y[3], y[1], y[2]}, Type::s8, Tag::nhwc},
        {strides[0], strides[1]}, {dilations[0] - 1, dilations[1] - 1}, {pads[0], pads[1]}, end,
        attributes(range, output_scale, grouped ? 3 : 1));
    finish(engine, desc, dnnl::convolution_forward(desc), spec,
           {dims, Type::s8, grouped ? Tag::goihw : Tag::oihw});
  }

  void make_dense(const dnnl::engine& engine, const StepSpec& spec, const Range& range,
                  float output_scale) {
    const Shape& w = spec.inputs[1]->shape;
    const int64_t rows = spec.inputs[0]->size() / w[1];
    const dnnl::matmul::primitive_desc desc(
        engine, {{rows, w[1]}, Type::s8, Tag::ab}, {{w[1], w[0]}, Type::s8, Tag::any},
        {{1, w[0]}, Type::f32, Tag::ab}, {{rows, w[0]}, Type::s8, Tag::ab},
        attributes(range, output_scale, 2));
    finish(engine, desc, dnnl::matmul(desc), spec, {{w[1], w[0]}, Type::s8, Tag::ba});
  }

  template <class T>
  memory constant(const dnnl::engine& engine, const memory::desc& desc, const T* values) {
    memory m(desc, engine);
    std::memcpy(m.get_data_handle(), values, desc.get_size());
    packed_bytes_ += desc.get_size();
    return m;
  }

  template <class Desc>
  void finish(const dnnl::engine& engine, const Desc& desc, dnnl::primitive primitive,
              const StepSpec& spec, const memory::desc& given) {
    if (!onednn_is_fast(desc)) throw dnnl::error(dnnl_unimplemented, "plain loops only");
    const memory::desc one({1}, Type::s32, Tag::a);
    const memory::desc scales({static_cast<int64_t>(multipliers_.size())}, Type::f32, Tag::a);
    const int32_t* input_zero = spec.inputs[0]->qparams->zero_point.data();
    const int32_t* output_zero = spec.outputs[0]->qparams->zero_point.data();
    std::vector<OnednnCall::Constant> constants;
    constants.emplace_back(
        DNNL_ARG_WEIGHTS,
        onednn_reorder(engine, given, spec.inputs[1]->constant.data(), desc.weights_desc()));
    packed_bytes_ += desc.weights_desc().get_size();
    constants.emplace_back(DNNL_ARG_BIAS, constant(engine, desc.bias_desc(), bias_.data()));
    constants.emplace_back(DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS,
                           constant(engine, scales, multipliers_.data()));
    constants.emplace_back(DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC,
                           constant(engine, one, input_zero));
    constants.emplace_back(DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST,
                           constant(engine, one, output_zero));
    std::vector<OnednnCall::Argument> changing{{DNNL_ARG_SRC, desc.src_desc()},
                                               {DNNL_ARG_DST, desc.dst_desc()},
                                               {DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc()}};
    scratch_bytes_ = desc.scratchpad_desc().get_size();
    kernel_ = std::string("onednn int8 ") + desc.impl_info_str();
    call_.emplace_back(engine, std::move(primitive), std::move(changing), std::move(constants));
  }

  std::vector<float> multipliers_, bias_;
  std::vector<OnednnCall> call_;  // one
  size_t scratch_bytes_ = 0, packed_bytes_ = 0;
  std::string kernel_;
};

}  // namespace

std::unique_ptr<Step> make_onednn_int8_step(const StepSpec& spec, const dnnl::engine& engine) {
  if (!sums_are_exact() || !supported(spec)) return nullptr;
  return std::make_unique<OnednnInt8Step>(engine, spec);
}

}  // namespace tersor::runtime

#endif
