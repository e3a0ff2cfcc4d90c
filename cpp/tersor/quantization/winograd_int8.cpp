#include "tersor/quantization/winograd_int8.h"

namespace tersor::quantization {

void transform_filter(const int8_t w[9], int16_t u[36]) {
  static constexpr int g[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1},
                                  {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) {
      int sum = 0;
      for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) sum += g[i][r] * g[j][c] * w[3 * r + c];
      }
      u[6 * i + j] = static_cast<int16_t>(sum);
    }
  }
}

}  // namespace tersor::quantization
