#include <limits>
#include <vector>

#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

// Strides of the output by input dimension: 0 for the reduced ones. Kept dimensions stay in order, whether or
// not keepdims leaves ones behind.
struct Reduction {
  Shape shape;
  Shape output_strides;
  int64_t outputs = 1;
  int64_t count = 1;  // values per output
};

Reduction reduction_of(const StepSpec& spec) {
  Reduction r;
  r.shape = spec.inputs.at(0)->shape;
  std::vector<bool> reduced(r.shape.size(), false);
  for (int64_t axis : spec.attributes.integers("axes")) {
    reduced[static_cast<size_t>(normalize_axis(axis, r.shape.size(), graph::name_of(spec.op)))] = true;
  }
  r.output_strides.assign(r.shape.size(), 0);
  for (size_t i = r.shape.size(); i-- > 0;) {
    if (reduced[i]) {
      r.count *= r.shape[i];
    } else {
      r.output_strides[i] = r.outputs;
      r.outputs *= r.shape[i];
    }
  }
  return r;
}

// sums[output] accumulated in index order from `start`.
template <class Sum, class T, class Accumulate>
std::vector<Sum> reduce(const Reduction& r, const T* x, Sum start, Accumulate accumulate) {
  std::vector<Sum> sums(static_cast<size_t>(r.outputs), start);
  for_each_index(r.shape, [&](const Shape& index) {
    Sum& sum = sums[static_cast<size_t>(offset_of(index, r.output_strides))];
    sum = accumulate(sum, *x++);
  });
  return sums;
}

std::unique_ptr<Step> make_float_sum(const StepSpec& spec) {
  const bool mean = spec.op == Op::reduce_mean;
  return reference_step(spec, [mean, r = reduction_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
    auto* y = static_cast<float*>(buffers.outputs[0]);
    const double divisor = mean ? static_cast<double>(r.count) : 1.0;
    for (double sum : reduce(r, x.data<float>(buffers), 0.0, [](double a, float v) { return a + v; })) {
      *y++ = static_cast<float>(sum / divisor);
    }
  });
}

template <class T>
std::unique_ptr<Step> make_max(const StepSpec& spec) {
  return reference_step(spec, [r = reduction_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
    auto* y = static_cast<T*>(buffers.outputs[0]);
    const T lowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                          : std::numeric_limits<T>::lowest();
    const auto larger = [](T a, T v) { return a != a || a > v ? a : v; };  // NaN wins
    for (T best : reduce(r, x.data<T>(buffers), lowest, larger)) *y++ = best;
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_reduce_step(const StepSpec& spec) {
  const bool largest = spec.op == Op::reduce_max;
  switch (values_of(spec, 1)) {
    case Values::float32: return largest ? make_max<float>(spec) : make_float_sum(spec);
    default: refuse_types(spec);
  }
}

}  // namespace tersor::runtime
