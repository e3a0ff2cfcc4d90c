#include "tersor/codebook/lookup_dense.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"
#include "tersor/codebook/lookup_columns.h"

namespace tersor::codebook {
namespace {

// A piece of work per thread is at least this many weights: below about 5 us of one core, waking
// another does not pay.
constexpr std::int64_t kSplitWeights = 64 * 1024;

void check(const LookupWeights& w) {
  TERSOR_CHECK(w.outputs > 0, "lookup_dense: outputs must be at least 1, got ", w.outputs);
  TERSOR_CHECK(w.inputs > 0, "lookup_dense: inputs must be at least 1, got ", w.inputs);
  TERSOR_CHECK(1 <= w.k && w.k <= kLookupEntries, "lookup_dense: centroids must be 1 to ",
               kLookupEntries, " a table, got ", w.k);
  TERSOR_CHECK(w.group >= 0, "lookup_dense: group must be at least 0, got ", w.group);
  for (std::int64_t i = 0; i < w.outputs * w.inputs; ++i) {
    TERSOR_CHECK(w.codes[i] < w.k, "lookup_dense: indices must be below ", w.k, ", got ",
                 static_cast<int>(w.codes[i]));
  }
}

Buffer packed_rows(const LookupWeights& w, std::int64_t depth) {
  Buffer codes(static_cast<std::size_t>(w.outputs * depth / 2));
  std::memset(codes.data(), 0, codes.size());
  for (std::int64_t o = 0; o < w.outputs; ++o) {
    std::uint8_t* const row = codes.as<std::uint8_t>() + o * depth / 2;
    for (std::int64_t i = 0; i < w.inputs; ++i) {
      const int shift = i % 64 < 32 ? 0 : 4;
      row[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>(w.codes[o * w.inputs + i] << shift);
    }
  }
  return codes;
}

float clamped(float y, float low, float high) {
  y = y < low ? low : y;
  return y > high ? high : y;
}

}  // namespace

struct LookupDense::State {
  std::int64_t outputs, inputs;
  LookupBlocks packed{};  // codes only without columns
  Buffer codes, tables, planes, bias;
  std::optional<LookupColumns> columns;
  std::string kernel;
};

LookupDense::LookupDense(const LookupWeights& w) : state_(std::make_unique<State>()) {
  check(w);
  State& s = *state_;
  s.outputs = w.outputs;
  s.inputs = w.inputs;
  const std::int64_t depth = (w.inputs + kLookupInputs - 1) / kLookupInputs * kLookupInputs;
  const std::int64_t group = w.group == 0 ? w.outputs : w.group;
  const std::int64_t tables = (w.outputs + group - 1) / group;
  s.tables = Buffer(static_cast<std::size_t>(tables * kLookupEntries) * sizeof(float));
  s.planes = Buffer(static_cast<std::size_t>(tables * kLookupEntries) * 4);
  std::memset(s.tables.data(), 0, s.tables.size());
  for (std::int64_t t = 0; t < tables; ++t) {
    for (std::int64_t c = 0; c < w.k; ++c) {
      const float value = w.tables[t * w.k + c];
      TERSOR_CHECK(std::isfinite(value), "lookup_dense: centroids must be finite, got ", value);
      s.tables.as<float>()[t * kLookupEntries + c] = value;
    }
    for (std::int64_t c = 0; c < kLookupEntries; ++c) {
      const auto bits = std::bit_cast<std::uint32_t>(s.tables.as<float>()[t * kLookupEntries + c]);
      for (int b = 0; b < 4; ++b) {
        s.planes.as<std::uint8_t>()[(4 * t + b) * kLookupEntries + c] =
            static_cast<std::uint8_t>(bits >> (8 * b));
      }
    }
  }
  if (w.bias) {
    s.bias = Buffer(static_cast<std::size_t>(w.outputs) * sizeof(float));
    std::memcpy(s.bias.data(), w.bias, s.bias.size());
  }
  if (LookupColumns::pays(w)) {
    s.columns.emplace(w, s.tables.as<float>());
  } else {
    s.codes = packed_rows(w, depth);
  }
  s.packed.codes = s.codes.as<std::uint8_t>();
  s.packed.tables = s.tables.as<float>();
  s.packed.planes = s.planes.as<std::uint8_t>();
  s.packed.bias = s.bias.as<float>();
  s.packed.group = group;
  s.packed.depth = depth;
  s.packed.low = w.low;
  s.packed.high = w.high;
  const KernelTableBase& table =
      s.columns ? static_cast<const KernelTableBase&>(lookup_columns_table) : lookup_dense_table;
  s.kernel = std::string(table.op()) + " " + table.row(table.active_row()).variant;
}

LookupDense::~LookupDense() = default;
LookupDense::LookupDense(LookupDense&&) noexcept = default;

void LookupDense::run(const float* x, std::int64_t rows, float* y, void* scratch,
                      int threads) const {
  const State& s = *state_;
  if (s.columns) {
    const LookupBlocks& a = s.packed;
    for (std::int64_t m = 0; m < rows; ++m, x += s.inputs, y += s.outputs) {
      s.columns->run(x, y, scratch, threads);
      for (std::int64_t o = 0; o < s.outputs; ++o)
        y[o] = clamped(y[o] + (a.bias ? a.bias[o] : 0), a.low, a.high);
    }
    return;
  }
  auto* const padded = static_cast<float*>(scratch);
  float* const arranged = padded + s.packed.depth;
  // The order of x belongs to the kernel: the same row of both tables.
  const std::size_t row = lookup_dense_table.active_row();
  auto* const kernel = lookup_dense_table.at(row);
  auto* const arrange = arrange_lookup_table.at(row);
  const std::int64_t pieces =
      threads <= 1 ? 1
                   : std::clamp<std::int64_t>(s.outputs * s.packed.depth / kSplitWeights, 1,
                                              std::min<std::int64_t>(s.outputs, 4 * threads));
  std::fill(padded + s.inputs, padded + s.packed.depth, 0.0f);
  for (std::int64_t m = 0; m < rows; ++m) {
    std::memcpy(padded, x + m * s.inputs, static_cast<std::size_t>(s.inputs) * sizeof(float));
    arrange(padded, s.packed.depth, arranged);
    LookupBlocks all = s.packed;
    all.x = arranged;
    all.y = y + m * s.outputs;
    all.end = s.outputs;
    if (pieces == 1) {
      kernel(all);
      continue;
    }
    parallel_tasks(static_cast<std::size_t>(pieces), threads, [&](std::size_t p, int) {
      LookupBlocks part = all;
      part.first = s.outputs * static_cast<std::int64_t>(p) / pieces;
      part.end = s.outputs * static_cast<std::int64_t>(p + 1) / pieces;
      kernel(part);
    });
  }
}

std::size_t LookupDense::scratch_bytes() const {
  return state_->columns ? state_->columns->scratch_bytes()
                         : static_cast<std::size_t>(2 * state_->packed.depth) * sizeof(float);
}

std::size_t LookupDense::packed_bytes() const {
  const State& s = *state_;
  return s.codes.size() + (s.columns ? s.columns->packed_bytes() : 0) + s.tables.size() +
         s.planes.size() + s.bias.size();
}

std::int64_t LookupDense::inputs() const { return state_->inputs; }
std::int64_t LookupDense::outputs() const { return state_->outputs; }
const char* LookupDense::kernel() const { return state_->kernel.c_str(); }

}  // namespace tersor::codebook
