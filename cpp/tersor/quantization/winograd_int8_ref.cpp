#include "tersor/quantization/int8_epilogue_ref.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

constexpr int kInput[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                              {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
// Scaled to 24 in every row: A'^T of the header times 1, 2, 4, 4.
constexpr int kOutput[4][6] = {
    {1, 4, 4, 1, 1, 0}, {0, 4, -4, 2, -2, 0}, {0, 4, 4, 4, 4, 0}, {0, 4, -4, 8, -8, 4}};

}  // namespace

// The same identity in 64-bit integers, one output channel of one tile at a time.
void winograd_int8_ref(const WinogradInt8& a) noexcept {
  for (int64_t t = 0; t < a.count; ++t) {
    const WinogradTile& tile = a.tiles[t];
    for (int64_t o = 0; o < a.out_channels; ++o) {
      int64_t products[6][6] = {};
      for (int64_t c = 0; c < a.channels; ++c) {
        const int16_t* x = a.image + tile.image + c;
        const int16_t* w =
            a.weights + o / 16 * 36 * a.channels * 16 + c / 2 * 32 + o % 16 * 2 + c % 2;
        for (int i = 0; i < 36; ++i) {
          int v = 0;
          for (int j = 0; j < 36; ++j) {
            v += kInput[i / 6][j / 6] * kInput[i % 6][j % 6] *
                 x[j / 6 * a.image_row + j % 6 * a.channels];
          }
          products[i / 6][i % 6] += v * w[i * a.channels * 16];
        }
      }
      for (int i = 0; i < tile.rows * 4; ++i) {
        if (i % 4 >= tile.columns) continue;
        int64_t sum = 0;
        for (int j = 0; j < 36; ++j)
          sum += kOutput[i / 4][j / 6] * kOutput[i % 4][j % 6] * products[j / 6][j % 6];
        finish_ref(a.epilogue, a.out, tile.output + i / 4 * a.out_row + i % 4 * a.out.stride, o,
                   static_cast<int32_t>(sum / 576) + a.epilogue.bias[o]);
      }
    }
  }
}

}  // namespace tersor::quantization
