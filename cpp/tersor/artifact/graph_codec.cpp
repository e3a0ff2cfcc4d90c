#include "tersor/artifact/graph_codec.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "tersor/base/error.h"

namespace tersor::artifact {
namespace {

using graph::Attributes;
using graph::Edge;
using graph::EdgeId;
using graph::Graph;
using graph::kNoEdge;
using graph::Node;
using graph::OperatorSpec;
using graph::QParams;

// Flags of an edge. Unknown ones are refused.
constexpr uint8_t kOriginDiffers = 1;
constexpr uint8_t kConstant = 2;
constexpr uint8_t kQuantized = 4;

// Flags of quantization parameters.
constexpr uint8_t kSigned = 1;
constexpr uint8_t kNarrow = 2;
constexpr uint8_t kZeroPointsAreZero = 4;
constexpr uint8_t kDerivedBias =
    8;  // scale[c] = input scale * weight scale[c] of the node that uses it

// Nothing that fits a machine is larger; it keeps shape arithmetic far from overflow.
constexpr uint64_t kMostDimension = uint64_t{1} << 40;
constexpr size_t kMostRank = 8;

float product(float a, float b) { return a * b; }

// The parameters that a bias has by its node, or nothing when the node does not determine them.
std::vector<float> derived_bias_scale(const Graph& graph, EdgeId bias) {
  for (const Node& node : graph.nodes()) {
    if (node.inputs.size() < 3 || node.inputs[2] != bias) continue;
    if (node.inputs[0] == kNoEdge || node.inputs[1] == kNoEdge) return {};
    const Edge &x = graph.edge(node.inputs[0]), &w = graph.edge(node.inputs[1]);
    if (!x.qparams || !w.qparams || x.qparams->scale.size() != 1) return {};
    std::vector<float> scale;
    for (float s : w.qparams->scale) scale.push_back(product(x.qparams->scale[0], s));
    return scale;
  }
  return {};
}

void write_shape(const Shape& shape, ByteWriter& out) {
  out.varint(shape.size());
  for (int64_t d : shape) out.varint(static_cast<uint64_t>(d + 1));  // kBatch is 0
}

Shape read_shape(ByteReader& in) {
  const size_t rank = in.varint_below(kMostRank + 1, "rank");
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    shape.push_back(static_cast<int64_t>(in.varint_below(kMostDimension, "dimension")) - 1);
    if (shape.back() == kBatch && i > 0) in.fail("only the first dimension may be the batch");
  }
  return shape;
}

void write_qparams(const Graph& graph, EdgeId id, ByteWriter& out, StreamWriter& streams) {
  const QParams& q = *graph.edge(id).qparams;
  const bool zeros =
      std::all_of(q.zero_point.begin(), q.zero_point.end(), [](int32_t z) { return z == 0; });
  const bool derived =
      zeros && graph.edge(id).dtype == DType::int32 && derived_bias_scale(graph, id) == q.scale;
  out.u8(static_cast<uint8_t>((q.is_signed ? kSigned : 0) | (q.narrow ? kNarrow : 0) |
                              (zeros ? kZeroPointsAreZero : 0) | (derived ? kDerivedBias : 0)));
  out.u8(static_cast<uint8_t>(q.bits));
  out.signed_varint(q.axis);
  out.varint(static_cast<uint64_t>(q.group_size));
  out.varint(q.scale.size());
  if (q.scale.size() == 1) {
    if (!derived) out.f32(q.scale[0]);
    if (!zeros) out.signed_varint(q.zero_point[0]);
    return;
  }
  const Shape shape = {static_cast<int64_t>(q.scale.size())};
  if (!derived) out.varint(streams.add(Tensor::from(DType::float32, shape, q.scale.data()), 32));
  if (!zeros) out.varint(streams.add(Tensor::from(DType::int32, shape, q.zero_point.data()), 32));
}

struct Loader {
  ByteReader& in;
  StreamReader& streams;
  std::vector<StreamName>* names;
  std::vector<size_t> derived;  // edges whose bias scale is filled in at the end

  Tensor stream(const std::string& edge, const char* part, DType dtype, const Shape& shape,
                int bits, bool is_signed) {
    const size_t index = in.varint_below(streams.size(), "stream");
    if (names) (*names)[index] = {edge, part};
    return streams.take(index, dtype, shape, bits, is_signed);
  }

