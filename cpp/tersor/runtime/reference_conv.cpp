#include "tersor/runtime/reference.h"
#include "tersor/runtime/reference_epilogue.h"

namespace tersor::runtime {
namespace {

struct ConvGeometry {
  SpatialView x, y;
  Window window;
  bool transposed;
  int64_t in_per_group, out_per_group;

  // The input position that weight k meets at output position o, if there is one.
  bool source(int dimension, int64_t o, int64_t k, int64_t* i) const {
    const int64_t offset = k * window.dilation[dimension] - window.pad_begin[dimension];
    if (transposed) {
      const int64_t scaled = o - offset;
      if (scaled < 0 || scaled % window.stride[dimension] != 0) return false;
      *i = scaled / window.stride[dimension];
    } else {
      *i = o * window.stride[dimension] + offset;
    }
    return 0 <= *i && *i < x.size[dimension];
  }

  // conv: weights[O, C / groups, kernel], conv_transpose: [C, O / groups, kernel].
  int64_t weight_at(int64_t out_channel, int64_t channel, int64_t kd, int64_t kh,
                    int64_t kw) const {
    const int64_t group = out_channel / out_per_group;
    const int64_t row =
        transposed ? (group * in_per_group + channel) * out_per_group + out_channel % out_per_group
                   : out_channel * in_per_group + channel;
    return ((row * window.kernel[0] + kd) * window.kernel[1] + kh) * window.kernel[2] + kw;
  }
};

ConvGeometry geometry_of(const StepSpec& spec) {
  const Shape& weights = spec.inputs.at(1)->shape;
  const int64_t groups = spec.attributes.integer("groups");
  const SpatialView x = spatial_view(spec, *spec.inputs[0]);
  const SpatialView y = spatial_view(spec, *spec.outputs[0]);
  return {x,
          y,
          window_of(spec, Shape(weights.begin() + 2, weights.end())),
          spec.op == Op::conv_transpose,
          x.channels / groups,
          y.channels / groups};
}

// finish(sum of product(x offset, weight offset), output channel, output offset) for every output
// value.
template <class Sum, class Product, class Finish>
void convolve(const ConvGeometry& g, Product product, Finish finish) {
  const auto sum_at = [&](int64_t n, int64_t o, const int64_t* position) {
    Sum sum = 0;
    const int64_t first_channel = o / g.out_per_group * g.in_per_group;
    for (int64_t kd = 0; kd < g.window.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < g.window.kernel[1]; ++kh) {
        for (int64_t kw = 0; kw < g.window.kernel[2]; ++kw) {
          int64_t d, h, w;
          if (!g.source(0, position[0], kd, &d) || !g.source(1, position[1], kh, &h) ||
              !g.source(2, position[2], kw, &w)) {
            continue;
          }
          for (int64_t c = 0; c < g.in_per_group; ++c) {
            sum += product(g.x.at(n, first_channel + c, d, h, w), g.weight_at(o, c, kd, kh, kw));
          }
        }
      }
    }
    return sum;
  };
  for (int64_t n = 0; n < g.y.batch; ++n) {
    for (int64_t o = 0; o < g.y.channels; ++o) {
      for_each_index({g.y.size[0], g.y.size[1], g.y.size[2]}, [&](const Shape& p) {
        finish(sum_at(n, o, p.data()), o, g.y.at(n, o, p[0], p[1], p[2]));
      });
    }
  }
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  return reference_step(
      spec, [in = affine_operands(spec), g = geometry_of(spec), epilogue = FloatEpilogue(spec),
             bfloat = spec.options.precision == Precision::bfloat16](const StepBuffers& buffers) {
        const auto* x = in.x.data<float>(buffers);
        const auto* weights = in.weights.data<float>(buffers);
        const float* bias = in.bias.present() ? in.bias.data<float>(buffers) : nullptr;
        const float* residual = in.residual.present() ? in.residual.data<float>(buffers) : nullptr;
        auto* y = static_cast<float*>(buffers.outputs[0]);
        const auto finish = [&](double sum, int64_t o, int64_t at) {
          y[at] = epilogue(sum, bias, o, residual, at);
        };
        if (bfloat) {
          convolve<double>(
              g,
              [&](int64_t i, int64_t k) {
                return static_cast<double>(round_to_bfloat16(x[i])) * round_to_bfloat16(weights[k]);
              },
              finish);
        } else {
          convolve<double>(
              g, [&](int64_t i, int64_t k) { return static_cast<double>(x[i]) * weights[k]; },
              finish);
        }
      });
}

std::unique_ptr<Step> make_codes(const StepSpec& spec) {
  const AffineOperands in = affine_operands(spec);
  check_code_operands(spec, in);
  const int32_t zero_point = affine_of(spec, in.x.edge).zero_point;
  return reference_step(spec, [=, g = geometry_of(spec),
                               epilogue = CodeEpilogue(spec)](const StepBuffers& buffers) {
    const auto* x = in.x.data<int8_t>(buffers);
    const auto* weights = in.weights.data<int8_t>(buffers);
    const int32_t* bias = in.bias.present() ? in.bias.data<int32_t>(buffers) : nullptr;
    const int8_t* residual = in.residual.present() ? in.residual.data<int8_t>(buffers) : nullptr;
    auto* y = static_cast<int8_t*>(buffers.outputs[0]);
    convolve<int32_t>(
        g, [&](int64_t i, int64_t k) { return (x[i] - zero_point) * weights[k]; },
        [&](int32_t sum, int64_t o, int64_t at) { y[at] = epilogue(sum, bias, o, residual, at); });
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_conv_step(const StepSpec& spec) {
  switch (values_of(spec, 2)) {
    case Values::float32:
      return make_float(spec);
    case Values::int8:
      return make_codes(spec);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
