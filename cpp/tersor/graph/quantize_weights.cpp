#include "tersor/graph/quantize_weights.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/quantization/qparams.h"

namespace tersor::graph {
namespace {

using quantization::QuantScheme;
using quantization::RangeMethod;

constexpr QuantScheme kWeights{.bits = 8, .is_signed = true, .symmetric = true};

const float* bias_of(const Graph& graph, const Node& node) {
  if (node.inputs.size() < 3 || node.inputs[2] == kNoEdge) return nullptr;
  return graph.edge(node.inputs[2]).constant.as<float>();
}

int64_t bias_size(const Graph& graph, const Node& node) {
  return bias_of(graph, node) ? graph.edge(node.inputs[2]).constant.size() : 0;
}

// Its weight [in, out / groups, ...] has no axis of all output channels.
bool is_grouped_transpose(const Node& node) {
  return node.op == Op::conv_transpose && node.attributes.integer("groups") != 1;
}

// Index of the weight's scale that output channel c uses.
size_t scale_index(int64_t c, const QParams& weight) {
  return weight.per_tensor() ? 0 : static_cast<size_t>(c);
}

struct Window {
  int64_t stride = 1, dilation = 1, pad_begin = 0;
};

int64_t entry(const Ints& values, size_t i, int64_t fallback) {
  return i < values.size() ? values[i] : fallback;
}

Window window(const Node& node, size_t d) {
  return {entry(node.attributes.integers("strides"), d, 1),
          entry(node.attributes.integers("dilations"), d, 1),
          entry(node.attributes.integers("pads"), d, 0)};
}

// Positions in the kernel and in the image as (outer, y, x): networks have one or two spatial axes
// here, a third is the outer.
struct Extent {
  int64_t z = 1, y = 1, x = 1;
};

Extent spatial_extent(const Shape& shape) {
  Extent e;
  if (shape.size() > 2) e.x = shape.back();
  if (shape.size() > 3) e.y = shape[shape.size() - 2];
  if (shape.size() > 4) e.z = shape[shape.size() - 3];
  return e;
}

// For every kernel position k of one axis: which input indices i meet an output index.
// `transposed`: the output lies at i * stride + k * dilation - pad; else the input lies at o *
// stride + k * dilation - pad.
std::vector<std::vector<int64_t>> met_inputs(int64_t kernel, int64_t in, int64_t out, Window w,
                                             bool transposed) {
  std::vector<std::vector<int64_t>> met(static_cast<size_t>(kernel));
  for (int64_t k = 0; k < kernel; ++k) {
    for (int64_t i = 0; i < (transposed ? in : out); ++i) {
      const int64_t other = i * w.stride + k * w.dilation - w.pad_begin;
      if (other < 0 || other >= (transposed ? out : in)) continue;
      met[static_cast<size_t>(k)].push_back(transposed ? i : other);
    }
  }
  return met;
}

// sums[channel][kernel position] of the mean input over all output positions that see it.
std::vector<double> window_sums(const Graph& graph, const Node& node, const Tensor& mean,
                                const Tensor& w) {
  const Extent k = spatial_extent(w.shape()), in = spatial_extent(mean.shape());
  const Extent out = spatial_extent(graph.edge(node.outputs[0]).shape);
  const size_t rank = w.shape().size() - 2;
  const bool transposed = node.op == Op::conv_transpose;
  const auto x = met_inputs(k.x, in.x, out.x, window(node, rank - 1), transposed);
  const auto y =
      met_inputs(k.y, in.y, out.y, rank > 1 ? window(node, rank - 2) : Window{}, transposed);
  const auto z =
      met_inputs(k.z, in.z, out.z, rank > 2 ? window(node, rank - 3) : Window{}, transposed);
  const int64_t channels = mean.shape()[1];
  std::vector<double> sums, columns(static_cast<size_t>(in.x));
  sums.reserve(static_cast<size_t>(channels * k.z * k.y * k.x));
  for (int64_t c = 0; c < channels; ++c) {
    const float* image = mean.as<float>() + c * in.z * in.y * in.x;
    for (const auto& zs : z) {
      for (const auto& ys : y) {
        std::fill(columns.begin(), columns.end(), 0.0);  // rows first: they are shared by all of x
        for (int64_t iz : zs) {
          for (int64_t iy : ys) {
            const float* row = image + (iz * in.y + iy) * in.x;
            for (int64_t ix = 0; ix < in.x; ++ix)
              columns[static_cast<size_t>(ix)] += static_cast<double>(row[ix]);
          }
        }
        for (const auto& xs : x) {
          double sum = 0;
          for (int64_t ix : xs) sum += columns[static_cast<size_t>(ix)];
          sums.push_back(sum);
        }
      }
    }
  }
  return sums;
}

std::vector<double> mean_dense_output(const Tensor& mean, const Tensor& w) {
  const auto outputs = static_cast<size_t>(w.shape()[0]),
             inputs = static_cast<size_t>(w.shape()[1]);
  const size_t rows = static_cast<size_t>(mean.size()) / std::max<size_t>(1, inputs);
  std::vector<double> x(inputs, 0.0), y(outputs, 0.0);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < inputs; ++i)
      x[i] += static_cast<double>(mean.as<float>()[r * inputs + i]);
  }
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t i = 0; i < inputs; ++i)
      y[o] += static_cast<double>(w.as<float>()[o * inputs + i]) * x[i];
    y[o] /= static_cast<double>(std::max<size_t>(1, rows));
  }
  return y;
}

}  // namespace

int weight_axis(const Node& node) { return node.op == Op::conv_transpose ? 1 : 0; }

