// Dense layers on weight codes: quantization/dense_codes.h, quantization/dense_dynamic.h and
// codebook/lookup_dense.h.
#include <algorithm>

#include "tersor/base/isa.h"
#include "tersor/codebook/lookup_dense.h"
#include "tersor/quantization/codebook_codes.h"
#include "tersor/quantization/dense_codes.h"
#include "tersor/quantization/dense_dynamic.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/weight_codes.h"

namespace tersor::runtime {
namespace {

using codebook::LookupDense;
using quantization::DenseCodes;
using quantization::DenseCodesWeights;
using quantization::DenseDynamic;
using quantization::DenseDynamicWeights;

// 256 KiB of float32: what an L2 holds costs no more than its products.
constexpr int64_t kLeastWeights = 64 * 1024;
// With more rows the products cost more than reading the weights, and decoding is in the way.
constexpr int64_t kMostRows = 4;
// Looking weights up is 1.4 times as fast as float32 at 2 rows of 4096 x 4096, and slower at 3; at
// 1 row of 512 x 512 it begins to be faster (AVX2). Not measured on other processors.
constexpr int64_t kMostLookupRows = 2;
constexpr int64_t kLeastLookupWeights = 256 * 1024;

template <class Layer>
class DenseStep final : public Step {
 public:
  DenseStep(Layer layer, int64_t rows) : layer_(std::move(layer)), rows_(rows) {}

  void run(const StepBuffers& buffers) const override {
    layer_.run(static_cast<const float*>(buffers.inputs[0]), rows_,
               static_cast<float*>(buffers.outputs[0]), buffers.scratch, buffers.threads);
  }
  size_t scratch_bytes(int) const override {
    if constexpr (std::is_same_v<Layer, LookupDense>) {
      return layer_.scratch_bytes();  // rows take turns
    } else {
      return layer_.scratch_bytes(rows_);
    }
  }
  std::string kernel() const override { return std::string("native ") + layer_.kernel(); }
  size_t packed_bytes() const override { return layer_.packed_bytes(); }

