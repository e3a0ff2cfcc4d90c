#include <algorithm>
#include <cmath>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/runtime/reference.h"
#include "tersor/runtime/strided_view.h"

namespace tersor::runtime {
namespace {

TensorView dense_view(const void* data, DType dtype, const Shape& shape) {
  return {const_cast<void*>(data), dtype, shape, row_major_strides(shape)};
}

TensorView shifted(TensorView view, int64_t elements) {
  view.data = static_cast<char*>(view.data) + elements * static_cast<int64_t>(size_of(view.dtype));
  return view;
}

std::unique_ptr<Step> make_view(const StepSpec& spec) {
  check_same_parameters(spec, 1);
  const PlanEdge& y = *spec.outputs[0];
  return reference_step(spec, [x = operand(spec, 0), view = view_of(spec), dtype = y.dtype,
                               shape = y.shape](const StepBuffers& buffers) {
    if (element_count(shape) == 0) return;
    const TensorView from{const_cast<void*>(x.bytes(buffers)), dtype, shape, view.strides};
    copy_strided(shifted(from, view.offset), dense_view(buffers.outputs[0], dtype, shape));
  });
}

std::unique_ptr<Step> make_concat(const StepSpec& spec) {
  check_same_parameters(spec, spec.inputs.size());
  const PlanEdge& y = *spec.outputs[0];
  const int axis = normalize_axis(spec.attributes.integer("axis"), y.shape.size(), "concat");
  return reference_step(spec, [axis, inputs = operands(spec), dtype = y.dtype,
                               strides = row_major_strides(y.shape)](const StepBuffers& buffers) {
    int64_t offset = 0;
    for (const Operand& x : inputs) {
      const TensorView to{buffers.outputs[0], dtype, x.edge.shape, strides};
      copy_strided(dense_view(x.bytes(buffers), dtype, x.edge.shape), shifted(to, offset));
      offset += x.edge.shape[static_cast<size_t>(axis)] * strides[static_cast<size_t>(axis)];
    }
  });
}

// The bytes of one padding value: its code on a quantized edge.
Tensor padding_value(const StepSpec& spec) {
  const PlanEdge& y = *spec.outputs[0];
  double value = spec.attributes.real("value");
  if (y.qparams) {
    const Affine affine = affine_of(spec, y);
    value = std::clamp<double>(
        std::nearbyint(value / static_cast<double>(affine.scale)) + affine.zero_point,
        y.qparams->code_min(), y.qparams->code_max());
  }
  return Tensor::from(DType::float64, {1}, &value).to(y.dtype);
}

// Input index that output index o reads (-1: the padding value) when `before` values were put in
// front.
int64_t padded_source(int64_t o, int64_t before, int64_t size, const std::string& mode) {
  const int64_t i = o - before;
  if (0 <= i && i < size) return i;
  if (mode == "constant") return -1;
  if (mode == "edge") return i < 0 ? 0 : size - 1;
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1);  // reflect: the ends are not repeated
  const int64_t phase = ((i % period) + period) % period;
  return phase < size ? phase : period - phase;
}

std::unique_ptr<Step> make_pad(const StepSpec& spec) {
  check_same_parameters(spec, 1);
  const std::string& mode = spec.attributes.text("mode");
  if (mode != "constant" && mode != "edge" && mode != "reflect") {
    refuse(spec, "mode must be constant, edge or reflect, got " + mode);
  }
  return reference_step(spec, [mode, x = operand(spec, 0), y_shape = spec.outputs[0]->shape,
                               before = spec.attributes.integers("pads"),
                               value = padding_value(spec)](const StepBuffers& buffers) {
    const size_t bytes = size_of(value.dtype());
    const Shape strides = row_major_strides(x.edge.shape);
    const auto* in = static_cast<const char*>(x.bytes(buffers));
    auto* out = static_cast<char*>(buffers.outputs[0]);
    for_each_index(y_shape, [&](const Shape& index) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t i = 0; i < index.size(); ++i) {
        const int64_t source = padded_source(index[i], before[i], x.edge.shape[i], mode);
        inside = inside && source >= 0;
        offset += source * strides[i];
      }
      std::memcpy(out,
                  inside ? in + offset * static_cast<int64_t>(bytes)
                         : static_cast<const char*>(value.data()),
                  bytes);
      out += bytes;
    });
  });
}

std::unique_ptr<Step> make_gather(const StepSpec& spec) {
  check_same_parameters(spec, 1);
  const DType index_type = spec.inputs.at(1)->dtype;
  if (index_type != DType::int64 && index_type != DType::int32) {
    refuse(spec, message("indices must be int32 or int64, got ", name_of(index_type)));
  }
  const Shape& shape = spec.inputs[0]->shape;
  const int axis = normalize_axis(spec.attributes.integer("axis"), shape.size(), "gather");
  const int64_t outer = element_count(Shape(shape.begin(), shape.begin() + axis));
  const int64_t size = shape[static_cast<size_t>(axis)];
  const int64_t row = element_count(Shape(shape.begin() + axis + 1, shape.end())) *
                      static_cast<int64_t>(size_of(spec.inputs[0]->dtype));
  return reference_step(spec, [=, name = spec.name, x = operand(spec, 0),
                               indices = operand(spec, 1)](const StepBuffers& buffers) {
    const auto* in = static_cast<const char*>(x.bytes(buffers));
    auto* out = static_cast<char*>(buffers.outputs[0]);
    const int64_t count = indices.edge.size();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < count; ++i, out += row) {
        const int64_t given = index_type == DType::int64 ? indices.data<int64_t>(buffers)[i]
                                                         : indices.data<int32_t>(buffers)[i];
        TERSOR_CHECK(-size <= given && given < size, "gather (", name, "): index must be in [",
                     -size, ", ", size, "), got ", given);
        std::memcpy(out, in + (o * size + (given < 0 ? given + size : given)) * row,
                    static_cast<size_t>(row));
      }
    }
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_move_step(const StepSpec& spec) {
  switch (spec.op) {
    case Op::concat:
      return make_concat(spec);
    case Op::pad:
      return make_pad(spec);
    case Op::gather:
      return make_gather(spec);
    default:
      return make_view(spec);
  }
}

}  // namespace tersor::runtime
