#include "tersor/runtime/reference_sums.h"

namespace tersor::runtime {
namespace {

// y[b, m, n] = sum_k left[b, m, k] * right[b, n, k] with any strides: dense has one right matrix
// [O, I], matmul transposes by strides.
struct Products {
  Shape batch;                    // leading dimensions of the output
  Shape left_batch, right_batch;  // strides over them
  int64_t rows, columns, depth;
  int64_t left_row, left_k, right_column, right_k;

  // Output values in row-major order.
  template <class Sum, class Product, class Finish>
  void for_each_sum(Product product, Finish finish) const {
    int64_t at = 0;
    for_each_index(batch, [&](const Shape& index) {
      const int64_t left = offset_of(index, left_batch);
      const int64_t right = offset_of(index, right_batch);
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t n = 0; n < columns; ++n) {
          Sum sum = 0;
          for (int64_t k = 0; k < depth; ++k) {
            sum +=
                product(left + m * left_row + k * left_k, right + n * right_column + k * right_k);
          }
          finish(sum, n, at++);
        }
      }
    });
  }
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

}  // namespace

std::unique_ptr<Step> make_reference_dense_step(const StepSpec& spec) {
  return make_sums(spec, products_of(spec));
}

}  // namespace tersor::runtime
