// Compiled once per instruction set (cmake/instruction_sets.cmake) and again for VNNI.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Sixteen channels; two registers where vectors have 128 bits.
typedef int16_t H16 __attribute__((vector_size(32)));

// v = B^T d. |d| <= 255 gives |v| <= 2550, and that 25500: no step leaves int16.
TERSOR_INLINE void transform_input(const H16 d[6], H16 v[6]) {
  const H16 a = d[4] - (d[2] << 2);
  const H16 b = d[3] - (d[1] << 2);
  const H16 c = d[4] - d[2];
  const H16 difference = d[3] - d[1];
  const H16 e = difference + difference;
  v[0] = ((d[0] - d[2]) << 2) + c;
  v[1] = a + b;
  v[2] = a - b;
  v[3] = c + e;
  v[4] = c - e;
  v[5] = (d[5] - d[3]) - (e + e);
}

// y = A^T m with rows scaled by 24, 12, 6, 6 (the scales are in the weights, winograd_int8.h).
TERSOR_INLINE void transform_output(const I32 m[6], I32 y[4]) {
  const I32 s = add(m[1], m[2]), d = sub(m[1], m[2]);
  const I32 t = add(m[3], m[4]), u = sub(m[3], m[4]);
  y[0] = add(add(m[0], t), (I32)((U32)s << 2));
  y[1] = add(add(d, d), u);
  y[2] = add(s, t);
  y[3] = add(add(d, m[5]), add(u, u));
}

// values[36][count][channels] of the tiles.
void input_tiles(const WinogradInt8& a, const WinogradTile* tiles, int64_t count, int16_t* values) {
  const int64_t step = count * a.channels;
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t c = 0; c < a.channels; c += 16) {
      const int16_t* from = a.image + tiles[t].image + c;
      int16_t* to = values + t * a.channels + c;
      H16 columns[6][6];  // [row of B^T d][column]
      for (int j = 0; j < 6; ++j) {
        H16 d[6], v[6];
        for (int i = 0; i < 6; ++i) d[i] = load<H16>(from + i * a.image_row + j * a.channels);
        transform_input(d, v);
        for (int i = 0; i < 6; ++i) columns[i][j] = v[i];
      }
      for (int i = 0; i < 6; ++i) {
        H16 v[6];
        transform_input(columns[i], v);
        for (int j = 0; j < 6; ++j) store(to + (6 * i + j) * step, v[j]);
      }
    }
  }
}

template <int kRows>
void product_rows(const int16_t* values, int64_t channels, const int16_t* weights,
                  const I32 start[kParts], int32_t* products) {
  const char* rows[kRows];
  I32 acc[kRows][kParts];
  for (int r = 0; r < kRows; ++r) {
    rows[r] = reinterpret_cast<const char*>(values + r * channels);
    for (int i = 0; i < kParts; ++i) acc[r][i] = start[i];
  }
  multiply_panel<PairProduct, kRows>(acc, rows, 0, channels / 2,
                                     reinterpret_cast<const char*>(weights));
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kParts; ++i) store(products + 16 * r + kLanes * i, acc[r][i]);
  }
}

template <int kRows>
void product_rest(const int16_t* values, int64_t count, int64_t channels, const int16_t* weights,
                  const I32 start[kParts], int32_t* products) {
  if constexpr (kRows > 0) {
    if (count >= kRows) {
      product_rows<kRows>(values, channels, weights, start, products);
    } else {
      product_rest<kRows - 1>(values, count, channels, weights, start, products);
    }
  }
}

// products[36][count][16] of one panel.
void multiply_tiles(const WinogradInt8& a, const int16_t* values, int64_t count, int64_t panel,
                    int32_t* products) {
  const int64_t matrix = a.channels * 16;
  const int16_t* weights = a.weights + panel * 36 * matrix;
  for (int position = 0; position < 36; ++position, weights += matrix) {
    I32 start[kParts];
    for (int i = 0; i < kParts; ++i) {
      // 36 times the bias at point (1, 1) is the bias in every output.
      start[i] =
          position == 7 ? times(load<I32>(a.epilogue.bias + 16 * panel + kLanes * i), 36) : I32{};
    }
    int64_t t = 0;
    for (; t + kTile <= count; t += kTile) {
      product_rows<kTile>(values + t * a.channels, a.channels, weights, start, products + 16 * t);
    }
    product_rest<kTile - 1>(values + t * a.channels, count - t, a.channels, weights, start,
                            products + 16 * t);
    values += count * a.channels;
    products += count * 16;
  }
}

