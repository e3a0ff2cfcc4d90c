// Attribute completion and output types of every operator.
#include <algorithm>

#include "tersor/base/error.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {
namespace {

AttributeValue default_value(const AttributeSpec& spec) {
  switch (spec.type) {
    case AttributeType::integer:
      return static_cast<int64_t>(std::stoll(spec.default_text));
    case AttributeType::real:
      return std::stod(spec.default_text);
    case AttributeType::integers:
      return Ints{};
    case AttributeType::reals:
      return Floats{};
    case AttributeType::text:
      return spec.default_text;
  }
  return int64_t{0};
}

const char* words_of(AttributeType type) {
  switch (type) {
    case AttributeType::integer:
      return "an integer";
    case AttributeType::real:
      return "a number";
    case AttributeType::integers:
      return "a list of integers";
    case AttributeType::reals:
      return "a list of numbers";
    case AttributeType::text:
      return "a string";
  }
  return "";
}

template <class... Parts>
void require(bool condition, Op op, const Parts&... parts) {
  if (!condition) throw GraphError(message(name_of(op), ": ", parts...));
}

void check_types(Op op, Attributes& attributes) {
  const OperatorSpec& spec = spec_of(op);
  for (const auto& [name, value] : attributes.values()) {
    const bool known =
        std::any_of(spec.attributes.begin(), spec.attributes.end(),
                    [&name = name](const AttributeSpec& a) { return a.name == name; });
    require(known, op, "attribute must be one that the operator has, got ", name);
  }
  for (const AttributeSpec& a : spec.attributes) {
    if (!attributes.has(a.name)) {
      require(!a.required, op, "attribute ", a.name, " must be given");
      attributes.set(a.name, default_value(a));
      continue;
    }
    const AttributeValue& value = attributes.values().at(a.name);
    if (a.type == AttributeType::real && std::holds_alternative<int64_t>(value)) {
      attributes.set(a.name, static_cast<double>(std::get<int64_t>(value)));
      continue;
    }
    if (a.type == AttributeType::reals && std::holds_alternative<Ints>(value)) {
      const Ints& ints = std::get<Ints>(value);
      attributes.set(a.name, Floats(ints.begin(), ints.end()));
      continue;
    }
    require(value.index() == static_cast<size_t>(a.type), op, "attribute ", a.name, " must be ",
            words_of(a.type));
  }
}

void fill_ints(Op op, Attributes& attributes, const char* name, size_t length, int64_t value,
               int64_t least) {
  Ints ints = attributes.integers(name);
  if (ints.empty()) ints.assign(length, value);
  require(ints.size() == length, op, "attribute ", name, " must have ", length, " entries, got ",
          ints.size());
  for (int64_t i : ints) {
    require(least <= i && i <= (int64_t{1} << 31), op, "attribute ", name, " must hold values in [",
            least, ", 2^31], got ", i);
  }
  attributes.set(name, std::move(ints));
}

void check_activation(Op op, const Attributes& attributes) {
  if (!attributes.has("activation")) return;
  const std::string& a = attributes.text("activation");
  require(a == "none" || a == "relu" || a == "relu6", op,
          "activation must be none, relu or relu6, got ", a);
}

Ints normalized_axes(Op op, Ints axes, size_t rank) {
  for (int64_t& axis : axes) {
    require(-static_cast<int64_t>(rank) <= axis && axis < static_cast<int64_t>(rank), op,
            "axes must be in [", -static_cast<int64_t>(rank), ", ", rank, "), got ", axis);
    if (axis < 0) axis += static_cast<int64_t>(rank);
  }
  return axes;
}

void complete_axes(Op op, Attributes& attributes, size_t rank) {
  if (attributes.has("axis")) {
    attributes.set("axis", normalized_axes(op, {attributes.integer("axis")}, rank)[0]);
  }
  if (!attributes.has("axes")) return;
  Ints axes = normalized_axes(op, attributes.integers("axes"), rank);
  if (op != Op::slice) std::sort(axes.begin(), axes.end());
  Ints sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), op,
          "axes must be different");
  attributes.set("axes", std::move(axes));
}

