#include "tersor/quantization/dense_dynamic.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// Rows whose codes are held at a time: 192 KiB leave most of a 512 KiB L2 to the sums and weights,
// and all weights pass once per band.
constexpr int64_t kBandBytes = 192 << 10;
// Columns whose sums are finished while they are in L2.
constexpr int64_t kChunk = 128;
// Below about 5 us of one core's work, waking a second one does not pay.
constexpr int64_t kSplitMacs = 400'000;

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

struct DenseDynamic::State {
  int64_t outputs, inputs, padded_outputs;
  bool bytes;             // uint8 x int8 quads, where the CPU has them; else int16 pairs
  int64_t groups, pitch;  // of four bytes; elements of an image row
  int64_t band;           // rows
  float low, high;
  Buffer weights, scale, bias, weight_sum, no_bias;
  std::vector<int32_t> pixels;
  std::string kernel;

  void pack(const DenseDynamicWeights& w);
  int64_t image_bytes(int64_t rows) const {
    return round_up(rows * pitch * (bytes ? 1 : 2) + 64, 64);
  }
  void run_chunk(const QuantizeRows& rows, float* y, int64_t chunk) const;
};

void DenseDynamic::State::pack(const DenseDynamicWeights& w) {
  const int64_t width = bytes ? 4 : 2;
  weights = Buffer(static_cast<size_t>(padded_outputs * groups * 4));
  std::memset(weights.data(), 0, weights.size());
  for (Buffer* b : {&scale, &bias, &weight_sum, &no_bias}) {
    *b = Buffer(static_cast<size_t>(padded_outputs) * 4);
    std::memset(b->data(), 0, b->size());
  }
  for (int64_t o = 0; o < outputs; ++o) {
    const int8_t* row = w.codes + o * inputs;
    for (int64_t k = 0; k < inputs; ++k) {
      const int64_t at = (o / 16 * groups + k / width) * 16 * width + o % 16 * width + k % width;
      if (bytes) {
        weights.as<int8_t>()[at] = row[k];
      } else {
        weights.as<int16_t>()[at] = row[k];
      }
    }
    scale.as<float>()[o] = w.scale[o];
    if (w.bias) bias.as<float>()[o] = w.bias[o];
    weight_sum.as<int32_t>()[o] = std::accumulate(row, row + inputs, int32_t{0});
  }
}

DenseDynamic::DenseDynamic(const DenseDynamicWeights& w, DenseDynamicAlgorithm algorithm)
    : state_(std::make_unique<State>()) {
  TERSOR_CHECK(0 < w.outputs && w.outputs < (int64_t{1} << 31),
               "dense_dynamic: outputs must be in [1, 2^31), got ", w.outputs);
  TERSOR_CHECK(0 < w.inputs && w.inputs <= kMostDynamicInputs,
               "dense_dynamic: inputs must be in [1, ", kMostDynamicInputs, "], got ", w.inputs);
  State& s = *state_;
  s.outputs = w.outputs;
  s.inputs = w.inputs;
  s.padded_outputs = round_up(w.outputs, 16);
  s.low = w.low;
  s.high = w.high;
  const bool vnni = conv_u8s8_table.row(conv_u8s8_table.active_row()).needed != Feature::none;
  s.bytes = algorithm == DenseDynamicAlgorithm::bytes ||
            (algorithm == DenseDynamicAlgorithm::automatic && vnni);
  const int64_t width = s.bytes ? 4 : 2;
  s.groups = (w.inputs + width - 1) / width;
  s.pitch = s.groups * width;
  s.band = std::max<int64_t>(12, kBandBytes / (s.groups * 4) / 12 * 12);
  for (int64_t i = 0; i < s.band; ++i) s.pixels.push_back(static_cast<int32_t>(i * s.pitch));
  s.pack(w);
  const KernelTableBase& table =
      s.bytes ? static_cast<const KernelTableBase&>(conv_u8s8_table) : conv_int8_direct_table;
  s.kernel =
      std::string("dense_dynamic ") + table.op() + " " + table.row(table.active_row()).variant;
}

DenseDynamic::~DenseDynamic() = default;
DenseDynamic::DenseDynamic(DenseDynamic&&) noexcept = default;

void DenseDynamic::State::run_chunk(const QuantizeRows& rows, float* y, int64_t chunk) const {
  const int64_t first = chunk * kChunk, count = std::min(kChunk, outputs - first);
  static constexpr int32_t kOrigin = 0;
  ConvInt8Direct a{};
  a.image = rows.image;
  a.pixels = pixels.data();
  a.count = rows.rows;
  a.segments = &kOrigin;
  a.segment_count = 1;
  a.groups = groups;
  a.weights = weights.as<char>() + first * groups * 4;
  a.out_channels = count;
  a.epilogue.bias = no_bias.as<int32_t>();
  a.epilogue.multiplier = a.epilogue.rounding_offset = no_bias.as<float>();
  a.out.accumulators = reinterpret_cast<int32_t*>(y + first);
  a.out.stride = outputs;
  (bytes ? conv_u8s8_table.pick() : conv_int8_direct_table.pick())(a);
  FinishRows f{};
  f.y = y + first;
  f.rows = rows.rows;
  f.columns = count;
  f.stride = outputs;
  f.row_scale = rows.scale;
  f.zero = rows.zero;
  f.scale = scale.as<float>() + first;
  f.weight_sum = weight_sum.as<int32_t>() + first;
  f.bias = bias.as<float>() + first;
  f.low = low;
  f.high = high;
  finish_rows_table.pick()(f);
}

void DenseDynamic::run(const float* x, int64_t rows, float* y, void* scratch, int threads) const {
  const State& s = *state_;
  if (rows * s.outputs * s.inputs < kSplitMacs) threads = 1;
  const int64_t held = std::min(s.band, rows);
  auto* memory = static_cast<char*>(scratch);
  QuantizeRows q{};
  q.n = s.inputs;
  q.pitch = s.pitch;
  q.image = memory;
  q.scale = reinterpret_cast<float*>(memory + s.image_bytes(held));
  q.zero = reinterpret_cast<int32_t*>(q.scale + held);
  const int64_t chunks = (s.outputs + kChunk - 1) / kChunk;
  for (int64_t first = 0; first < rows; first += s.band) {
    q.x = x + first * s.inputs;
    q.rows = std::min(s.band, rows - first);
    (s.bytes ? quantize_rows_uint8_table.pick() : quantize_rows_int16_table.pick())(q);
    float* to = y + first * s.outputs;
    if (threads <= 1 || chunks == 1) {
      for (int64_t c = 0; c < chunks; ++c) s.run_chunk(q, to, c);
      continue;
    }
    parallel_tasks(static_cast<size_t>(chunks), threads,
                   [&](size_t c, int) { s.run_chunk(q, to, static_cast<int64_t>(c)); });
  }
}

size_t DenseDynamic::scratch_bytes(int64_t rows) const {
  const int64_t held = std::min(state_->band, std::max<int64_t>(rows, 0));
  return static_cast<size_t>(state_->image_bytes(held) + round_up(8 * held, 64));
}

size_t DenseDynamic::packed_bytes() const {
  const State& s = *state_;
  return s.weights.size() + s.scale.size() + s.bias.size() + s.weight_sum.size() + s.no_bias.size();
}

int64_t DenseDynamic::inputs() const { return state_->inputs; }
int64_t DenseDynamic::outputs() const { return state_->outputs; }
const char* DenseDynamic::kernel() const { return state_->kernel.c_str(); }

}  // namespace tersor::quantization
