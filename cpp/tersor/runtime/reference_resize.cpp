#include <algorithm>
#include <vector>

#include "tersor/runtime/reference.h"
#include "tersor/runtime/resize_taps.h"

namespace tersor::runtime {
namespace {

struct ResizeGeometry {
  SpatialView x, y;
  std::vector<std::vector<ResizeTap>> taps[3];
};

ResizeGeometry geometry_of(const StepSpec& spec) {
  ResizeGeometry g{
      spatial_view(spec, *spec.inputs.at(0)), spatial_view(spec, *spec.outputs.at(0)), {}};
  for (int i = 0; i < 3; ++i) g.taps[i] = resize_taps(spec, g.x.size[i], g.y.size[i]);
  return g;
}

// finish(weighted sum of input values) for every output value.
template <class T, class Finish>
void resize(const ResizeGeometry& g, const T* x, T* y, Finish finish) {
  for_each_index(
      {g.y.batch, g.y.channels, g.y.size[0], g.y.size[1], g.y.size[2]}, [&](const Shape& p) {
        double sum = 0;
        for (const ResizeTap& d : g.taps[0][static_cast<size_t>(p[2])]) {
          for (const ResizeTap& h : g.taps[1][static_cast<size_t>(p[3])]) {
            for (const ResizeTap& w : g.taps[2][static_cast<size_t>(p[4])]) {
              sum +=
                  d.weight * h.weight * w.weight * x[g.x.at(p[0], p[1], d.index, h.index, w.index)];
            }
          }
        }
        y[g.y.at(p[0], p[1], p[2], p[3], p[4])] = finish(sum);
      });
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  return reference_step(spec,
                        [g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
                          resize(g, x.data<float>(buffers), static_cast<float*>(buffers.outputs[0]),
                                 [](double sum) { return static_cast<float>(sum); });
                        });
}

// In both arithmetics: a doubled size makes every fourth sum a tie, which floats round otherwise.
bool in_fixed_point(const StepSpec& spec) {
  if (spec.attributes.text("mode") != "linear") return false;
  return spec.options.arithmetic == Arithmetic::exact ||
         spatial_view(spec, *spec.inputs[0]).size[0] ==
             spatial_view(spec, *spec.outputs[0]).size[0];
}

// Two taps in 10-bit fixed point, as TFLite's integer bilinear kernel.
struct FixedTaps {
  int64_t index[2];
  int64_t weight[2];  // sum 1024
};

std::vector<FixedTaps> fixed_taps(const StepSpec& spec, int64_t in, int64_t out) {
  const std::string& coordinates = spec.attributes.text("coordinates");
  const bool corners = coordinates == "align_corners" && out > 1;
  const bool half = coordinates == "half_pixel" || (coordinates == "pytorch_half_pixel" && out > 1);
  const int64_t ratio =
      corners ? (1024 * (in - 1) + (out - 1) / 2) / (out - 1) : (1024 * in + out / 2) / out;
  std::vector<FixedTaps> taps;
  for (int64_t o = 0; o < out; ++o) {
    const int64_t x = half ? o * ratio + ratio / 2 - 512 : o * ratio;
    const int64_t below = std::clamp<int64_t>(x / 1024, 0, in - 1);
    const int64_t above = std::min((x + 1023) / 1024, in - 1);
    const int64_t fraction = x - 1024 * below;
    taps.push_back({{below, above}, {1024 - fraction, fraction}});
  }
  return taps;
}

std::unique_ptr<Step> make_fixed_point(const StepSpec& spec) {
  const SpatialView x = spatial_view(spec, *spec.inputs[0]);
  const SpatialView y = spatial_view(spec, *spec.outputs[0]);
  if (x.size[0] != y.size[0])
    refuse(spec, "exact arithmetic has linear resize in at most two dimensions");
  return reference_step(spec, [=, rows = fixed_taps(spec, x.size[1], y.size[1]),
                               columns = fixed_taps(spec, x.size[2], y.size[2]),
                               in = operand(spec, 0)](const StepBuffers& buffers) {
    const auto* codes = in.data<int8_t>(buffers);
    auto* out = static_cast<int8_t*>(buffers.outputs[0]);
    for_each_index({y.batch, y.channels, y.size[0], y.size[1], y.size[2]}, [&](const Shape& p) {
      const FixedTaps& h = rows[static_cast<size_t>(p[3])];
      const FixedTaps& w = columns[static_cast<size_t>(p[4])];
      int64_t sum = 0;
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          sum += h.weight[i] * w.weight[j] * codes[x.at(p[0], p[1], p[2], h.index[i], w.index[j])];
        }
      }
      const int64_t half = sum > 0 ? 1 << 19 : -(1 << 19);
      out[y.at(p[0], p[1], p[2], p[3], p[4])] = static_cast<int8_t>((sum + half) / (1 << 20));
    });
  });
}

std::unique_ptr<Step> make_codes(const StepSpec& spec) {
  return reference_step(
      spec, [g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        resize(g, x.data<int8_t>(buffers), static_cast<int8_t*>(buffers.outputs[0]),
               [](double sum) { return static_cast<int8_t>(__builtin_rint(sum)); });
      });
}

}  // namespace

std::unique_ptr<Step> make_reference_resize_step(const StepSpec& spec) {
  switch (values_of(spec, 1)) {
    case Values::float32:
      return make_float(spec);
    case Values::int8:
      check_same_parameters(spec, 1);
      return in_fixed_point(spec) ? make_fixed_point(spec) : make_codes(spec);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