// Extent of a strided window over a padded axis; -1 when nothing fits.
int64_t window_count(int64_t size, int64_t pads, int64_t window, int64_t stride, bool ceil_mode,
                     int64_t begin_pad) {
  const int64_t room = size + pads - window;
  if (room < 0) return -1;
  int64_t count = room / stride + 1;
  // A window that would start in the end padding does not count (ONNX and PyTorch agree).
  if (ceil_mode && room % stride != 0 && count * stride < size + begin_pad) ++count;
  return count;
}

Shape infer_conv(Op op, const Attributes& a, const std::vector<EdgeType>& in) {
  const Shape& x = in[0].shape;
  const Shape& w = in[1].shape;
  const int64_t groups = a.integer("groups");
  const bool transposed = op == Op::conv_transpose;
  require(groups >= 1, op, "groups must be >= 1, got ", groups);
  const int64_t in_channels = transposed ? w[0] : w[1] * groups;
  require(x[1] == in_channels, op, "input must have ", in_channels, " channels (weight ",
          to_string(w), ", groups ", groups, "), got ", to_string(x));
  require((transposed ? w[0] : w[0]) % groups == 0, op, "channels must be a multiple of groups ",
          groups, ", got weight ", to_string(w));
  const int64_t out_channels = transposed ? w[1] * groups : w[0];
  if (in.size() > 2) {
    require(in[2].shape == Shape{out_channels}, op, "bias must have shape [", out_channels,
            "], got ", to_string(in[2].shape));
  }
  Shape y = {x[0], out_channels};
  const size_t spatial = x.size() - 2;
  const Ints &strides = a.integers("strides"), &pads = a.integers("pads"),
             &dilations = a.integers("dilations");
  for (size_t i = 0; i < spatial; ++i) {
    const int64_t window = dilations[i] * (w[i + 2] - 1) + 1;
    int64_t size;
    if (transposed) {
      size = (x[i + 2] - 1) * strides[i] + window + a.integers("output_padding")[i] - pads[i] -
             pads[i + spatial];
    } else {
      size =
          window_count(x[i + 2], pads[i] + pads[i + spatial], window, strides[i], false, pads[i]);
    }
    require(size > 0, op, "kernel must fit the padded input, got input ", to_string(x),
            " and weight ", to_string(w));
    y.push_back(size);
  }
  return y;
}

Shape infer_pool(Op op, const Attributes& a, const Shape& x) {
  Shape y = {x[0], x[1]};
  const size_t spatial = x.size() - 2;
  const Ints &kernel = a.integers("kernel"), &strides = a.integers("strides"),
             &pads = a.integers("pads");
  for (size_t i = 0; i < spatial; ++i) {
    require(pads[i] < kernel[i] && pads[i + spatial] < kernel[i], op,
            "pads must be smaller than the kernel");
    const int64_t size = window_count(x[i + 2], pads[i] + pads[i + spatial], kernel[i], strides[i],
                                      a.integer("ceil_mode") != 0, pads[i]);
    require(size > 0, op, "kernel must fit the padded input, got input ", to_string(x));
    y.push_back(size);
  }
  return y;
}

Shape infer_dense(Op op, const std::vector<EdgeType>& in) {
  const Shape &x = in[0].shape, &w = in[1].shape;
  require(w.size() == 2 && !x.empty() && x.back() == w[1], op, "weight must be [out, ",
          x.empty() ? 0 : x.back(), "], got ", to_string(w));
  if (in.size() > 2) {
    require(in[2].shape == Shape{w[0]}, op, "bias must have shape [", w[0], "], got ",
            to_string(in[2].shape));
  }
  Shape y = x;
  y.back() = w[0];
  return y;
}

Shape infer_matmul(Op op, const Shape& a, const Shape& b) {
  require(a.size() >= 2 && b.size() >= 2, op, "operands must have rank >= 2, got ", to_string(a),
          " and ", to_string(b));
  require(a.back() == b[b.size() - 2], op, "inner dimensions must be equal, got ", to_string(a),
          " and ", to_string(b));
  Shape y = broadcast_shapes(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  y.push_back(a[a.size() - 2]);
  y.push_back(b.back());
  return y;
}

Shape infer_reduce(Op op, const Attributes& a, const Shape& x) {
  Shape y;
  const Ints& axes = a.integers("axes");
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end()) {
      y.push_back(x[i]);
      continue;
    }
    require(x[i] != kBatch, op, "axes must not contain the batch axis 0");
    require(x[i] > 0, op, "reduced dimensions must be > 0, got ", to_string(x));
    if (a.integer("keepdims")) y.push_back(1);
  }
  return y;
}

