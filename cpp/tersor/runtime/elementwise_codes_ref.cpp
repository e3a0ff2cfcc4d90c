#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

template <class F>
void combine(const CodeOperands& o, F f) {
  for (size_t r = 0; r < o.rows; ++r) {
    for (size_t c = 0; c < o.columns; ++c) {
      const auto row = static_cast<ptrdiff_t>(r), column = static_cast<ptrdiff_t>(c);
      o.y[r * o.columns + c] = static_cast<int8_t>(
          f(o.a[row * o.a_row + column * o.a_step], o.b[row * o.b_row + column * o.b_step]));
    }
  }
}

}  // namespace

void add_codes_ref(const CodeOperands& operands, const quantization::CodeAdder& adder,
                   bool exact) noexcept {
  combine(operands,
          [&](int32_t a, int32_t b) { return exact ? adder.exact(a, b) : adder.fast(a, b); });
}

void mul_codes_ref(const CodeOperands& operands, int32_t zero_a, int32_t zero_b,
                   const quantization::Requantizer& requantizer, bool exact) noexcept {
  combine(operands, [&](int32_t a, int32_t b) {
    const int32_t product = (a - zero_a) * (b - zero_b);
    return exact ? requantizer.exact(product) : requantizer.fast(product);
  });
}

void requantize_sums_ref(const int32_t* sums, int8_t* y, size_t n, int32_t offset,
                         const quantization::Requantizer& requantizer, bool exact) noexcept {
  for (size_t i = 0; i < n; ++i) {
    y[i] = static_cast<int8_t>(exact ? requantizer.exact(sums[i] - offset)
                                     : requantizer.fast(sums[i] - offset));
  }
}

void average_sums_ref(const int32_t* sums, int8_t* y, size_t n, int32_t offset,
                      int32_t count) noexcept {
  for (size_t i = 0; i < n; ++i) {
    y[i] = static_cast<int8_t>(quantization::c99::tersor_average(sums[i] + offset, count));
  }
}

void map_codes_ref(const int8_t* x, int8_t* y, size_t n, const int8_t* table) noexcept {
  for (size_t i = 0; i < n; ++i) y[i] = table[x[i] + 128];
}

}  // namespace tersor::runtime
