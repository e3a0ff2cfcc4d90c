#include <cmath>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr double kR =
    1.41421356237309504880;  // sqrt(2), the outer points; the inner ones are 1 / sqrt(2)

constexpr double kB[6][6] = {{1, 0, -2.5, 0, 1, 0},        {0, -kR / 2, -0.5, kR, 1, 0},
                             {0, kR / 2, -0.5, -kR, 1, 0}, {0, -kR, -2, kR / 2, 1, 0},
                             {0, kR, -2, -kR / 2, 1, 0},   {0, 1, 0, -2.5, 0, 1}};
constexpr double kG[6][3] = {{1, 0, 0},
                             {1 / 6., kR / 6, 2 / 6.},
                             {1 / 6., -kR / 6, 2 / 6.},
                             {-1 / 1.5, -kR / 3, -0.5 / 1.5},
                             {-1 / 1.5, kR / 3, -0.5 / 1.5},
                             {0, 0, 1}};
constexpr double kA[4][6] = {{1, 1, 1, 1, 1, 0},
                             {0, kR, -kR, kR / 2, -kR / 2, 0},
                             {0, 2, 2, 0.5, 0.5, 0},
                             {0, 2 * kR, -2 * kR, kR / 4, -kR / 4, 1}};

float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

}  // namespace

void winograd_weights(const float* kernel, float* u) {
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) {
      double sum = 0;
      for (int k = 0; k < 3; ++k) {
        for (int l = 0; l < 3; ++l) sum += kG[i][k] * kernel[k * 3 + l] * kG[j][l];
      }
      u[i * 6 + j] = static_cast<float>(sum);
    }
  }
}

void winograd_input_float32_ref(const WinogradInputFloat32& t) noexcept {
  for (int64_t c = 0; c < t.channels; ++c) {
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j < 6; ++j) {
        double sum = 0;
        for (int k = t.first_row; k < t.end_row; ++k) {
          for (int l = t.first_column; l < t.end_column; ++l) {
            sum += kB[i][k] * t.input[k * t.row_stride + l * t.channels + c] * kB[j][l];
          }
        }
        t.planes[(6 * i + j) * t.plane_stride + c] = static_cast<float>(sum);
      }
    }
  }
}

void winograd_output_float32_ref(const WinogradOutputFloat32& t) noexcept {
  for (int64_t c = 0; c < t.channels; ++c) {
    for (int i = 0; i < t.rows; ++i) {
      for (int j = 0; j < t.columns; ++j) {
        double sum = t.bias ? t.bias[c] : 0.0;
        for (int k = 0; k < 6; ++k) {
          for (int l = 0; l < 6; ++l)
            sum += kA[i][k] * t.planes[(6 * k + l) * t.plane_stride + c] * kA[j][l];
        }
        const ptrdiff_t at = i * t.row_stride + j * t.channels + c;
        float y = clamp(static_cast<float>(sum), t.low, t.high);
        if (t.residual) y = clamp(y + t.residual[at], t.post_low, t.post_high);
        t.output[at] = y;
      }
    }
  }
}

}  // namespace tersor::runtime
