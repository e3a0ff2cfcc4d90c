#include <vector>

#include "tersor/runtime/reference.h"
#include "tersor/runtime/resize_taps.h"

namespace tersor::runtime {
namespace {

struct ResizeGeometry {
  SpatialView x, y;
  std::vector<std::vector<Tap>> taps[3];
};

ResizeGeometry geometry_of(const StepSpec& spec) {
  ResizeGeometry g{spatial_view(spec, *spec.inputs.at(0)), spatial_view(spec, *spec.outputs.at(0)), {}};
  for (int i = 0; i < 3; ++i) g.taps[i] = resize_taps(spec, g.x.size[i], g.y.size[i]);
  return g;
}

// finish(weighted sum of input values) for every output value.
template <class T, class Finish>
void resize(const ResizeGeometry& g, const T* x, T* y, Finish finish) {
  for_each_index({g.y.batch, g.y.channels, g.y.size[0], g.y.size[1], g.y.size[2]}, [&](const Shape& p) {
    double sum = 0;
    for (const Tap& d : g.taps[0][static_cast<size_t>(p[2])]) {
      for (const Tap& h : g.taps[1][static_cast<size_t>(p[3])]) {
        for (const Tap& w : g.taps[2][static_cast<size_t>(p[4])]) {
          sum += d.weight * h.weight * w.weight * x[g.x.at(p[0], p[1], d.index, h.index, w.index)];
        }
      }
    }
    y[g.y.at(p[0], p[1], p[2], p[3], p[4])] = finish(sum);
  });
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  return reference_step(spec, [g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
    resize(g, x.data<float>(buffers), static_cast<float*>(buffers.outputs[0]),
           [](double sum) { return static_cast<float>(sum); });
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_resize_step(const StepSpec& spec) {
  switch (values_of(spec, 1)) {
    case Values::float32: return make_float(spec);
    default: refuse_types(spec);
  }
}

}  // namespace tersor::runtime
