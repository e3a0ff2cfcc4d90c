#include "tersor/quantization/dense_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// A piece of work per thread is at least this many weights: below about 5 us of one core, waking
// another does not pay.
constexpr int64_t kSplitWeights = 64 * 1024;
constexpr size_t kSlackFloats = 16;  // kernels read whole vectors of scales

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

bool is_int4(int bits) { return bits <= 4; }

void check(const DenseCodesWeights& w) {
  for (const auto& [name, size] :
       {std::pair{"outputs", w.outputs}, std::pair{"inputs", w.inputs}}) {
    TERSOR_CHECK(0 < size && size < (int64_t{1} << 31), "dense_codes: ", name,
                 " must be in [1, 2^31), got ", size);
  }
  TERSOR_CHECK(2 <= w.bits && w.bits <= 8, "dense_codes: bits must be in [2, 8], got ", w.bits);
  TERSOR_CHECK(w.group >= 0, "dense_codes: group must be >= 0, got ", w.group);
  TERSOR_CHECK(DenseCodes::supports(w), "dense_codes: group must be 0, ",
               is_int4(w.bits) ? "8, 16, 32, 64 or a multiple of 128" : "or a multiple of 16",
               ", got ", w.group);
  const int limit = 1 << (w.bits - 1);
  for (int64_t i = 0; i < w.outputs * w.inputs; ++i) {
    TERSOR_CHECK(-limit <= w.codes[i] && w.codes[i] < limit, "dense_codes: codes must be in [",
                 -limit, ", ", limit, "), got ", static_cast<int>(w.codes[i]));
  }
}

}  // namespace

struct DenseCodes::State {
  int64_t outputs, inputs, depth, blocks;
  bool int4;
  DenseCodesBlocks packed{};
  Buffer weights, scale, zero_point, bias;
  std::string kernel;

  void pack_codes(const int8_t* codes);
  Buffer pack_groups(const DenseCodesWeights& w, const float* values, float factor) const;
};

void DenseCodes::State::pack_codes(const int8_t* codes) {
  weights = Buffer(static_cast<size_t>(blocks * kDenseRows * depth / (int4 ? 2 : 1)));
  std::memset(weights.data(), 0, weights.size());
  for (int64_t o = 0; o < blocks * kDenseRows; ++o) {
    const int64_t block = o / kDenseRows, row = o % kDenseRows;
    for (int64_t k = 0; k < depth; ++k) {
      const int8_t code = o < outputs && k < inputs ? codes[o * inputs + k] : int8_t{0};
      if (int4) {
        const int64_t word =
            ((block * (depth / kInt4Inputs) + k / kInt4Inputs) * kDenseRows + row) * 16 +
            k % kInt4Inputs / 8;
        const auto j = static_cast<uint32_t>(k % 8);
        const auto nibble = static_cast<uint32_t>(j < 7 ? code + 8 : code) & 15;
        weights.as<uint32_t>()[word] |= nibble << (4 * j);
      } else {
        weights.as<int8_t>()[(block * (depth / 16) + k / 16) * 64 + row * 16 + k % 16] = code;
      }
    }
  }
}

Buffer DenseCodes::State::pack_groups(const DenseCodesWeights& w, const float* values,
                                      float factor) const {
  const auto stride = static_cast<size_t>(packed.scale_stride);
  Buffer to((static_cast<size_t>(blocks * kDenseRows) * stride + kSlackFloats) * sizeof(float));
  std::memset(to.data(), 0, to.size());
  const auto groups = static_cast<size_t>(w.groups());
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    for (size_t g = 0; g < groups; ++g) {
      to.as<float>()[o * stride + g] = values[o * groups + g] * factor;
    }
  }
  return to;
}

bool DenseCodes::supports(const DenseCodesWeights& w) {
  const int64_t group = w.group_inputs();
  if (group == w.inputs) return true;
  if (!is_int4(w.bits)) return group % kInt8Inputs == 0;
  return group % kInt4Inputs == 0 || (group >= 8 && kInt4Inputs % group == 0);
}