// 954437177 is the inverse of 9 modulo 2^32; what is left of 576 are powers of two.
template <int kRow, int kColumn>
TERSOR_INLINE I32 unscale(I32 y) {
  constexpr int kShift[4] = {3, 2, 1, 1};
  return times(y, 954437177) >> (kShift[kRow] + kShift[kColumn]);
}

template <int kRow, int kColumn, Finish kFinish, bool kWhole>
TERSOR_INLINE void finish_pixel(const WinogradInt8& a, const Finisher& f, const I32 y[kParts][4],
                                const WinogradTile& tile, int64_t channel, int count) {
  if (kColumn >= tile.columns) return;
  I32 acc[kParts];
  for (int i = 0; i < kParts; ++i) acc[i] = unscale<kRow, kColumn>(y[i][kColumn]);
  finish<kFinish, kWhole>(acc, f, count, a.out,
                          tile.output + kRow * a.out_row + kColumn * a.out.stride + channel);
}

template <int kRow, Finish kFinish, bool kWhole>
TERSOR_INLINE void finish_row(const WinogradInt8& a, const Finisher& f,
                              const I32 columns[kParts][4][6], const WinogradTile& tile,
                              int64_t channel, int count) {
  if (kRow >= tile.rows) return;
  I32 y[kParts][4];
  for (int i = 0; i < kParts; ++i) transform_output(columns[i][kRow], y[i]);
  finish_pixel<kRow, 0, kFinish, kWhole>(a, f, y, tile, channel, count);
  finish_pixel<kRow, 1, kFinish, kWhole>(a, f, y, tile, channel, count);
  finish_pixel<kRow, 2, kFinish, kWhole>(a, f, y, tile, channel, count);
  finish_pixel<kRow, 3, kFinish, kWhole>(a, f, y, tile, channel, count);
}

template <Finish kFinish, bool kWhole>
void output_tiles(const WinogradInt8& a, const Finisher& f, const int32_t* products,
                  const WinogradTile* tiles, int64_t count, int64_t panel, int present) {
  const int64_t channel = 16 * panel;
  for (int64_t t = 0; t < count; ++t) {
    I32 columns[kParts][4][6];  // [part][row of A^T m][column]
    for (int i = 0; i < kParts; ++i) {
      for (int j = 0; j < 6; ++j) {
        I32 m[6], y[4];
        for (int r = 0; r < 6; ++r)
          m[r] = load<I32>(products + ((6 * r + j) * count + t) * 16 + kLanes * i);
        transform_output(m, y);
        for (int r = 0; r < 4; ++r) columns[i][r][j] = y[r];
      }
    }
    finish_row<0, kFinish, kWhole>(a, f, columns, tiles[t], channel, present);
    finish_row<1, kFinish, kWhole>(a, f, columns, tiles[t], channel, present);
    finish_row<2, kFinish, kWhole>(a, f, columns, tiles[t], channel, present);
    finish_row<3, kFinish, kWhole>(a, f, columns, tiles[t], channel, present);
  }
}

struct Winograd {
  const WinogradInt8& a;
  template <Finish kFinish>
  void run() const {
    auto* values = static_cast<int16_t*>(a.scratch);
    auto* products = reinterpret_cast<int32_t*>(values + 36 * kWinogradTiles * a.channels);
    Finisher f = make_finisher(a.epilogue, kFinish == Finish::add);
    for (int64_t first = 0; first < a.count; first += kWinogradTiles) {
      const int64_t count = a.count - first < kWinogradTiles ? a.count - first : kWinogradTiles;
      input_tiles(a, a.tiles + first, count, values);
      for (int64_t panel = 0; 16 * panel < a.out_channels; ++panel) {
        set_panel(f, a.epilogue, 16 * panel);
        multiply_tiles(a, values, count, panel, products);
        const int64_t rest = a.out_channels - 16 * panel;
        if (rest >= 16) {
          output_tiles<kFinish, true>(a, f, products, a.tiles + first, count, panel, 16);
        } else {
          output_tiles<kFinish, false>(a, f, products, a.tiles + first, count, panel,
                                       static_cast<int>(rest));
        }
      }
    }
  }
};

}  // namespace

void TERSOR_SIMD_NAME(winograd_int8)(const WinogradInt8& a) noexcept {
  with_finish(a.out, Winograd{a});
}

}  // namespace tersor::quantization