QParams weight_qparams(const Graph& graph, const Node& node, float input_scale,
                       const QuantizeOptions& options) {
  const Tensor& w = graph.edge(node.inputs[1]).constant;
  const auto bits = options.weight_bits.find(node.name);
  const bool low_bits = bits != options.weight_bits.end();
  QuantScheme scheme = kWeights;
  if (low_bits) scheme.bits = bits->second;
  const bool one_scale = node.op == Op::dense
                             ? !options.dense_per_channel && !low_bits
                             : (options.conv_per_tensor && !low_bits) || is_grouped_transpose(node);
  const int axis = one_scale ? -1 : weight_axis(node);
  const RangeMethod method = options.search_weight_range ? RangeMethod::mse : RangeMethod::minmax;
  QParams q =
      quantization::choose_qparams(w.as<float>(), w.shape(), scheme, {axis, 1, 0}, method, 1.0);
  const float* bias = bias_of(graph, node);
  float largest = 0;
  for (int64_t c = 0; c < bias_size(graph, node); ++c) {
    TERSOR_CHECK_AS(GraphError, std::isfinite(bias[c]), "quantize: bias of ", node.name,
                    " must be finite, got ", bias[c]);
    largest = std::max(largest, std::fabs(bias[c]));
  }
  const float* values = w.as<float>();
  const bool zero = std::all_of(values, values + w.size(), [](float v) { return v == 0; });
  if (zero && largest > 0)  // only the bias needs a scale: 20 bits for it
    std::fill(q.scale.begin(), q.scale.end(),
              static_cast<float>(largest / (static_cast<double>(input_scale) * 0x1p20)));
  for (int64_t c = 0; c < bias_size(graph, node); ++c) {
    const double least =
        std::fabs(static_cast<double>(bias[c])) / (static_cast<double>(input_scale) * 0x1p30);
    float& scale = q.scale[scale_index(c, q)];
    if (static_cast<double>(scale) < least) {
      scale = std::nextafter(static_cast<float>(least), INFINITY);
    }
  }
  for (float& scale : q.scale) {  // the bias's scale must be a normal float
    scale = std::max(scale, static_cast<float>(0x1p-125 / static_cast<double>(input_scale)));
  }
  return q;
}

Tensor quantize_tensor(const Tensor& x, const QParams& q) {
  Tensor codes(q.is_signed ? DType::int8 : DType::uint8, x.shape());
  quantization::quantize(x.as<float>(), x.shape(), q, codes.data());
  return codes;
}

Tensor dequantize_tensor(const Tensor& codes, const QParams& q) {
  Tensor x(DType::float32, codes.shape());
  quantization::dequantize(codes.data(), codes.shape(), q, x.as<float>());
  return x;
}

QuantizedBias quantize_bias(const Graph& graph, const Node& node, float input_scale,
                            const QParams& weight) {
  const Tensor& bias = graph.edge(node.inputs[2]).constant;
  const int64_t channels = bias.size();
  QuantizedBias out{Tensor(DType::int32, bias.shape()), {}};
  const size_t scales = weight.per_tensor() ? 1 : static_cast<size_t>(channels);
  out.qparams.bits = 32;
  out.qparams.axis = weight.per_tensor() ? -1 : 0;
  out.qparams.zero_point.assign(scales, 0);
  for (size_t c = 0; c < scales; ++c) {
    out.qparams.scale.push_back(input_scale *
                                weight.scale[scale_index(static_cast<int64_t>(c), weight)]);
  }
  const int64_t taps = taps_of(graph, node);
  for (int64_t c = 0; c < channels; ++c) {
    const double scale = static_cast<double>(input_scale) *
                         static_cast<double>(weight.scale[scale_index(c, weight)]);
    const double code = std::nearbyint(static_cast<double>(bias.as<float>()[c]) / scale);
    TERSOR_CHECK_AS(GraphError, static_cast<double>(taps) * 255 * 127 + std::fabs(code) < 0x1p31,
                    "quantize: accumulators of ", node.name, " must fit 32 bits, got ", taps,
                    " products and a bias code of ", code);
    out.codes.as<int32_t>()[c] = static_cast<int32_t>(code);
  }
  return out;
}

std::vector<double> mean_output(const Graph& graph, const Node& node, const Tensor& mean,
                                const Tensor& w) {
  if (node.op == Op::dense) return mean_dense_output(mean, w);
  const std::vector<double> sums = window_sums(graph, node, mean, w);
  const int64_t groups = node.attributes.integer("groups");
  const bool transposed = node.op == Op::conv_transpose;
  const int64_t in_per_group = mean.shape()[1] / groups;
  const int64_t outputs = transposed ? w.shape()[1] * groups : w.shape()[0];
  const int64_t out_per_group = outputs / groups;
  const Extent k = spatial_extent(w.shape()),
               out = spatial_extent(graph.edge(node.outputs[0]).shape);
  const int64_t taps = k.z * k.y * k.x;
  std::vector<double> y(static_cast<size_t>(outputs), 0.0);
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t group = o / out_per_group;
    double sum = 0;
    for (int64_t i = 0; i < in_per_group; ++i) {
      const int64_t row = transposed
                              ? (group * in_per_group + i) * out_per_group + o % out_per_group
                              : o * in_per_group + i;
      const float* kernel = w.as<float>() + row * taps;
      const double* seen = sums.data() + (group * in_per_group + i) * taps;
      for (int64_t t = 0; t < taps; ++t) sum += static_cast<double>(kernel[t]) * seen[t];
    }
    y[static_cast<size_t>(o)] = sum / static_cast<double>(out.z * out.y * out.x);
  }
  return y;
}

}  // namespace tersor::graph
