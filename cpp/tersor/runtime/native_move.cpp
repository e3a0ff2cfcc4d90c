// Operators that only move values: concat, slice, pad with a constant, reshape, transpose, expand,
// identity, resize (to the nearest pixel, and float32 interpolation).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tersor/runtime/function_step.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"
#include "tersor/runtime/resize_taps.h"
#include "tersor/runtime/strided_copy.h"
#include "tersor/runtime/strided_view.h"

namespace tersor::runtime {
namespace {

int64_t width_of(const PlanEdge& edge) { return static_cast<int64_t>(size_of(edge.dtype)); }

std::unique_ptr<Step> make_view(const StepSpec& spec) {
  check_same_parameters(spec, 1);
  const PlanEdge& y = *spec.outputs[0];
  const StridedView view = view_of(spec);
  const StridedCopy copy(y.shape, view.strides, row_major_strides(y.shape), size_of(y.dtype));
  return std::make_unique<FunctionStep>(
      "native copy",
      [copy, x = operand(spec, 0), offset = view.offset * width_of(y)](const StepBuffers& buffers) {
        copy.run(static_cast<const char*>(x.bytes(buffers)) + offset, buffers.outputs[0]);
      });
}

std::unique_ptr<Step> make_concat(const StepSpec& spec) {
  check_same_parameters(spec, spec.inputs.size());
  const PlanEdge& y = *spec.outputs[0];
  const auto axis = static_cast<size_t>(
      normalize_axis(spec.attributes.integer("axis"), y.shape.size(), "concat"));
  const int64_t inner =
      element_count(Shape(y.shape.begin() + static_cast<ptrdiff_t>(axis) + 1, y.shape.end())) *
      width_of(y);
  const int64_t outer =
      element_count(Shape(y.shape.begin(), y.shape.begin() + static_cast<ptrdiff_t>(axis)));
  return std::make_unique<FunctionStep>(
      "native copy", [inputs = operands(spec), axis, inner, outer,
                      row = y.shape[axis] * inner](const StepBuffers& buffers) {
        auto* out = static_cast<char*>(buffers.outputs[0]);
        for (const Operand& x : inputs) {
          const auto* in = static_cast<const char*>(x.bytes(buffers));
          const int64_t run = x.edge.shape[axis] * inner;
          for (int64_t o = 0; o < outer; ++o) {
            std::memcpy(out + o * row, in + o * run, static_cast<size_t>(run));
          }
          out += run;
        }
      });
}

// Fills the output, then copies the part of the input that stays (negative pads cut).
std::unique_ptr<Step> make_pad(const StepSpec& spec) {
  if (spec.attributes.text("mode") != "constant") return nullptr;
  const PlanEdge &x = *spec.inputs[0], &y = *spec.outputs[0];
  if (y.dtype != DType::float32 && y.dtype != DType::int8) return nullptr;
  check_same_parameters(spec, 1);
  const double value = spec.attributes.real("value");
  const auto real = static_cast<float>(value);
  int code = 0;
  if (y.dtype == DType::int8) {
    if (!y.qparams) return nullptr;
    const Affine affine = affine_of(spec, y);
    code = static_cast<int>(std::clamp<double>(
        std::nearbyint(value / static_cast<double>(affine.scale)) + affine.zero_point,
        y.qparams->code_min(), y.qparams->code_max()));
  }
  const Shape from = row_major_strides(x.shape), to = row_major_strides(y.shape);
  const auto& pads = spec.attributes.integers("pads");
  Shape sizes;
  int64_t from_offset = 0, to_offset = 0;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const int64_t before = pads[i];
    const int64_t first = std::max<int64_t>(0, -before);
    const int64_t last = std::min(x.shape[i], y.shape[i] - before);
    sizes.push_back(std::max<int64_t>(0, last - first));
    from_offset += first * from[i];
    to_offset += (first + before) * to[i];
  }
  const StridedCopy copy(sizes, from, to, size_of(y.dtype));
  const bool codes = y.dtype == DType::int8;
  return std::make_unique<FunctionStep>(
      "native pad",
      [=, in = operand(spec, 0), size = y.size(), width = width_of(y)](const StepBuffers& buffers) {
        if (codes) {
          std::memset(buffers.outputs[0], code, static_cast<size_t>(size));
        } else {
          std::fill_n(static_cast<float*>(buffers.outputs[0]), size, real);
        }
        if (copy.elements() == 0) return;
        copy.run(static_cast<const char*>(in.bytes(buffers)) + from_offset * width,
                 static_cast<char*>(buffers.outputs[0]) + to_offset * width);
      });
}

// Input pixel of every output pixel along one dimension, as byte offsets.
std::vector<int64_t> nearest_offsets(const StepSpec& spec, int64_t in, int64_t out,
                                     int64_t stride) {
  std::vector<int64_t> offsets;
  for (const auto& taps : resize_taps(spec, in, out))
    offsets.push_back(taps.front().index * stride);
  return offsets;
}

std::unique_ptr<Step> make_linear_resize(const StepSpec& spec) {
  const SpatialView xv = spatial_view(spec, *spec.inputs[0]),
                    yv = spatial_view(spec, *spec.outputs[0]);
  std::vector<std::vector<ResizeTap>> taps[3];
  for (int i = 0; i < 3; ++i) taps[i] = resize_taps(spec, xv.size[i], yv.size[i]);
  return std::make_unique<FunctionStep>(
      native_kernel_name(blend_pixels_float32_table),
      [=, in = operand(spec, 0),
       blend = blend_pixels_float32_table.pick()](const StepBuffers& buffers) {
        const auto* image = in.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        const int64_t lines = yv.batch * yv.size[0] * yv.size[1];
        const int64_t line = yv.size[2] * yv.channels;
        split(buffers.threads, lines, kElementGrain / std::max<int64_t>(line, 1) + 1,
              [&](int64_t begin, int64_t end) {
                for (int64_t l = begin; l < end; ++l) {
                  const float* source = image + l / yv.size[1] / yv.size[0] * xv.batch_stride;
                  float* y = out + l * line;
                  for (int64_t ow = 0; ow < yv.size[2]; ++ow, y += yv.channels) {
                    const float* rows[8];
                    float weights[8];
                    size_t count = 0;
                    for (const ResizeTap& d :
                         taps[0][static_cast<size_t>(l / yv.size[1] % yv.size[0])]) {
                      for (const ResizeTap& h : taps[1][static_cast<size_t>(l % yv.size[1])]) {
                        for (const ResizeTap& w : taps[2][static_cast<size_t>(ow)]) {
                          rows[count] = source + xv.at(0, 0, d.index, h.index, w.index);
                          weights[count++] = static_cast<float>(d.weight * h.weight * w.weight);
                        }
                      }
                    }
                    blend(rows, weights, count, static_cast<size_t>(yv.channels), y);
                  }
                }
              });
      });
}

std::unique_ptr<Step> make_resize(const StepSpec& spec) {
  const PlanEdge &x = *spec.inputs[0], &y = *spec.outputs[0];
  if (y.layout != Layout::channels_last) return nullptr;
  if (spec.attributes.text("mode") == "linear") {
    return values_of(spec, 1) == Values::float32 ? make_linear_resize(spec) : nullptr;
  }
  check_same_parameters(spec, 1);
  const SpatialView xv = spatial_view(spec, x), yv = spatial_view(spec, y);
  const int64_t width = width_of(y);
  std::vector<int64_t> offsets[3];
  for (int i = 0; i < 3; ++i)
    offsets[i] = nearest_offsets(spec, xv.size[i], yv.size[i], xv.stride[i] * width);
  return std::make_unique<FunctionStep>(
      "native copy", [=, in = operand(spec, 0)](const StepBuffers& buffers) {
        const auto* image = static_cast<const char*>(in.bytes(buffers));
        auto* out = static_cast<char*>(buffers.outputs[0]);
        const auto run = static_cast<size_t>(yv.channels * width);
        for (int64_t n = 0; n < yv.batch; ++n, image += xv.batch_stride * width) {
          for (int64_t d : offsets[0]) {
            for (int64_t h : offsets[1]) {
              for (int64_t w : offsets[2]) {
                std::memcpy(out, image + d + h + w, run);
                out += run;
              }
            }
          }
        }
      });
}

}  // namespace

std::unique_ptr<Step> make_native_move_step(const StepSpec& spec) {
  switch (spec.op) {
    case Op::concat:
      return make_concat(spec);
    case Op::pad:
      return make_pad(spec);
    case Op::resize:
      return make_resize(spec);
    case Op::slice:
    case Op::reshape:
    case Op::transpose:
    case Op::expand:
    case Op::identity:
      return make_view(spec);
    default:
      return nullptr;
  }
}

}  // namespace tersor::runtime
