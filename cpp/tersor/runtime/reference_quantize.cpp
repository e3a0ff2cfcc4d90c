#include <cmath>
#include <limits>
#include <type_traits>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

// Calls visit(T{}) with a value of the element type.
template <class Visit>
void with_type(const StepSpec& spec, DType dtype, Visit visit) {
  switch (dtype) {
    case DType::float32:
      return visit(float{});
    case DType::float64:
      return visit(double{});
    case DType::int8:
      return visit(int8_t{});
    case DType::uint8:
      return visit(uint8_t{});
    case DType::int16:
      return visit(int16_t{});
    case DType::int32:
      return visit(int32_t{});
    case DType::int64:
      return visit(int64_t{});
    case DType::boolean:
      return visit(bool{});
    default:
      refuse(spec, std::string("dtype must not be ") + name_of(dtype));
  }
}

// Towards zero; beyond the range of an integer the nearest end, NaN gives 0; to boolean: v != 0.
template <class To, class From>
To convert(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (v != v) return 0;
    // The upper limit may not be representable: 2^63 as a float is the first value that does not
    // fit.
    if (v >= static_cast<From>(std::numeric_limits<To>::max()))
      return std::numeric_limits<To>::max();
    if (v <= static_cast<From>(std::numeric_limits<To>::min()))
      return std::numeric_limits<To>::min();
    return static_cast<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

std::unique_ptr<Step> make_cast(const StepSpec& spec) {
  std::unique_ptr<Step> step;
  const Operand x = operand(spec, 0);
  const int64_t size = spec.outputs[0]->size();
  with_type(spec, spec.inputs[0]->dtype, [&](auto from) {
    with_type(spec, spec.outputs[0]->dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      step = reference_step(spec, [x, size](const StepBuffers& buffers) {
        const auto* in = x.data<From>(buffers);
        auto* out = static_cast<To*>(buffers.outputs[0]);
        for (int64_t i = 0; i < size; ++i) out[i] = convert<To>(in[i]);
      });
    });
  });
  return step;
}

// Which scale belongs to a flat index: index / inner % count.
struct Channels {
  int64_t inner = 1, count = 1;
  size_t operator()(int64_t i) const { return static_cast<size_t>(i / inner % count); }
};

Channels channels_of(const StepSpec& spec, const PlanEdge& edge) {
  const QParams& q = *edge.qparams;
  Channels channels{1, static_cast<int64_t>(q.scale.size())};
  if (q.group_size) refuse(spec, "groups are for weights only");
  if (q.per_tensor()) return channels;
  for (size_t i = static_cast<size_t>(q.axis) + 1; i < edge.shape.size(); ++i)
    channels.inner *= edge.shape[i];
  return channels;
}

template <class Code>
std::unique_ptr<Step> make_quantize(const StepSpec& spec) {
  const PlanEdge& y = *spec.outputs[0];
  return reference_step(
      spec,
      [x = operand(spec, 0), q = *y.qparams, channels = channels_of(spec, y),
       away = spec.attributes.text("ties") == "away", size = y.size()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<Code*>(buffers.outputs[0]);
        for (int64_t i = 0; i < size; ++i) {
          const size_t c = channels(i);
          const float ratio = in[i] / q.scale[c];
          const double rounded = away ? std::round(ratio) : std::nearbyint(ratio);
          const double code = rounded + static_cast<double>(q.zero_point[c]);
          const double valid = code != code ? q.zero_point[c] : code;  // NaN
          out[i] = static_cast<Code>(clamp_to(
              {static_cast<double>(q.code_min()), static_cast<double>(q.code_max())}, valid));
        }
      });
}

template <class Code>
std::unique_ptr<Step> make_dequantize(const StepSpec& spec) {
  const PlanEdge& x = *spec.inputs[0];
  return reference_step(spec,
                        [in = operand(spec, 0), q = *x.qparams, channels = channels_of(spec, x),
                         size = x.size()](const StepBuffers& buffers) {
                          const auto* codes = in.data<Code>(buffers);
                          auto* out = static_cast<float*>(buffers.outputs[0]);
                          for (int64_t i = 0; i < size; ++i) {
                            const size_t c = channels(i);
                            out[i] = static_cast<float>(codes[i] - q.zero_point[c]) * q.scale[c];
                          }
                        });
}

template <class Code>
std::unique_ptr<Step> make_requantize(const StepSpec& spec) {
  const Affine x = affine_of(spec, *spec.inputs[0]);
  const Affine y = affine_of(spec, *spec.outputs[0]);
  const QParams& output = *spec.outputs[0]->qparams;
  const auto requantizer =
      quantization::requantizer(quantization::requantize_multiplier(x.scale, 1, y.scale), output,
                                quantization::activation_codes("none", output));
  return reference_step(
      spec, [=, in = operand(spec, 0), size = spec.outputs[0]->size()](const StepBuffers& buffers) {
        const auto* codes = in.data<Code>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        for (int64_t i = 0; i < size; ++i) {
          out[i] = static_cast<int8_t>(requantizer.exact(codes[i] - x.zero_point));
        }
      });
}

}  // namespace

std::unique_ptr<Step> make_reference_quantize_step(const StepSpec& spec) {
  const PlanEdge& x = *spec.inputs.at(0);
  const PlanEdge& y = *spec.outputs.at(0);
  if (spec.op == Op::cast) return make_cast(spec);
  if (spec.op == Op::quantize && x.dtype == DType::float32 && y.qparams) {
    if (y.dtype == DType::int8) return make_quantize<int8_t>(spec);
    if (y.dtype == DType::uint8) return make_quantize<uint8_t>(spec);
  }
  if (spec.op == Op::dequantize && y.dtype == DType::float32 && x.qparams) {
    if (x.dtype == DType::int8) return make_dequantize<int8_t>(spec);
    if (x.dtype == DType::uint8) return make_dequantize<uint8_t>(spec);
    if (x.dtype == DType::int32) return make_dequantize<int32_t>(spec);
  }
  if (spec.op == Op::requantize && y.dtype == DType::int8 && x.qparams && y.qparams) {
    if (x.dtype == DType::int8) return make_requantize<int8_t>(spec);
    if (x.dtype == DType::uint8) return make_requantize<uint8_t>(spec);
  }
  refuse_types(spec);
}

}  // namespace tersor::runtime
