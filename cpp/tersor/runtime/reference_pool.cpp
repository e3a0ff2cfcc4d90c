#include <algorithm>
#include <limits>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

struct PoolGeometry {
  SpatialView x, y;
  Window window;
  bool include_pad;
};

PoolGeometry geometry_of(const StepSpec& spec) {
  const bool include_pad =
      spec.op == Op::avg_pool && spec.attributes.integer("count_include_pad") != 0;
  return {spatial_view(spec, *spec.inputs.at(0)), spatial_view(spec, *spec.outputs.at(0)),
          window_of(spec, spec.attributes.integers("kernel")), include_pad};
}

// The part of one window inside the input, and how many positions an average divides by: those
// inside, or with count_include_pad those inside the padded input (ceil_mode windows may stick out
// of it).
struct Bounds {
  int64_t first[3], last[3];
  int64_t inside, count;
};

Bounds bounds_of(const PoolGeometry& g, const Shape& position) {
  Bounds bounds{};
  bounds.count = 1;
  bounds.inside = 1;
  for (int i = 0; i < 3; ++i) {
    const int64_t begin =
        position[static_cast<size_t>(i)] * g.window.stride[i] - g.window.pad_begin[i];
    const int64_t end = begin + g.window.kernel[i];
    bounds.first[i] = std::max<int64_t>(begin, 0);
    bounds.last[i] = std::min(end, g.x.size[i]);
    const int64_t inside = std::max<int64_t>(bounds.last[i] - bounds.first[i], 0);
    bounds.inside *= inside;
    bounds.count *=
        g.include_pad ? std::min(end, g.x.size[i] + g.window.pad_end[i]) - begin : inside;
  }
  return bounds;
}

// finish(accumulated, bounds) for every output value; accumulate(value so far, input value).
template <class T, class Sum, class Accumulate, class Finish>
void pool(const PoolGeometry& g, const T* x, T* y, Sum start, Accumulate accumulate,
          Finish finish) {
  for_each_index({g.y.batch, g.y.channels}, [&](const Shape& row) {
    for_each_index({g.y.size[0], g.y.size[1], g.y.size[2]}, [&](const Shape& p) {
      const Bounds b = bounds_of(g, p);
      Sum sum = start;
      for (int64_t d = b.first[0]; d < b.last[0]; ++d) {
        for (int64_t h = b.first[1]; h < b.last[1]; ++h) {
          for (int64_t w = b.first[2]; w < b.last[2]; ++w)
            sum = accumulate(sum, x[g.x.at(row[0], row[1], d, h, w)]);
        }
      }
      y[g.y.at(row[0], row[1], p[0], p[1], p[2])] = finish(sum, b);
    });
  });
}

template <class T>
std::unique_ptr<Step> make_max(const StepSpec& spec) {
  return reference_step(
      spec, [g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        const T lowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                              : std::numeric_limits<T>::lowest();
        pool(
            g, x.data<T>(buffers), static_cast<T*>(buffers.outputs[0]), lowest,
            [](T a, T b) { return a != a || a > b ? a : b; },  // NaN wins
            [](T best, const Bounds&) { return best; });
      });
}

std::unique_ptr<Step> make_float_average(const StepSpec& spec) {
  return reference_step(spec,
                        [g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
                          pool(
                              g, x.data<float>(buffers), static_cast<float*>(buffers.outputs[0]),
                              0.0, [](double sum, float v) { return sum + v; },
                              [](double sum, const Bounds& b) {
                                return static_cast<float>(sum / static_cast<double>(b.count));
                              });
                        });
}

// Codes are averaged as they are; padding counts as zero points.
std::unique_ptr<Step> make_code_average(const StepSpec& spec) {
  const int32_t zero_point = affine_of(spec, *spec.inputs[0]).zero_point;
  return reference_step(
      spec, [=, g = geometry_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        pool(
            g, x.data<int8_t>(buffers), static_cast<int8_t*>(buffers.outputs[0]), int32_t{0},
            [](int32_t sum, int8_t v) { return sum + v; },
            [&](int32_t sum, const Bounds& b) {
              const auto count = static_cast<int32_t>(std::max<int64_t>(b.count, 1));
              const int32_t total = sum + zero_point * static_cast<int32_t>(b.count - b.inside);
              return static_cast<int8_t>(quantization::c99::tersor_average(total, count));
            });
      });
}

}  // namespace

std::unique_ptr<Step> make_reference_pool_step(const StepSpec& spec) {
  const bool largest = spec.op == Op::max_pool;
  switch (values_of(spec, 1)) {
    case Values::float32:
      return largest ? make_max<float>(spec) : make_float_average(spec);
    case Values::int8:
      check_same_parameters(spec, 1);
      return largest ? make_max<int8_t>(spec) : make_code_average(spec);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
