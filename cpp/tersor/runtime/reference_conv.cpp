#include "tersor/runtime/reference_sums.h"

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

  template <class Sum, class Product>
  Sum sum_at(int64_t n, int64_t o, const Shape& position, Product product) const {
    Sum sum = 0;
    const int64_t first_channel = o / out_per_group * in_per_group;
    for (int64_t kd = 0; kd < window.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < window.kernel[1]; ++kh) {
        for (int64_t kw = 0; kw < window.kernel[2]; ++kw) {
          int64_t d, h, w;
          if (!source(0, position[0], kd, &d) || !source(1, position[1], kh, &h) ||
              !source(2, position[2], kw, &w)) {
            continue;
          }
          for (int64_t c = 0; c < in_per_group; ++c) {
            sum += product(x.at(n, first_channel + c, d, h, w), weight_at(o, c, kd, kh, kw));
          }
        }
      }
    }
    return sum;
  }

  template <class Sum, class Product, class Finish>
  void for_each_sum(Product product, Finish finish) const {
    for (int64_t n = 0; n < y.batch; ++n) {
      for (int64_t o = 0; o < y.channels; ++o) {
        for_each_index({y.size[0], y.size[1], y.size[2]}, [&](const Shape& p) {
          finish(sum_at<Sum>(n, o, p, product), o, y.at(n, o, p[0], p[1], p[2]));
        });
      }
    }
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

}  // namespace

std::unique_ptr<Step> make_reference_conv_step(const StepSpec& spec) {
  return make_sums(spec, geometry_of(spec));
}

}  // namespace tersor::runtime
