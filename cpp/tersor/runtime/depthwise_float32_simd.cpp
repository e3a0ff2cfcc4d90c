// Depthwise lines: vectors run over channels, several neighbouring outputs share each loaded input.
#include "tersor/base/vector_float32.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

// A line from one pixel on, in locals: what lies in memory is loaded again after each store.
struct Place {
  const float* input;
  const float* weights;
  const float* bias;
  const float* residual;
  float* output;
  ptrdiff_t row_stride, column_stride, weight_row, weight_stride, residual_stride, output_stride;
  int rows, columns;
  Vec low, high, post_low, post_high;

  Place(const DepthwiseLineFloat32& l, int64_t pixel) noexcept
      : input(l.input + pixel * l.input_stride),
        weights(l.weights),
        bias(l.bias),
        residual(l.residual ? l.residual + pixel * l.residual_stride : nullptr),
        output(l.output + pixel * l.output_stride),
        row_stride(l.row_stride),
        column_stride(l.column_stride),
        weight_row(l.weight_row * l.weight_stride),
        weight_stride(l.weight_stride),
        residual_stride(l.residual_stride),
        output_stride(l.output_stride),
        rows(l.rows),
        columns(l.columns),
        low(broadcast(l.low)),
        high(broadcast(l.high)),
        post_low(broadcast(l.post_low)),
        post_high(broadcast(l.post_high)) {}
};

template <int Outputs>
inline void finish(const Place& p, const Vec* sum, int64_t c, int n) noexcept {
  float* out = p.output + c;
  if (!p.residual) {
    for (int o = 0; o < Outputs; ++o, out += p.output_stride)
      store_some(out, clamp(sum[o], p.low, p.high), n);
    return;
  }
  const float* residual = p.residual + c;
  for (int o = 0; o < Outputs; ++o, out += p.output_stride, residual += p.residual_stride) {
    const Vec y = clamp(sum[o], p.low, p.high) + load_some(residual, n);
    store_some(out, clamp(y, p.post_low, p.post_high), n);
  }
}

// Columns adjacent in memory (no dilation) and Step of them from one output to the next: an input
// vector is loaded once for all taps and outputs that use it.
template <int Columns, int Step, int Outputs>
inline void channels_of(const Place& p, int64_t c, int n) noexcept {
  constexpr int kSpan = (Outputs - 1) * Step + Columns;
  const Vec bias = p.bias ? load_some(p.bias + c, n) : broadcast(0);
  Vec sum[Outputs];
  for (int o = 0; o < Outputs; ++o) sum[o] = bias;
  const float* x = p.input + c;
  const float* w = p.weights + c;
  for (int r = 0; r < p.rows; ++r, x += p.row_stride, w += p.weight_row) {
    Vec tap[Columns];
    for (int s = 0; s < Columns; ++s) tap[s] = load_some(w + s * p.weight_stride, n);
    const float* column = x;
#pragma GCC unroll 32
    for (int j = 0; j < kSpan; ++j, column += p.column_stride) {
      const Vec a = load_some(column, n);
#pragma GCC unroll 8
      for (int o = 0; o < Outputs; ++o) {
        const int s = j - o * Step;
        if (0 <= s && s < Columns) sum[o] = fma(a, tap[s], sum[o]);
      }
    }
  }
  finish<Outputs>(p, sum, c, n);
}

template <int Columns, int Step, int Outputs>
void outputs_of(const DepthwiseLineFloat32& l, int64_t pixel) noexcept {
  const Place place(l, pixel);
  int64_t c = 0;
  for (; c + kLanes <= l.channels; c += kLanes)
    channels_of<Columns, Step, Outputs>(place, c, kLanes);
  const int left = static_cast<int>(l.channels - c);
  if (left > 0) channels_of<Columns, Step, Outputs>(place, c, left);
}

template <int Columns, int Step>
void line_of(const DepthwiseLineFloat32& l) noexcept {
  int64_t i = 0;
  for (; i + 4 <= l.pixels; i += 4) outputs_of<Columns, Step, 4>(l, i);
  const int64_t left = l.pixels - i;
  if (left == 3) outputs_of<Columns, Step, 3>(l, i);
  if (left == 2) outputs_of<Columns, Step, 2>(l, i);
  if (left == 1) outputs_of<Columns, Step, 1>(l, i);
}

inline void any_channels(const Place& p, int64_t c, int n) noexcept {
  Vec sum = p.bias ? load_some(p.bias + c, n) : broadcast(0);
  for (int r = 0; r < p.rows; ++r) {
    for (int s = 0; s < p.columns; ++s) {
      const float* x = p.input + r * p.row_stride + s * p.column_stride + c;
      const float* w = p.weights + r * p.weight_row + s * p.weight_stride + c;
      sum = fma(load_some(x, n), load_some(w, n), sum);
    }
  }
  finish<1>(p, &sum, c, n);
}

void any_line(const DepthwiseLineFloat32& l) noexcept {
  for (int64_t i = 0; i < l.pixels; ++i) {
    const Place place(l, i);
    int64_t c = 0;
    for (; c + kLanes <= l.channels; c += kLanes) any_channels(place, c, kLanes);
    if (c < l.channels) any_channels(place, c, static_cast<int>(l.channels - c));
  }
}

}  // namespace

void TERSOR_SIMD_NAME(depthwise_line_float32)(const DepthwiseLineFloat32& line) noexcept {
  const bool adjacent1 = line.input_stride == line.column_stride;
  const bool adjacent2 = line.input_stride == 2 * line.column_stride;
  if (line.columns == 3 && adjacent1) return line_of<3, 1>(line);
  if (line.columns == 3 && adjacent2) return line_of<3, 2>(line);
  if (line.columns == 5 && adjacent1) return line_of<5, 1>(line);
  if (line.columns == 5 && adjacent2) return line_of<5, 2>(line);
  any_line(line);
}

}  // namespace tersor::runtime