 private:
  Layer layer_;
  int64_t rows_;
};

const PlanEdge* bias_of(const StepSpec& spec) {
  return spec.inputs.size() > 2 ? spec.inputs[2] : nullptr;
}

// Neither kernel adds a residual or takes a bias that is computed.
bool plain_dense(const StepSpec& spec) {
  const PlanEdge* bias = bias_of(spec);
  return spec.op == Op::dense && has_weight_codes(spec) && !spec.post_add &&
         !spec.inputs[0]->constant && spec.inputs[0]->size() > 0 && spec.outputs[0]->size() > 0 &&
         (!bias || (bias->constant && bias->dtype == DType::float32));
}

struct SignedCodes {
  std::vector<int8_t> codes;
  std::vector<float> scale, zero_point;  // [outputs][groups]; zero_point may be empty
  int64_t group = 0;
};

// Codes around 0 and one scale for each output and group; nullopt for scales that lie otherwise.
std::optional<SignedCodes> read_codes(const PlanEdge& w) {
  const QParams& q = *w.qparams;
  const int64_t outputs = w.shape[0], inputs = w.shape[1];
  SignedCodes out;
  const bool by_output = q.axis == 0 && q.axis_count == 1 && q.group_size == 0;
  const bool by_group = q.axis == 1 && q.axis_count == 1 && q.group_size > 0;
  if (!q.per_tensor() && !by_output && !by_group) return std::nullopt;
  if (by_group && q.group_size < inputs) out.group = q.group_size;
  const int shift = q.is_signed ? 0 : 1 << (q.bits - 1);
  const auto* bytes = static_cast<const uint8_t*>(w.constant.data());
  for (int64_t i = 0; i < outputs * inputs; ++i) {
    out.codes.push_back(static_cast<int8_t>(
        q.is_signed ? static_cast<int>(static_cast<int8_t>(bytes[i])) : bytes[i] - shift));
  }
  const size_t count =
      static_cast<size_t>(outputs * (out.group ? (inputs + out.group - 1) / out.group : 1));
  bool zero = true;
  for (size_t i = 0; i < count; ++i) {
    const size_t s = q.per_tensor() ? 0 : i;
    out.scale.push_back(q.scale[s]);
    out.zero_point.push_back(static_cast<float>(q.zero_of(s) - shift));
    zero = zero && out.zero_point.back() == 0;
  }
  if (zero) out.zero_point.clear();
  return out;
}

// Codebooks of one scale for all tables; nullptr for others, which are decoded.
std::unique_ptr<Step> make_lookup_step(const StepSpec& spec, int64_t rows, float low, float high) {
  const PlanEdge& w = *spec.inputs[1];
  const QParams& q = *w.qparams;
  const bool fast = active_features() & (Feature::avx2 | Feature::avx512);
  if (!fast || !q.per_tensor() || q.codebook_size() > codebook::kLookupEntries ||
      rows > kMostLookupRows || w.size() < kLeastLookupWeights)
    return nullptr;
  std::vector<float> tables = q.codebook;
  for (float& v : tables) v *= q.scale[0];  // as decoding does
  codebook::LookupWeights l;
  l.outputs = w.shape[0];
  l.inputs = w.shape[1];
  l.codes = w.constant.as<uint8_t>();
  l.k = static_cast<int64_t>(q.codebook_size());
  l.group = static_cast<int64_t>(quantization::rows_of_table(w.shape, q));
  l.tables = tables.data();
  l.bias = bias_of(spec) ? bias_of(spec)->constant.as<float>() : nullptr;
  l.low = low;
  l.high = high;
  return std::make_unique<DenseStep<LookupDense>>(LookupDense(l), rows);
}

}  // namespace

std::unique_ptr<Step> make_native_dense_codes_step(const StepSpec& spec) {
  if (!plain_dense(spec) || spec.options.precision != Precision::float32) return nullptr;
  const PlanEdge& w = *spec.inputs[1];
  const int64_t rows = spec.inputs[0]->size() / w.shape[1];
  const auto limits = read_epilogue_float32(spec);
  if (!limits || rows > kMostRows || w.size() < kLeastWeights) return nullptr;
  if (w.qparams->has_codebook()) return make_lookup_step(spec, rows, limits->low, limits->high);
  const auto codes = read_codes(w);
  if (!codes) return nullptr;
  DenseCodesWeights d;
  d.outputs = w.shape[0];
  d.inputs = w.shape[1];
  d.codes = codes->codes.data();
  d.bits = w.qparams->bits;
  d.group = codes->group;
  d.scale = codes->scale.data();
  d.zero_point = codes->zero_point.empty() ? nullptr : codes->zero_point.data();
  d.bias = bias_of(spec) ? bias_of(spec)->constant.as<float>() : nullptr;
  d.low = limits->low;
  d.high = limits->high;
  if (!DenseCodes::supports(d)) return nullptr;
  return std::make_unique<DenseStep<DenseCodes>>(DenseCodes(d), rows);
}

std::unique_ptr<Step> make_native_dense_dynamic_step(const StepSpec& spec) {
  if (!is_dynamic(spec) || !plain_dense(spec)) return nullptr;
  const PlanEdge& w = *spec.inputs[1];
  const auto limits = read_epilogue_float32(spec);
  if (!limits) return nullptr;
  std::vector<float> scale = w.qparams->scale;
  scale.resize(static_cast<size_t>(w.shape[0]), scale[0]);  // per tensor: the same for all
  DenseDynamicWeights d;
  d.outputs = w.shape[0];
  d.inputs = w.shape[1];
  d.codes = w.constant.as<int8_t>();
  d.scale = scale.data();
  d.bias = bias_of(spec) ? bias_of(spec)->constant.as<float>() : nullptr;
  d.low = limits->low;
  d.high = limits->high;
  return std::make_unique<DenseStep<DenseDynamic>>(DenseDynamic(d),
                                                   spec.inputs[0]->size() / w.shape[1]);
}

}  // namespace tersor::runtime
