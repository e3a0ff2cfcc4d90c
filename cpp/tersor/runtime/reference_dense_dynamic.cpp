#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tersor/runtime/reference.h"
#include "tersor/runtime/weight_codes.h"

namespace tersor::runtime {
namespace {

struct Row {
  std::vector<int32_t> differences;  // q - z
  float scale;
};

// quantization/dense_dynamic.h
Row quantized_row(const float* x, int64_t n) {
  float lo = 0, hi = 0;
  bool finite = true;
  for (int64_t k = 0; k < n; ++k) {
    lo = std::min(lo, x[k]);
    hi = std::max(hi, x[k]);
    finite = finite && std::isfinite(x[k]);
  }
  Row row{std::vector<int32_t>(static_cast<size_t>(n), 0), std::numeric_limits<float>::quiet_NaN()};
  if (!finite || !std::isfinite(hi - lo)) return row;
  row.scale = hi > lo ? std::max((hi - lo) / 255.0f, 0x1p-126f) : 1.0f;
  const float zero = std::clamp(std::nearbyint(-128.0f - lo / row.scale), -128.0f, 127.0f);
  for (int64_t k = 0; k < n; ++k) {
    const float code = std::clamp(std::nearbyint(x[k] / row.scale) + zero, -128.0f, 127.0f);
    row.differences[static_cast<size_t>(k)] = static_cast<int32_t>(code - zero);
  }
  return row;
}

}  // namespace

std::unique_ptr<Step> make_reference_dense_dynamic_step(const StepSpec& spec) {
  if (!is_dynamic(spec) || spec.post_add) return nullptr;
  const Range range = activation_range(spec, activation_of(spec));
  const QParams q = *spec.inputs[1]->qparams;
  return reference_step(spec, [x = operand(spec, 0), w = operand(spec, 1), b = operand(spec, 2), q,
                               range](const StepBuffers& buffers) {
    const int64_t outputs = w.edge.shape[0], inputs = w.edge.shape[1];
    const int8_t* codes = w.data<int8_t>(buffers);
    const float* bias = b.present() ? b.data<float>(buffers) : nullptr;
    const auto* from = x.data<float>(buffers);
    auto* y = static_cast<float*>(buffers.outputs[0]);
    for (int64_t m = 0; inputs > 0 && m < x.edge.size() / inputs; ++m) {
      const Row row = quantized_row(from + m * inputs, inputs);
      for (int64_t o = 0; o < outputs; ++o) {
        int32_t sum = 0;
        for (int64_t k = 0; k < inputs; ++k)
          sum += row.differences[static_cast<size_t>(k)] * codes[o * inputs + k];
        const float scale = row.scale * q.scale[q.per_tensor() ? 0 : static_cast<size_t>(o)];
        const float v = static_cast<float>(sum) * scale + (bias ? bias[o] : 0.0f);
        const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
        y[m * outputs + o] = v < low ? low : v > high ? high : v;
      }
    }
  });
}

}  // namespace tersor::runtime
