// Compiled once per instruction set: TERSOR_SIMD_NAME(op) is the name, vector_float32.h the
// vectors.
#include "tersor/base/vector_float32.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr int kVecs = kPanel / kLanes;  // vectors of one panel

// Accumulators of a block of kMostRows pixels and one panel (two with AVX-512, whose panel is one
// vector) fill the registers but for the weights and one broadcast: 6 x 2 of 16 (AVX2), 12 x 2 of
// 32 (AVX-512), 6 x 4 of 32 (NEON), 2 x 4 of 16 (SSE2).
#if defined(__AVX512F__)
constexpr int kMostRows = 12, kMostPanels = 2;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int kMostRows = 6, kMostPanels = 1;
#else
constexpr int kMostRows = 2, kMostPanels = 1;
#endif

// Panels that a block of few rows takes together: an FMA's latency is 4 cycles at 2 a cycle, so at
// least 8 accumulators must be in flight.
constexpr int panels_of([[maybe_unused]] int rows) {
#if defined(__AVX512F__)
  return rows == 1 ? 8 : rows == 2 ? 4 : kMostPanels;
#elif defined(__AVX2__)
  return rows == 1 ? 4 : rows <= 3 ? 2 : kMostPanels;
#elif defined(__aarch64__)
  return rows <= 2 ? 2 : kMostPanels;
#else
  return kMostPanels;
#endif
}

// The epilogue of a block of Rows x Wide vectors, whose first output is at `row`, `channel`.
template <int Rows, int Wide>
inline void finish(const ConvLineFloat32& l, Vec (&sum)[Rows][Wide], int64_t row,
                   int64_t channel) noexcept {
  const Vec low = broadcast(l.low), high = broadcast(l.high);
  const Vec post_low = broadcast(l.post_low), post_high = broadcast(l.post_high);
  const ptrdiff_t output_stride = l.output_stride, residual_stride = l.residual_stride;
  float* out = l.output + row * output_stride + channel;
  const float* residual = l.residual ? l.residual + row * residual_stride + channel : nullptr;
  const int64_t left = l.channels - channel;
  if (left >= Wide * kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i, out += output_stride) {
#pragma GCC unroll 16
      for (int j = 0; j < Wide; ++j) {
        Vec y = clamp(sum[i][j], low, high);
        if (residual)
          y = clamp(y + load(residual + i * residual_stride + j * kLanes), post_low, post_high);
        store(out + j * kLanes, y);
      }
    }
    return;
  }
  for (int i = 0; i < Rows; ++i, out += output_stride) {
    for (int j = 0; j < Wide; ++j) {
      const int64_t valid = left - j * kLanes;
      if (valid <= 0) break;
      const int n = valid < kLanes ? static_cast<int>(valid) : kLanes;
      Vec y = clamp(sum[i][j], low, high);
      if (residual)
        y = clamp(y + load_some(residual + i * residual_stride + j * kLanes, n), post_low,
                  post_high);
      store_some(out + j * kLanes, y, n);
    }
  }
}

// Rows pixels and Wide vectors of channels, from the first of `panel` on.
template <int Rows, int Wide>
inline void block(const ConvLineFloat32& l, int64_t row, int64_t panel) noexcept {
  constexpr int kPanels = (Wide + kVecs - 1) / kVecs;
  const ptrdiff_t stride = l.input_stride;
  Vec sum[Rows][Wide];
#pragma GCC unroll 16
  for (int j = 0; j < Wide; ++j) {
    const Vec b = l.bias ? load(l.bias + panel * kPanel + j * kLanes) : broadcast(0);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) sum[i][j] = b;
  }
  for (int t = 0; t < l.taps; ++t) {
    // Three rows to a pointer: [p], [p + stride], [p + 2 * stride] are addressing modes.
    const float* x[(Rows + 2) / 3];
    for (int i = 0; i < (Rows + 2) / 3; ++i) {
      x[i] = l.input + l.tap_input[t] + (row + 3 * i) * stride;
    }
    const float* w[kPanels];
    for (int p = 0; p < kPanels; ++p)
      w[p] = l.weights + (panel + p) * l.panel_stride + l.tap_weight[t];
    for (int64_t k = 0; k < l.depth; ++k) {
      Vec v[Wide];
#pragma GCC unroll 16
      for (int j = 0; j < Wide; ++j) v[j] = load(w[j / kVecs] + k * kPanel + j % kVecs * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const Vec a = broadcast(x[i / 3][i % 3 * stride + k]);
#pragma GCC unroll 16
        for (int j = 0; j < Wide; ++j) sum[i][j] = fma(a, v[j], sum[i][j]);
      }
    }
  }
  finish<Rows, Wide>(l, sum, row, panel * kPanel);
}

