// softmax, log_softmax and layer_norm over the last axis; reductions over adjacent axes.
#include "tersor/runtime/function_step.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"

namespace tersor::runtime {
namespace {

// fn(row, rows) for pieces of `rows` rows of n elements.
template <class F>
void split_rows(int threads, int64_t rows, int64_t n, F fn) {
  split(threads, rows, kElementGrain / std::max<int64_t>(n, 1) + 1,
        [&](int64_t begin, int64_t end) { fn(begin, static_cast<size_t>(end - begin)); });
}

std::unique_ptr<Step> make_softmax(const StepSpec& spec) {
  const Shape& shape = spec.inputs[0]->shape;
  const int axis =
      normalize_axis(spec.attributes.integer("axis"), shape.size(), graph::name_of(spec.op));
  const int64_t n = shape[static_cast<size_t>(axis)];
  const int64_t size = spec.outputs[0]->size();
  if (n == 0 || element_count(Shape(shape.begin() + axis + 1, shape.end())) != 1) return nullptr;
  return std::make_unique<FunctionStep>(
      native_kernel_name(softmax_float32_table),
      [x = operand(spec, 0), n, rows = size / n, logarithm = spec.op == Op::log_softmax,
       kernel = softmax_float32_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        split_rows(buffers.threads, rows, n, [&](int64_t row, size_t count) {
          kernel(in + row * n, out + row * n, count, static_cast<size_t>(n), logarithm);
        });
      },
      true);
}

std::unique_ptr<Step> make_layer_norm(const StepSpec& spec) {
  const Shape& shape = spec.inputs[0]->shape;
  const int axis = normalize_axis(spec.attributes.integer("axis"), shape.size(), "layer_norm");
  const int64_t n = element_count(Shape(shape.begin() + axis, shape.end()));
  if (n == 0) return nullptr;
  return std::make_unique<FunctionStep>(
      native_kernel_name(layer_norm_float32_table),
      [x = operand(spec, 0), gamma = operand(spec, 1), beta = operand(spec, 2), n,
       rows = spec.outputs[0]->size() / n,
       epsilon = static_cast<float>(spec.attributes.real("epsilon")),
       kernel = layer_norm_float32_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        split_rows(buffers.threads, rows, n, [&](int64_t row, size_t count) {
          kernel(in + row * n, out + row * n, count, static_cast<size_t>(n),
                 gamma.data<float>(buffers), beta.present() ? beta.data<float>(buffers) : nullptr,
                 epsilon);
        });
      },
      true);
}

// The reduced axes as one: outer x length x inner. False when others lie between them.
struct Reduction {
  int64_t outer = 1, length = 1, inner = 1;
};

bool reduction_of(const StepSpec& spec, Reduction* r) {
  const Shape& shape = spec.inputs[0]->shape;
  std::vector<bool> reduced(shape.size(), false);
  for (int64_t axis : spec.attributes.integers("axes")) {
    reduced[static_cast<size_t>(normalize_axis(axis, shape.size(), graph::name_of(spec.op)))] =
        true;
  }
  int stage = 0;  // before, inside, after
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (reduced[i]) {
      if (stage == 2) return false;
      stage = 1;
      r->length *= shape[i];
    } else {
      if (stage == 1) stage = 2;
      (stage == 0 ? r->outer : r->inner) *= shape[i];
    }
  }
  return r->length > 0;
}

std::unique_ptr<Step> make_float_sum(const StepSpec& spec, const Reduction& r) {
  const float factor = spec.op == Op::reduce_mean ? 1.0f / static_cast<float>(r.length) : 1.0f;
  const Operand x = operand(spec, 0);
  if (r.inner == 1) {
    return std::make_unique<FunctionStep>(
        native_kernel_name(sum_rows_float32_table),
        [=, kernel = sum_rows_float32_table.pick()](const StepBuffers& buffers) {
          const auto* in = x.data<float>(buffers);
          auto* out = static_cast<float*>(buffers.outputs[0]);
          split_rows(buffers.threads, r.outer, r.length, [&](int64_t row, size_t count) {
            kernel(in + row * r.length, out + row, count, static_cast<size_t>(r.length), factor);
          });
        });
  }
  return std::make_unique<FunctionStep>(
      native_kernel_name(sum_columns_float32_table),
      [=, kernel = sum_columns_float32_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        split_rows(buffers.threads, r.outer, r.length * r.inner, [&](int64_t row, size_t count) {
          for (int64_t o = row; o < row + static_cast<int64_t>(count); ++o) {
            kernel(in + o * r.length * r.inner, out + o * r.inner, static_cast<size_t>(r.length),
                   static_cast<size_t>(r.inner), factor);
          }
        });
      });
}

// A window of one row of `length` pixels of `inner` channels.
template <class T, class Kernel>
std::unique_ptr<Step> make_max(const StepSpec& spec, const Reduction& r,
                               const KernelTable<Kernel>& table) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(table),
      [r, x = operand(spec, 0), kernel = table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<T>(buffers);
        auto* out = static_cast<T*>(buffers.outputs[0]);
        for (int64_t o = 0; o < r.outer; ++o) {
          kernel(in + o * r.length * r.inner, 0, r.inner, 1, static_cast<size_t>(r.length),
                 static_cast<size_t>(r.inner), out + o * r.inner);
        }
      });
}

