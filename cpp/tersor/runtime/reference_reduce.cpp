#include <limits>
#include <vector>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

// Strides of the output by input dimension: 0 for the reduced ones. Kept dimensions stay in order,
// whether or not keepdims leaves ones behind.
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
    reduced[static_cast<size_t>(normalize_axis(axis, r.shape.size(), graph::name_of(spec.op)))] =
        true;
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
  return reference_step(
      spec, [mean, r = reduction_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        auto* y = static_cast<float*>(buffers.outputs[0]);
        const double divisor = mean ? static_cast<double>(r.count) : 1.0;
        for (double sum :
             reduce(r, x.data<float>(buffers), 0.0, [](double a, float v) { return a + v; })) {
          *y++ = static_cast<float>(sum / divisor);
        }
      });
}

template <class T>
std::unique_ptr<Step> make_max(const StepSpec& spec) {
  return reference_step(
      spec, [r = reduction_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        auto* y = static_cast<T*>(buffers.outputs[0]);
        const T lowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                              : std::numeric_limits<T>::lowest();
        const auto larger = [](T a, T v) { return a != a || a > v ? a : v; };  // NaN wins
        for (T best : reduce(r, x.data<T>(buffers), lowest, larger)) *y++ = best;
      });
}

std::unique_ptr<Step> make_code_mean(const StepSpec& spec) {
  const Reduction r = reduction_of(spec);
  const auto offset = static_cast<int32_t>(r.count) * affine_of(spec, *spec.inputs[0]).zero_point;
  affine_of(spec, *spec.outputs[0]);
  const auto requantizer =
      quantization::mean_requantizer(*spec.inputs[0]->qparams, *spec.outputs[0]->qparams, r.count);
  const bool exact = spec.options.arithmetic == Arithmetic::exact || requantizer.often_ties();
  return reference_step(spec, [=, x = operand(spec, 0)](const StepBuffers& buffers) {
    auto* y = static_cast<int8_t*>(buffers.outputs[0]);
    for (int32_t sum : reduce(r, x.data<int8_t>(buffers), int32_t{0},
                              [](int32_t a, int8_t v) { return a + v; })) {
      *y++ = static_cast<int8_t>(exact ? requantizer.exact(sum - offset)
                                       : requantizer.fast(sum - offset));
    }
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_reduce_step(const StepSpec& spec) {
  const bool largest = spec.op == Op::reduce_max;
  switch (values_of(spec, 1)) {
    case Values::float32:
      return largest ? make_max<float>(spec) : make_float_sum(spec);
    case Values::int8:
      if (spec.op == Op::reduce_mean) return make_code_mean(spec);
      if (!largest) refuse_types(spec);
      check_same_parameters(spec, 1);
      return make_max<int8_t>(spec);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