  QParams qparams(const std::string& edge, size_t edge_index) {
    const uint8_t flags = in.u8();
    if (flags > 15) in.fail("unknown quantization flags");
    QParams q;
    q.is_signed = flags & kSigned;
    q.narrow = flags & kNarrow;
    q.bits = static_cast<int>(in.varint_below(33, "bits"));
    if (q.bits < 1) in.fail("bits must be >= 1");
    q.axis = static_cast<int>(std::clamp<int64_t>(in.signed_varint(), -2, kMostRank));
    if (q.axis < -1) in.fail("axis must be >= -1");
    q.group_size = static_cast<int>(in.varint_below(1u << 30, "group size"));
    const size_t count = in.varint_below(uint64_t{1} << 31, "number of scales");
    if (count == 0) in.fail("scales must not be empty");
    const bool derived_bias = flags & kDerivedBias, zeros = flags & kZeroPointsAreZero;
    if (derived_bias) {
      if (!zeros) in.fail("a derived bias has zero points of 0");
      derived.push_back(
          edge_index);  // its tensor's size bounds the count; checked when it is filled in
      q.group_size = 0;
      derived_counts.push_back(count);
      return q;
    }
    const Shape shape = {static_cast<int64_t>(count)};
    if (count == 1) {
      q.scale = {in.f32()};
    } else {
      const Tensor t = stream(edge, "scale", DType::float32, shape, 32, true);
      q.scale.assign(t.as<float>(), t.as<float>() + count);
    }
    if (zeros) {
      q.zero_point.assign(count, 0);
    } else if (count == 1) {
      const int64_t z = in.signed_varint();
      if (z < -(1 << 30) || z > (1 << 30)) in.fail("zero point is out of range");
      q.zero_point = {static_cast<int32_t>(z)};
    } else {
      const Tensor t = stream(edge, "zero_point", DType::int32, shape, 32, true);
      q.zero_point.assign(t.as<int32_t>(), t.as<int32_t>() + count);
    }
    return q;
  }

  std::vector<size_t> derived_counts;

  Edge edge(size_t index) {
    Edge e;
    e.name = in.text();
    const uint8_t flags = in.u8();
    if (flags > 7) in.fail("unknown edge flags");
    e.origin = flags & kOriginDiffers ? in.text() : e.name;
    e.dtype = static_cast<DType>(in.varint_below(kDTypeCount, "dtype"));
    e.shape = read_shape(in);
    if (flags & kQuantized) e.qparams = qparams(e.name, index);
    if (flags & kConstant) {
      if (!e.shape.empty() && e.shape[0] == kBatch) in.fail("a constant has no batch dimension");
      const int bits = e.qparams ? e.qparams->bits : 32;
      e.constant =
          stream(e.name, "values", e.dtype, e.shape, bits, !e.qparams || e.qparams->is_signed);
    }
    return e;
  }

  EdgeId edge_id(size_t edges, bool optional) {
    const auto v = static_cast<EdgeId>(in.varint_below(edges + 1, "edge"));
    if (v == 0 && !optional) in.fail("an edge is missing");
    return v - 1;
  }

  std::vector<EdgeId> edge_ids(size_t edges, bool optional) {
    std::vector<EdgeId> ids(in.count());
    for (EdgeId& id : ids) id = edge_id(edges, optional);
    return ids;
  }
};

void write_ids(const std::vector<EdgeId>& ids, ByteWriter& out) {
  out.varint(ids.size());
  for (EdgeId id : ids) out.varint(static_cast<uint64_t>(id + 1));  // kNoEdge is 0
}

void write_attributes(const Attributes& attributes, const OperatorSpec& spec, ByteWriter& out) {
  // In the operator's own order; only those that differ from the default of a scalar.
  std::vector<size_t> present;
  for (size_t i = 0; i < spec.attributes.size(); ++i) {
    if (attributes.has(spec.attributes[i].name)) present.push_back(i);
  }
  out.varint(present.size());
  for (size_t i : present) {
    out.varint(i);
    const graph::AttributeValue& value = attributes.values().at(spec.attributes[i].name);
    out.u8(static_cast<uint8_t>(value.index()));
    if (const auto* v = std::get_if<int64_t>(&value)) out.signed_varint(*v);
    if (const auto* v = std::get_if<double>(&value)) out.f64(*v);
    if (const auto* v = std::get_if<std::string>(&value)) out.text(*v);
    if (const auto* v = std::get_if<graph::Ints>(&value)) {
      out.varint(v->size());
      for (int64_t x : *v) out.signed_varint(x);
    }
    if (const auto* v = std::get_if<graph::Floats>(&value)) {
      out.varint(v->size());
      for (double x : *v) out.f64(x);
    }
  }
}

Attributes read_attributes(ByteReader& in, const OperatorSpec& spec) {
  Attributes attributes;
  const size_t count = in.count(2);
  for (size_t i = 0; i < count; ++i) {
    const std::string& name =
        spec.attributes.at(in.varint_below(spec.attributes.size(), "attribute")).name;
    if (attributes.has(name)) in.fail("attribute " + name + " is given twice");
    switch (in.varint_below(5, "attribute type")) {
      case 0:
        attributes.set(name, in.signed_varint());
        break;
      case 1:
        attributes.set(name, in.f64());
        break;
      case 2: {
        graph::Ints values(in.count());
        for (int64_t& v : values) v = in.signed_varint();
        attributes.set(name, std::move(values));
        break;
      }
      case 3: {
        graph::Floats values(in.count(8));
        for (double& v : values) v = in.f64();
        attributes.set(name, std::move(values));
        break;
      }
      default:
        attributes.set(name, in.text());
    }
  }
  return attributes;
}

}  // namespace