// Sum of n contiguous codes, as a window of n / 64 pixels of 64 channels and the rest one by one.
int32_t sum_run(sum_window_int8_sig* sum, const int8_t* x, int64_t n) {
  constexpr int64_t kWidth = 64;
  int32_t sums[kWidth];
  sum(x, 0, kWidth, 1, static_cast<size_t>(n / kWidth), kWidth, sums);
  int32_t total = 0;
  for (int32_t s : sums) total += s;
  for (int64_t i = n / kWidth * kWidth; i < n; ++i) total += x[i];
  return total;
}

std::unique_ptr<Step> make_code_mean(const StepSpec& spec, const Reduction& r) {
  const auto offset = static_cast<int32_t>(r.length) * affine_of(spec, *spec.inputs[0]).zero_point;
  affine_of(spec, *spec.outputs[0]);
  const auto requantizer =
      quantization::mean_requantizer(*spec.inputs[0]->qparams, *spec.outputs[0]->qparams, r.length);
  const bool exact = spec.options.arithmetic == Arithmetic::exact || requantizer.often_ties();
  return std::make_unique<FunctionStep>(
      native_kernel_name(sum_window_int8_table) + " mean" + (exact ? " exact" : ""),
      [=, x = operand(spec, 0), sum = sum_window_int8_table.pick(),
       requantize = requantize_sums_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<int8_t>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        constexpr int64_t kBlock = 512;  // channels whose sums lie on the stack
        int32_t sums[kBlock];
        for (int64_t o = 0; o < r.outer && r.inner == 1; ++o) {
          sums[0] = sum_run(sum, in + o * r.length, r.length);
          requantize(sums, out + o, 1, offset, requantizer, exact);
        }
        for (int64_t o = 0; o < r.outer && r.inner > 1; ++o) {
          for (int64_t c = 0; c < r.inner; c += kBlock) {
            const auto channels = static_cast<size_t>(std::min(kBlock, r.inner - c));
            sum(in + o * r.length * r.inner + c, 0, r.inner, 1, static_cast<size_t>(r.length),
                channels, sums);
            requantize(sums, out + o * r.inner + c, channels, offset, requantizer, exact);
          }
        }
      });
}

}  // namespace

std::unique_ptr<Step> make_native_rows_step(const StepSpec& spec) {
  const bool softmax = spec.op == Op::softmax || spec.op == Op::log_softmax;
  const bool norm = spec.op == Op::layer_norm;
  const bool reduce =
      spec.op == Op::reduce_mean || spec.op == Op::reduce_sum || spec.op == Op::reduce_max;
  if (!softmax && !norm && !reduce) return nullptr;
  const Values values = values_of(spec, spec.inputs.size());
  if (values == Values::float32 && softmax) return make_softmax(spec);
  if (values == Values::float32 && norm) return make_layer_norm(spec);
  Reduction r;
  if (!reduce || !reduction_of(spec, &r)) return nullptr;
  const bool largest = spec.op == Op::reduce_max;
  if (values == Values::float32)
    return largest ? make_max<float>(spec, r, max_window_float32_table) : make_float_sum(spec, r);
  if (values != Values::int8) return nullptr;
  if (spec.op == Op::reduce_mean) return make_code_mean(spec, r);
  if (!largest) return nullptr;
  check_same_parameters(spec, 1);
  return make_max<int8_t>(spec, r, max_window_int8_table);
}

}  // namespace tersor::runtime
