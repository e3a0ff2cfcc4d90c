#include "tersor/runtime/reference.h"
#include "tersor/runtime/reference_epilogue.h"

namespace tersor::runtime {
namespace {

// y[b, m, n] = sum_k left[b, m, k] * right[b, n, k] with any strides: dense has one right matrix
// [O, I], matmul transposes by strides.
struct Products {
  Shape batch;                    // leading dimensions of the output
  Shape left_batch, right_batch;  // strides over them
  int64_t rows, columns, depth;
  int64_t left_row, left_k, right_column, right_k;
};

Products products_of(const StepSpec& spec) {
  const Shape& left = spec.inputs.at(0)->shape;
  const Shape& right = spec.inputs.at(1)->shape;
  const Shape& out = spec.outputs.at(0)->shape;
  if (spec.op == Op::dense) {
    const int64_t depth = left.back();
    const int64_t columns = right.front();
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < left.size(); ++i) rows *= left[i];
    return {{}, {}, {}, rows, columns, depth, depth, 1, depth, 1};
  }
  // A vector on the left is a row, on the right a column, as in NumPy.
  const bool left_vector = left.size() == 1;
  const bool right_vector = right.size() == 1;
  const Shape a = left_vector ? Shape{1, left[0]} : left;
  const Shape b = right_vector ? Shape{right[0], 1} : right;
  Products p;
  p.rows = a[a.size() - 2];
  p.depth = a.back();
  p.columns = b.back();
  p.left_row = p.depth;
  p.left_k = 1;
  p.right_column = 1;
  p.right_k = p.columns;
  p.batch = Shape(out.begin(), out.end() - (left_vector ? 0 : 1) - (right_vector ? 0 : 1));
  const auto strides = [&](const Shape& shape) {
    Shape s = broadcast_strides(Shape(shape.begin(), shape.end() - 2), p.batch);
    for (int64_t& stride : s) stride *= shape[shape.size() - 2] * shape.back();
    return s;
  };
  p.left_batch = strides(a);
  p.right_batch = strides(b);
  return p;
}

// finish(sum, column, output offset) for every output value in row-major order.
template <class Sum, class Product, class Finish>
void multiply(const Products& p, Product product, Finish finish) {
  int64_t at = 0;
  for_each_index(p.batch, [&](const Shape& index) {
    const int64_t left = offset_of(index, p.left_batch);
    const int64_t right = offset_of(index, p.right_batch);
    for (int64_t m = 0; m < p.rows; ++m) {
      for (int64_t n = 0; n < p.columns; ++n) {
        Sum sum = 0;
        for (int64_t k = 0; k < p.depth; ++k) {
          sum += product(left + m * p.left_row + k * p.left_k,
                         right + n * p.right_column + k * p.right_k);
        }
        finish(sum, n, at++);
      }
    }
  });
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  return reference_step(spec, [in = affine_operands(spec), p = products_of(spec),
                               epilogue = FloatEpilogue(spec),
                               bfloat = spec.options.precision ==
                                        Precision::bfloat16](const StepBuffers& buffers) {
    const auto* left = in.x.data<float>(buffers);
    const auto* right = in.weights.data<float>(buffers);
    const float* bias = in.bias.present() ? in.bias.data<float>(buffers) : nullptr;
    const float* residual = in.residual.present() ? in.residual.data<float>(buffers) : nullptr;
    auto* y = static_cast<float*>(buffers.outputs[0]);
    const auto finish = [&](double sum, int64_t n, int64_t at) {
      y[at] = epilogue(sum, bias, n, residual, at);
    };
    if (bfloat) {
      multiply<double>(
          p,
          [&](int64_t i, int64_t k) {
            return static_cast<double>(round_to_bfloat16(left[i])) * round_to_bfloat16(right[k]);
          },
          finish);
    } else {
      multiply<double>(
          p, [&](int64_t i, int64_t k) { return static_cast<double>(left[i]) * right[k]; }, finish);
    }
  });
}

std::unique_ptr<Step> make_codes(const StepSpec& spec) {
  const AffineOperands in = affine_operands(spec);
  check_code_operands(spec, in);
  const int32_t zero_left = affine_of(spec, in.x.edge).zero_point;
  const int32_t zero_right =
      spec.op == Op::matmul ? affine_of(spec, in.weights.edge).zero_point : 0;
  return reference_step(spec, [=, p = products_of(spec),
                               epilogue = CodeEpilogue(spec)](const StepBuffers& buffers) {
    const auto* left = in.x.data<int8_t>(buffers);
    const auto* right = in.weights.data<int8_t>(buffers);
    const int32_t* bias = in.bias.present() ? in.bias.data<int32_t>(buffers) : nullptr;
    const int8_t* residual = in.residual.present() ? in.residual.data<int8_t>(buffers) : nullptr;
    auto* y = static_cast<int8_t*>(buffers.outputs[0]);
    multiply<int32_t>(
        p, [&](int64_t i, int64_t k) { return (left[i] - zero_left) * (right[k] - zero_right); },
        [&](int32_t sum, int64_t n, int64_t at) { y[at] = epilogue(sum, bias, n, residual, at); });
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_dense_step(const StepSpec& spec) {
  switch (values_of(spec, 2)) {
    case Values::float32:
      return make_float(spec);
    case Values::int8:
      return make_codes(spec);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