// The last panel, of which `vectors` vectors are in use.
template <int Rows, int Vectors>
inline void last_panel(const ConvLineFloat32& l, int64_t row, int64_t panel,
                       int64_t vectors) noexcept {
  if constexpr (Vectors == 1) {
    block<Rows, 1>(l, row, panel);
  } else {
    if (vectors == Vectors) return block<Rows, Vectors>(l, row, panel);
    last_panel<Rows, Vectors - 1>(l, row, panel, vectors);
  }
}

template <int Rows, int Panels>
inline void all_panels(const ConvLineFloat32& l, int64_t row, int64_t panel, int64_t end) noexcept {
  if constexpr (Panels > 1) {
    for (; panel + Panels <= end; panel += Panels) block<Rows, Panels * kVecs>(l, row, panel);
    return all_panels<Rows, Panels / 2>(l, row, panel, end);
  }
  for (; panel < end; ++panel) {
    const int64_t vectors = (l.channels - panel * kPanel + kLanes - 1) / kLanes;
    if (vectors >= kVecs) {
      block<Rows, kVecs>(l, row, panel);
    } else {
      last_panel<Rows, kVecs>(l, row, panel, vectors);
    }
  }
}

template <int Rows>
void rows_of(const ConvLineFloat32& l, int64_t row, int64_t panel, int64_t end) noexcept {
  all_panels<Rows, panels_of(Rows)>(l, row, panel, end);
}

using RowsFunction = void (*)(const ConvLineFloat32&, int64_t, int64_t, int64_t) noexcept;
constexpr RowsFunction kRows[] = {
    nullptr,    rows_of<1>, rows_of<2>,
#if defined(__AVX2__) || defined(__aarch64__)
    rows_of<3>, rows_of<4>, rows_of<5>, rows_of<6>,
#endif
#if defined(__AVX512F__)
    rows_of<7>, rows_of<8>, rows_of<9>, rows_of<10>, rows_of<11>, rows_of<12>,
#endif
};

}  // namespace

void TERSOR_SIMD_NAME(conv_line_float32)(const ConvLineFloat32& line) noexcept {
  const int64_t panels = (line.channels + kPanel - 1) / kPanel;
  // Blocks of nearly equal height (32 = 6 + 6 + 5 + 5 + 5 + 5): a short one would run at a fraction
  // of the speed.
  const int64_t blocks = (line.pixels + kMostRows - 1) / kMostRows;
  // Either all weights stay in the first-level cache, and whole pixels are written one after the
  // other; or one panel's, while all pixels pass by.
  const bool small = panels * line.taps * line.depth * kPanel * 4 <= 24 * 1024;
  const int64_t step = blocks == 1 || small ? panels : kMostPanels;
  for (int64_t panel = 0; panel < panels; panel += step) {
    const int64_t end = panel + step < panels ? panel + step : panels;
    int64_t row = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t rows = (line.pixels - row + blocks - b - 1) / (blocks - b);
      kRows[rows](line, row, panel, end);
      row += rows;
    }
  }
}

}  // namespace tersor::runtime