void write_graph(const Graph& graph, ByteWriter& out, StreamWriter& streams) {
  std::map<graph::Op, size_t> used;
  for (const Node& node : graph.nodes()) used.emplace(node.op, 0);
  out.varint(used.size());
  size_t next = 0;
  for (auto& [op, index] : used) {
    index = next++;
    out.text(graph::name_of(op));
    out.varint(static_cast<uint64_t>(graph::spec_of(op).version));
  }
  out.text(graph.description);
  out.varint(graph.edges().size());
  for (size_t i = 0; i < graph.edges().size(); ++i) {
    const auto id = static_cast<EdgeId>(i);
    const Edge& edge = graph.edge(id);
    out.text(edge.name);
    const bool origin = edge.origin != edge.name;
    out.u8(static_cast<uint8_t>((origin ? kOriginDiffers : 0) |
                                (edge.is_constant() ? kConstant : 0) |
                                (edge.qparams ? kQuantized : 0)));
    if (origin) out.text(edge.origin);
    out.u8(static_cast<uint8_t>(edge.dtype));
    write_shape(edge.shape, out);
    if (edge.qparams) write_qparams(graph, id, out, streams);
    if (edge.is_constant())
      out.varint(streams.add(edge.constant, edge.qparams ? edge.qparams->bits : 32));
  }
  out.varint(graph.nodes().size());
  for (const Node& node : graph.nodes()) {
    out.varint(used[node.op]);
    out.text(node.name);
    write_ids(node.inputs, out);
    write_ids(node.outputs, out);
    write_attributes(node.attributes, graph::spec_of(node.op), out);
  }
  write_ids(graph.inputs(), out);
  write_ids(graph.outputs(), out);
}

Graph read_graph(ByteReader& in, StreamReader& streams, std::vector<StreamName>* names) {
  std::vector<const OperatorSpec*> used(in.count(2));
  for (const OperatorSpec*& spec : used) {
    spec = &graph::spec_of(in.text());
    const uint64_t version = in.varint();
    if (version > static_cast<uint64_t>(spec->version)) {
      in.fail(message("operator ", spec->name, " has version ", version, "; this tersor knows ",
                      spec->version, ": update tersor"));
    }
  }
  std::string description = in.text();
  Loader loader{in, streams, names, {}, {}};
  if (names) names->assign(streams.size(), {});
  std::vector<Edge> edges;
  const size_t edge_count = in.count(4);
  edges.reserve(edge_count);
  for (size_t i = 0; i < edge_count; ++i) edges.push_back(loader.edge(i));
  std::vector<Node> nodes(in.count(5));
  for (Node& node : nodes) {
    const OperatorSpec& spec = *used.at(in.varint_below(used.size(), "operator"));
    node.op = spec.op;
    node.name = in.text();
    node.inputs = loader.edge_ids(edge_count, true);
    node.outputs = loader.edge_ids(edge_count, false);
    node.attributes = read_attributes(in, spec);
  }
  std::vector<EdgeId> inputs = loader.edge_ids(edge_count, false);
  std::vector<EdgeId> outputs = loader.edge_ids(edge_count, false);
  in.expect_end();
  streams.expect_all_taken();
  Graph graph =
      Graph::from_parts(std::move(edges), std::move(nodes), std::move(inputs), std::move(outputs));
  for (size_t i = 0; i < loader.derived.size(); ++i) {
    const auto id = static_cast<EdgeId>(loader.derived[i]);
    std::vector<float> scale = derived_bias_scale(graph, id);
    if (scale.empty() || scale.size() != loader.derived_counts[i])
      in.fail("a derived bias has no node");
    graph.edge(id).qparams->zero_point.assign(scale.size(), 0);
    graph.edge(id).qparams->scale = std::move(scale);
  }
  graph.description = std::move(description);
  graph.verify();
  return graph;
}

}  // namespace tersor::artifact