Shape infer_concat(Op op, const Attributes& a, const std::vector<EdgeType>& in) {
  const auto axis = static_cast<size_t>(a.integer("axis"));
  Shape y = in[0].shape;
  require(y[axis] != kBatch, op, "axis must not be the batch axis");
  for (size_t i = 1; i < in.size(); ++i) {
    const Shape& s = in[i].shape;
    require(s.size() == y.size(), op, "inputs must have equal rank, got ", to_string(s));
    for (size_t d = 0; d < y.size(); ++d) {
      require(d == axis || s[d] == y[d], op, "inputs must agree outside axis ", axis, ", got ",
              to_string(y), " and ", to_string(s));
    }
    y[axis] += s[axis];
  }
  return y;
}

Shape infer_slice(Op op, const Attributes& a, const Shape& x) {
  const Ints &axes = a.integers("axes"), &starts = a.integers("starts"), &ends = a.integers("ends"),
             &steps = a.integers("steps");
  Shape y = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(axes[i]);
    require(x[d] != kBatch, op, "axes must not contain the batch axis 0");
    require(steps[i] >= 1, op, "steps must be >= 1, got ", steps[i]);
    const auto bound = [&](int64_t v) {
      return std::clamp<int64_t>(v < 0 ? v + x[d] : v, 0, x[d]);
    };
    const int64_t extent = bound(ends[i]) - bound(starts[i]);
    y[d] = extent > 0 ? (extent - 1) / steps[i] + 1 : 0;
  }
  return y;
}

int64_t static_count(const Shape& shape) {
  Shape known = shape;
  if (!known.empty() && known[0] == kBatch) known[0] = 1;
  return element_count(known);  // checks for overflow
}

Shape infer_reshape(Op op, const Attributes& a, const Shape& x) {
  Shape y = a.integers("shape");
  const bool batch = !x.empty() && x[0] == kBatch;
  int64_t open = -1, known = 1;
  for (size_t i = 0; i < y.size(); ++i) {
    require(y[i] >= -1, op, "shape must hold values >= -1, got ", to_string(y));
    if (y[i] == -1) {
      require(open < 0, op, "shape must hold at most one open dimension, got ", to_string(y));
      open = static_cast<int64_t>(i);
    } else {
      require(!__builtin_mul_overflow(known, y[i], &known), op, "shape must fit 63 bits");
    }
  }
  if (batch) {
    require(open == 0 && known == static_count(x), op, "shape must keep the batch dimension and ",
            static_count(x), " elements a sample, got ", to_string(y), " from ", to_string(x));
    return y;
  }
  if (open >= 0) {
    require(known > 0 && static_count(x) % known == 0, op, "shape must hold ", static_count(x),
            " elements, got ", to_string(y));
    y[static_cast<size_t>(open)] = static_count(x) / known;
  }
  require(static_count(y) == static_count(x), op, "shape must hold ", static_count(x),
          " elements, got ", to_string(y));
  return y;
}

Shape infer_transpose(Op op, const Attributes& a, const Shape& x) {
  const Ints& perm = a.integers("perm");
  require(perm.size() == x.size(), op, "perm must have ", x.size(), " entries, got ", perm.size());
  Ints sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  Shape y;
  for (size_t i = 0; i < perm.size(); ++i) {
    require(sorted[i] == static_cast<int64_t>(i), op, "perm must be a permutation of 0..",
            x.size() - 1);
    y.push_back(x[static_cast<size_t>(perm[i])]);
  }
  require(x.empty() || x[0] != kBatch || perm[0] == 0, op, "perm must keep the batch axis first");
  return y;
}

