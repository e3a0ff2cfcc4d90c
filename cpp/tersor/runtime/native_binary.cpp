// add, sub, mul, div, minimum, maximum, prelu and simple powers, with broadcasting.
#include "tersor/runtime/function_step.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"

namespace tersor::runtime {
namespace {

bool binary_function(Op op, BinaryFunction* function) {
  switch (op) {
    case Op::add:
      *function = BinaryFunction::add;
      return true;
    case Op::sub:
      *function = BinaryFunction::sub;
      return true;
    case Op::mul:
      *function = BinaryFunction::mul;
      return true;
    case Op::div:
      *function = BinaryFunction::div;
      return true;
    case Op::minimum:
      *function = BinaryFunction::minimum;
      return true;
    case Op::maximum:
      *function = BinaryFunction::maximum;
      return true;
    case Op::prelu:
      *function = BinaryFunction::prelu;
      return true;
    default:
      return false;
  }
}

// Runs kernel(Operands) over all pieces; Operands is BinaryFloat32 or CodeOperands.
template <class Operands, class T, class Kernel>
void run_loops(const BroadcastLoops& loops, const T* a, const T* b, T* y, int threads,
               Kernel kernel) {
  const int64_t piece = loops.rows * loops.columns;
  for (int64_t o = 0; o < loops.outer_count(); ++o) {
    int64_t a_offset, b_offset;
    loops.offsets(o, &a_offset, &b_offset);
    Operands operands{};
    operands.a_row = loops.a_row;
    operands.a_step = loops.a_step;
    operands.b_row = loops.b_row;
    operands.b_step = loops.b_step;
    const auto run = [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
      Operands part = operands;
      part.a = a + a_offset + row * loops.a_row + column * loops.a_step;
      part.b = b + b_offset + row * loops.b_row + column * loops.b_step;
      part.y = y + o * piece + row * loops.columns + column;
      part.rows = static_cast<size_t>(rows);
      part.columns = static_cast<size_t>(columns);
      kernel(part);
    };
    if (loops.rows == 1) {
      split(threads, loops.columns, kElementGrain,
            [&](int64_t begin, int64_t end) { run(0, 1, begin, end - begin); });
    } else {
      const int64_t grain = kElementGrain / std::max<int64_t>(loops.columns, 1) + 1;
      split(threads, loops.rows, grain,
            [&](int64_t begin, int64_t end) { run(begin, end - begin, 0, loops.columns); });
    }
  }
}

// The output may overwrite input 0 where they have the same elements.
bool may_run_in_place(const StepSpec& spec) {
  return spec.inputs[0]->shape == spec.outputs[0]->shape &&
         spec.inputs[0]->dtype == spec.outputs[0]->dtype;
}

std::unique_ptr<Step> make_float(const StepSpec& spec, BinaryFunction function, const Operand& a,
                                 const Operand& b) {
  const Range range = activation_range(spec, activation_of(spec));
  return std::make_unique<FunctionStep>(
      native_kernel_name(binary_float32_table),
      [=, kernel = binary_float32_table.pick(), low = static_cast<float>(range.low),
       high = static_cast<float>(range.high),
       loops = broadcast_loops(a.edge.shape, b.edge.shape, spec.outputs[0]->shape)](
          const StepBuffers& buffers) {
        run_loops<BinaryFloat32>(loops, a.data<float>(buffers), b.data<float>(buffers),
                                 static_cast<float*>(buffers.outputs[0]), buffers.threads,
                                 [&](BinaryFloat32 part) {
                                   part.low = low;
                                   part.high = high;
                                   kernel(function, part);
                                 });
      },
      may_run_in_place(spec));
}

// x ** c for the constants that are one cheap operation.
std::unique_ptr<Step> make_power(const StepSpec& spec) {
  const PlanEdge& exponent = *spec.inputs[1];
  if (!exponent.constant || exponent.size() != 1 || spec.inputs[0]->shape != spec.outputs[0]->shape)
    return nullptr;
  const float power = *exponent.constant.as<float>();
  const auto size = static_cast<size_t>(spec.outputs[0]->size());
  if (power == 2) {
    return make_float(spec, BinaryFunction::mul, operand(spec, 0), operand(spec, 0));
  }
  if (power != 0.5f) return nullptr;
  return std::make_unique<FunctionStep>(
      native_kernel_name(unary_float32_table),
      [size, x = operand(spec, 0),
       kernel = unary_float32_table.pick()](const StepBuffers& buffers) {
        kernel(UnaryFunction::sqrt, x.data<float>(buffers), static_cast<float*>(buffers.outputs[0]),
               size, 0, 0);
      },
      true);
}

std::unique_ptr<Step> make_codes(const StepSpec& spec) {
  const PlanEdge &a_edge = *spec.inputs[0], &b_edge = *spec.inputs[1], &y_edge = *spec.outputs[0];
  const Affine a_affine = affine_of(spec, a_edge);
  const Affine b_affine = affine_of(spec, b_edge);
  const Affine y_affine = affine_of(spec, y_edge);
  const bool exact = spec.options.arithmetic == Arithmetic::exact;
  const auto range = quantization::activation_codes(activation_of(spec), *y_edge.qparams);
  const BroadcastLoops loops = broadcast_loops(a_edge.shape, b_edge.shape, y_edge.shape);
  const Operand a = operand(spec, 0), b = operand(spec, 1);
  const auto run = [=](const StepBuffers& buffers, auto&& kernel) {
    run_loops<CodeOperands>(loops, a.data<int8_t>(buffers), b.data<int8_t>(buffers),
                            static_cast<int8_t*>(buffers.outputs[0]), buffers.threads, kernel);
  };
  const std::string suffix = exact ? " exact" : "";
  if (spec.op == Op::mul) {
    const auto requantizer = quantization::requantizer(
        quantization::requantize_multiplier(a_affine.scale, b_affine.scale, y_affine.scale),
        *y_edge.qparams, range);
    const bool integers = exact || requantizer.often_ties();
    return std::make_unique<FunctionStep>(
        native_kernel_name(mul_codes_table) + suffix,
        [=, kernel = mul_codes_table.pick()](const StepBuffers& buffers) {
          run(buffers, [&](const CodeOperands& part) {
            kernel(part, a_affine.zero_point, b_affine.zero_point, requantizer, integers);
          });
        },
        may_run_in_place(spec));
  }
  const auto adder = quantization::code_adder(*a_edge.qparams, *b_edge.qparams, *y_edge.qparams,
                                              spec.op == Op::sub, range);
  return std::make_unique<FunctionStep>(
      native_kernel_name(add_codes_table) + suffix,
      [=, kernel = add_codes_table.pick()](const StepBuffers& buffers) {
        run(buffers, [&](const CodeOperands& part) { kernel(part, adder, exact); });
      },
      may_run_in_place(spec));
}

}  // namespace

std::unique_ptr<Step> make_native_binary_step(const StepSpec& spec) {
  BinaryFunction function;
  const bool power = spec.op == Op::pow;
  if (!power && !binary_function(spec.op, &function)) return nullptr;
  const Values values = values_of(spec, 2);
  if (values == Values::float32)
    return power ? make_power(spec)
                 : make_float(spec, function, operand(spec, 0), operand(spec, 1));
  const bool has_codes = spec.op == Op::add || spec.op == Op::sub || spec.op == Op::mul;
  return values == Values::int8 && has_codes ? make_codes(spec) : nullptr;
}

}  // namespace tersor::runtime