DenseCodes::DenseCodes(const DenseCodesWeights& w) : state_(std::make_unique<State>()) {
  check(w);
  State& s = *state_;
  s.outputs = w.outputs;
  s.inputs = w.inputs;
  s.int4 = is_int4(w.bits);
  s.depth = round_up(w.inputs, s.int4 ? kInt4Inputs : kInt8Inputs);
  s.blocks = (w.outputs + kDenseRows - 1) / kDenseRows;
  s.packed.depth = s.depth;
  s.packed.group = w.groups() == 1 ? s.depth : w.group;
  s.packed.scale_stride = (s.depth + s.packed.group - 1) / s.packed.group;
  s.packed.outputs = w.outputs;
  s.packed.low = w.low;
  s.packed.high = w.high;
  s.pack_codes(w.codes);
  s.scale = s.pack_groups(w, w.scale, s.int4 ? 0x1p-14f : 1.0f);
  if (w.zero_point) s.zero_point = s.pack_groups(w, w.zero_point, 1.0f);
  s.bias = Buffer(static_cast<size_t>(s.blocks * kDenseRows) * sizeof(float));
  std::memset(s.bias.data(), 0, s.bias.size());
  if (w.bias) std::memcpy(s.bias.data(), w.bias, static_cast<size_t>(w.outputs) * sizeof(float));
  s.packed.weights = s.weights.data();
  s.packed.scale = s.scale.as<float>();
  s.packed.zero_point = w.zero_point ? s.zero_point.as<float>() : nullptr;
  s.packed.bias = s.bias.as<float>();
  const KernelTableBase& table = s.int4 ? static_cast<const KernelTableBase&>(dense_int4_table)
                                        : static_cast<const KernelTableBase&>(dense_int8_table);
  s.kernel = std::string(table.op()) + " " + table.row(table.active_row()).variant;
}

DenseCodes::~DenseCodes() = default;
DenseCodes::DenseCodes(DenseCodes&&) noexcept = default;

void DenseCodes::run(const float* x, int64_t rows, float* y, void* scratch, int threads) const {
  const State& s = *state_;
  DenseCodesBlocks all = s.packed;
  all.rows = rows;
  all.y = y;
  if (s.int4) {
    all.x_stride = s.depth / kInt4Inputs * kArrangedFloats;
    auto* arranged = static_cast<float*>(scratch);
    auto* const arrange = arrange_int4_table.pick();
    for (int64_t m = 0; m < rows; ++m) {
      arrange(x + m * s.inputs, s.inputs, arranged + m * all.x_stride);
    }
    all.x = arranged;
  } else if (s.depth == s.inputs) {
    all.x_stride = s.inputs;
    all.x = x;
  } else {
    all.x_stride = s.depth;
    auto* padded = static_cast<float*>(scratch);
    for (int64_t m = 0; m < rows; ++m) {
      float* to = padded + m * s.depth;
      std::memcpy(to, x + m * s.inputs, static_cast<size_t>(s.inputs) * sizeof(float));
      std::fill(to + s.inputs, to + s.depth, 0.0f);
    }
    all.x = padded;
  }
  auto* const kernel = s.int4 ? dense_int4_table.pick() : dense_int8_table.pick();
  const int64_t pieces = std::clamp<int64_t>(s.blocks * kDenseRows * s.depth / kSplitWeights, 1,
                                             std::min<int64_t>(s.blocks, 4 * threads));
  const auto piece = [&](int64_t i) {
    DenseCodesBlocks part = all;
    part.first = s.blocks * i / pieces;
    part.end = s.blocks * (i + 1) / pieces;
    kernel(part);
  };
  if (threads <= 1 || pieces == 1) {
    all.first = 0;
    all.end = s.blocks;
    kernel(all);
    return;
  }
  parallel_tasks(static_cast<size_t>(pieces), threads,
                 [&](size_t i, int) { piece(static_cast<int64_t>(i)); });
}

size_t DenseCodes::scratch_bytes(int64_t rows) const {
  const State& s = *state_;
  const int64_t floats = s.int4                ? s.depth / kInt4Inputs * kArrangedFloats
                         : s.depth == s.inputs ? 0
                                               : s.depth;
  return static_cast<size_t>(rows * floats) * sizeof(float);
}

size_t DenseCodes::packed_bytes() const {
  return state_->weights.size() + state_->scale.size() + state_->zero_point.size() +
         state_->bias.size();
}

int64_t DenseCodes::inputs() const { return state_->inputs; }
int64_t DenseCodes::outputs() const { return state_->outputs; }
const char* DenseCodes::kernel() const { return state_->kernel.c_str(); }

}  // namespace tersor::quantization