Shape infer_pad(Op op, const Attributes& a, const Shape& x) {
  const Ints& pads = a.integers("pads");
  require(pads.size() == 2 * x.size(), op, "pads must have ", 2 * x.size(), " entries, got ",
          pads.size());
  Shape y = x;
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t extra = pads[i] + pads[i + x.size()];
    if (x[i] == kBatch) {
      require(pads[i] == 0 && pads[i + x.size()] == 0, op, "pads must not touch the batch axis");
      continue;
    }
    require(std::abs(pads[i]) <= (int64_t{1} << 31) &&
                std::abs(pads[i + x.size()]) <= (int64_t{1} << 31) && x[i] + extra >= 0,
            op, "pads must leave a shape >= 0, got ", to_string(x));
    y[i] += extra;
  }
  const std::string& mode = a.text("mode");
  require(mode == "constant" || mode == "reflect" || mode == "edge", op,
          "mode must be constant, reflect or edge, got ", mode);
  return y;
}

Shape infer_gather(Op op, const Attributes& a, const Shape& x, const Shape& indices) {
  const auto axis = static_cast<size_t>(a.integer("axis"));
  require(x[axis] != kBatch, op, "axis must not be the batch axis");
  require(axis == 0 || indices.empty() || indices[0] != kBatch, op,
          "indices must be constant unless axis is 0");
  Shape y(x.begin(), x.begin() + static_cast<int64_t>(axis));
  y.insert(y.end(), indices.begin(), indices.end());
  y.insert(y.end(), x.begin() + static_cast<int64_t>(axis) + 1, x.end());
  return y;
}

Shape infer_resize(Op op, const Attributes& a, const Shape& x) {
  const Ints& sizes = a.integers("sizes");
  require(sizes.size() + 2 == x.size(), op, "sizes must have ", x.size() - 2, " entries, got ",
          sizes.size());
  const std::string &mode = a.text("mode"), &coordinates = a.text("coordinates");
  require(mode == "nearest" || mode == "linear", op, "mode must be nearest or linear, got ", mode);
  require(coordinates == "half_pixel" || coordinates == "asymmetric" ||
              coordinates == "align_corners" || coordinates == "pytorch_half_pixel",
          op,
          "coordinates must be half_pixel, pytorch_half_pixel, asymmetric or align_corners, got ",
          coordinates);
  Shape y = {x[0], x[1]};
  for (int64_t s : sizes) {
    require(s > 0, op, "sizes must be > 0, got ", s);
    y.push_back(s);
  }
  return y;
}

}  // namespace

void complete_attributes(Op op, Attributes& attributes, const std::vector<EdgeType>& inputs) {
  check_types(op, attributes);
  check_activation(op, attributes);
  const OperatorSpec& spec = spec_of(op);
  const size_t rank = inputs.empty() ? 0 : inputs[0].shape.size();
  if (spec.layout == LayoutClass::spatial) {
    require(rank >= (op == Op::batch_norm ? 2 : 3) && rank <= 5, op,
            "input must have rank 3 to 5 ([N, C, spatial...]), got rank ", rank);
  }
  const size_t spatial = rank >= 2 ? rank - 2 : 0;
  if (op == Op::conv || op == Op::conv_transpose) {
    require(inputs.size() > 1 && inputs[1].shape.size() == rank, op,
            "weight must have the input's rank ", rank, ", got ", to_string(inputs[1].shape));
    fill_ints(op, attributes, "strides", spatial, 1, 1);
    fill_ints(op, attributes, "pads", 2 * spatial, 0, 0);
    fill_ints(op, attributes, "dilations", spatial, 1, 1);
    if (op == Op::conv_transpose) fill_ints(op, attributes, "output_padding", spatial, 0, 0);
  } else if (op == Op::max_pool || op == Op::avg_pool) {
    fill_ints(op, attributes, "kernel", spatial, 1, 1);
    fill_ints(op, attributes, "strides", spatial, 1, 1);
    fill_ints(op, attributes, "pads", 2 * spatial, 0, 0);
  } else if (op == Op::slice) {
    const size_t count = attributes.integers("axes").size();
    fill_ints(op, attributes, "steps", count, 1, 1);
    for (const char* name : {"starts", "ends"}) {
      require(attributes.integers(name).size() == count, op, "attribute ", name, " must have ",
              count, " entries");
    }
  }
  complete_axes(op, attributes, rank);
}

