#include <algorithm>
#include <cmath>
#include <limits>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

std::unique_ptr<Step> make_batch_norm(const StepSpec& spec) {
  return reference_step(spec, [in = operands(spec), view = spatial_view(spec, *spec.inputs.at(0)),
                               epsilon =
                                   spec.attributes.real("epsilon")](const StepBuffers& buffers) {
    const auto* x = in[0].data<float>(buffers);
    const auto* scale = in[1].data<float>(buffers);
    const auto* bias = in[2].data<float>(buffers);
    const auto* mean = in[3].data<float>(buffers);
    const auto* variance = in[4].data<float>(buffers);
    auto* y = static_cast<float*>(buffers.outputs[0]);
    for_each_index(
        {view.batch, view.channels, view.size[0], view.size[1], view.size[2]}, [&](const Shape& p) {
          const int64_t at = view.at(p[0], p[1], p[2], p[3], p[4]);
          const int64_t c = p[1];
          const double factor = scale[c] / std::sqrt(static_cast<double>(variance[c]) + epsilon);
          y[at] = static_cast<float>((static_cast<double>(x[at]) - mean[c]) * factor + bias[c]);
        });
  });
}

// Normalises over the dimensions from `axis` on.
std::unique_ptr<Step> make_layer_norm(const StepSpec& spec) {
  const Shape& shape = spec.inputs.at(0)->shape;
  const int axis = normalize_axis(spec.attributes.integer("axis"), shape.size(), "layer_norm");
  const int64_t length = element_count(Shape(shape.begin() + axis, shape.end()));
  const int64_t rows = length ? spec.outputs[0]->size() / length : 0;
  return reference_step(
      spec, [=, x = operand(spec, 0), gamma = operand(spec, 1), beta = operand(spec, 2),
             epsilon = spec.attributes.real("epsilon")](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        const auto* scale = gamma.data<float>(buffers);
        const float* bias = beta.present() ? beta.data<float>(buffers) : nullptr;
        auto* out = static_cast<float*>(buffers.outputs[0]);
        for (int64_t row = 0; row < rows; ++row, in += length, out += length) {
          double sum = 0;
          for (int64_t i = 0; i < length; ++i) sum += in[i];
          const double mean = sum / static_cast<double>(length);
          double squares = 0;
          for (int64_t i = 0; i < length; ++i) squares += (in[i] - mean) * (in[i] - mean);
          const double factor = 1 / std::sqrt(squares / static_cast<double>(length) + epsilon);
          for (int64_t i = 0; i < length; ++i) {
            out[i] =
                static_cast<float>((in[i] - mean) * factor * scale[i] + (bias ? bias[i] : 0.0));
          }
        }
      });
}

// Lines along one axis: outer * inner of them, each `length` values `inner` apart.
struct Lines {
  int64_t outer = 1, length = 1, inner = 1;
};

Lines lines_of(const StepSpec& spec) {
  const Shape& shape = spec.inputs.at(0)->shape;
  const int axis =
      normalize_axis(spec.attributes.integer("axis"), shape.size(), graph::name_of(spec.op));
  Lines lines;
  for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
    (i < axis    ? lines.outer
     : i == axis ? lines.length
                 : lines.inner) *= shape[static_cast<size_t>(i)];
  }
  return lines;
}

// visit(offset of the first value) for every line.
template <class Visit>
void for_each_line(const Lines& lines, Visit visit) {
  for (int64_t o = 0; o < lines.outer; ++o) {
    for (int64_t i = 0; i < lines.inner; ++i) visit(o * lines.length * lines.inner + i);
  }
}

std::unique_ptr<Step> make_float_softmax(const StepSpec& spec) {
  const bool logarithm = spec.op == Op::log_softmax;
  return reference_step(spec, [logarithm, lines = lines_of(spec),
                               x = operand(spec, 0)](const StepBuffers& buffers) {
    const auto* in = x.data<float>(buffers);
    auto* out = static_cast<float*>(buffers.outputs[0]);
    for_each_line(lines, [&](int64_t first) {
      const int64_t end = first + lines.length * lines.inner;
      double largest = -std::numeric_limits<double>::infinity();
      for (int64_t i = first; i < end; i += lines.inner) largest = std::max<double>(largest, in[i]);
      double sum = 0;
      for (int64_t i = first; i < end; i += lines.inner) sum += std::exp(in[i] - largest);
      for (int64_t i = first; i < end; i += lines.inner) {
        const double shifted = in[i] - largest;
        out[i] = static_cast<float>(logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    });
  });
}

std::unique_ptr<Step> make_code_softmax(const StepSpec& spec) {
  const Affine y = affine_of(spec, *spec.outputs[0]);
  if (y.scale != 1.0f / 256 || y.zero_point != -128)
    refuse(spec, "output must have scale 1/256 and zero point -128");
  const auto table = quantization::softmax_table(affine_of(spec, *spec.inputs[0]).scale);
  return reference_step(
      spec, [=, lines = lines_of(spec), x = operand(spec, 0)](const StepBuffers& buffers) {
        const auto* in = x.data<int8_t>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        for_each_line(lines, [&](int64_t first) {
          quantization::c99::tersor_softmax(in + first, out + first, lines.length, lines.inner,
                                            table.data());
        });
      });
}

}  // namespace

std::unique_ptr<Step> make_reference_normalize_step(const StepSpec& spec) {
  const Values values = values_of(spec, spec.inputs.size());
  if (values == Values::int8 && spec.op == Op::softmax) return make_code_softmax(spec);
  if (values != Values::float32) refuse_types(spec);
  if (spec.op == Op::batch_norm) return make_batch_norm(spec);
  if (spec.op == Op::layer_norm) return make_layer_norm(spec);
  return make_float_softmax(spec);
}

}  // namespace tersor::runtime