EdgeType infer_type(Op op, const Attributes& a, const std::vector<EdgeType>& in) {
  const Shape& x = in[0].shape;
  DType dtype = in[0].dtype;
  const OperatorSpec& spec = spec_of(op);
  try {
    switch (op) {
      case Op::conv:
      case Op::conv_transpose:
        return {dtype, infer_conv(op, a, in)};
      case Op::dense:
        return {dtype, infer_dense(op, in)};
      case Op::matmul:
        return {dtype, infer_matmul(op, x, in[1].shape)};
      case Op::max_pool:
      case Op::avg_pool:
        return {dtype, infer_pool(op, a, x)};
      case Op::reduce_mean:
      case Op::reduce_sum:
      case Op::reduce_max:
        return {dtype, infer_reduce(op, a, x)};
      case Op::concat:
        return {dtype, infer_concat(op, a, in)};
      case Op::slice:
        return {dtype, infer_slice(op, a, x)};
      case Op::pad:
        return {dtype, infer_pad(op, a, x)};
      case Op::gather:
        return {dtype, infer_gather(op, a, x, in[1].shape)};
      case Op::resize:
        return {dtype, infer_resize(op, a, x)};
      case Op::reshape:
        return {dtype, infer_reshape(op, a, x)};
      case Op::transpose:
        return {dtype, infer_transpose(op, a, x)};
      case Op::expand:
        return {dtype, broadcast_shapes(x, a.integers("shape"))};
      case Op::cast:
        return {dtype_from_name(a.text("to")), x};
      case Op::quantize:
        return {DType::int8, x};
      case Op::dequantize:
        return {DType::float32, x};
      case Op::batch_norm:
        for (size_t i = 1; i < in.size(); ++i) {
          require(in[i].shape == Shape{x[1]}, op, "parameters must have shape [", x[1], "], got ",
                  to_string(in[i].shape));
        }
        return {dtype, x};
      case Op::layer_norm: {
        const auto axis = static_cast<size_t>(a.integer("axis"));
        for (size_t i = 1; i < in.size(); ++i) {
          require(in[i].shape == Shape(x.begin() + static_cast<int64_t>(axis), x.end()), op,
                  "parameters must have the shape of the normalised axes, got ",
                  to_string(in[i].shape));
        }
        return {dtype, x};
      }
      case Op::prelu: {
        const Shape y = broadcast_shapes(x, in[1].shape);
        require(y == x, op, "slope must broadcast to the input ", to_string(x), ", got ",
                to_string(in[1].shape));
        return {dtype, x};
      }
      default:
        break;
    }
    // The rest is element-wise or keeps its input's shape.
    if (in.size() == 2) return {dtype, broadcast_shapes(x, in[1].shape)};
    require(spec.most_inputs == 1, op, "has no shape rule");
    return {dtype, x};
  } catch (const GraphError&) {
    throw;
  } catch (const ValueError& error) {
    throw GraphError(message(name_of(op), ": ", error.what()));
  }
}

int64_t macs_of(const Graph& graph, const Node& node) {
  const auto count = [&](EdgeId id) {
    int64_t product = 1;
    for (int64_t d : graph.edge(id).shape) product *= d == kBatch ? 1 : d;
    return product;
  };
  switch (node.op) {
    case Op::conv: {
      const Shape& w = graph.edge(node.inputs[1]).shape;
      int64_t per_output = 1;
      for (size_t i = 1; i < w.size(); ++i) per_output *= w[i];
      return count(node.outputs[0]) * per_output;
    }
    case Op::conv_transpose: {
      const Shape& w = graph.edge(node.inputs[1]).shape;
      int64_t per_input = 1;
      for (size_t i = 1; i < w.size(); ++i) per_input *= w[i];
      return count(node.inputs[0]) * per_input;
    }
    case Op::dense:
      return count(node.outputs[0]) * graph.edge(node.inputs[1]).shape[1];
    case Op::matmul:
      return count(node.outputs[0]) * graph.edge(node.inputs[0]).shape.back();
    default:
      return 0;
  }
}

int64_t constant_bytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Edge& edge : graph.edges()) {
    if (!edge.is_constant()) continue;
    const bool packed = edge.qparams && size_of(edge.dtype) == 1;
    bytes += packed ? (edge.constant.size() * edge.qparams->bits + 7) / 8
                    : static_cast<int64_t>(edge.constant.size_bytes());
    if (packed) bytes += 4 * static_cast<int64_t>(edge.qparams->codebook.size());
  }
  return bytes;
}

}  // namespace tersor::graph
