#include "tersor/artifact/graph_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "tersor/artifact/sections.h"
#include "tersor/base/error.h"
#include "tersor/graph/weight_codes.h"
#include "tersor/tensor/half.h"

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
// These need kFeatureWeightFormats.
constexpr uint8_t kSeveralAxes = 16;
constexpr uint8_t kFloatZeroPoints = 32;
constexpr uint8_t kHalfScales = 64;  // scales and float zero points are stored as float16
constexpr uint8_t kCodebook = 128;   // needs kFeatureCodebooks
constexpr uint8_t kWeightFormats = kSeveralAxes | kFloatZeroPoints | kHalfScales;

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

bool fits_half(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float v) { return half_to_float(float_to_half(v)) == v; });
}

void write_floats(const std::vector<float>& values, bool half, ByteWriter& out,
                  StreamWriter& streams) {
  if (values.size() == 1) {
    out.f32(values[0]);
    return;
  }
  const Tensor t =
      Tensor::from(DType::float32, {static_cast<int64_t>(values.size())}, values.data());
  out.varint(streams.add(half ? t.to(DType::float16) : t, 32));
}

// The smallest type that holds every value.
DType codebook_dtype(const std::vector<float>& values) {
  const bool integers = std::all_of(values.begin(), values.end(), [](float v) {
    return v == static_cast<float>(static_cast<int8_t>(std::clamp(v, -127.0f, 127.0f))) &&
           (v != 0 || !std::signbit(v));
  });
  if (integers) return DType::int8;
  return fits_half(values) ? DType::float16 : DType::float32;
}

void write_codebook(const QParams& q, ByteWriter& out, StreamWriter& streams) {
  const Shape shape = {static_cast<int64_t>(q.codebook_tables),
                       static_cast<int64_t>(q.codebook_size())};
  const DType dtype = codebook_dtype(q.codebook);
  Tensor values = Tensor::from(DType::float32, shape, q.codebook.data());
  if (dtype == DType::float16) values = values.to(dtype);
  if (dtype == DType::int8) {
    Tensor integers(dtype, shape);
    std::copy(q.codebook.begin(), q.codebook.end(), integers.as<int8_t>());
    values = std::move(integers);
  }
  out.varint(static_cast<uint64_t>(shape[0]));
  out.varint(static_cast<uint64_t>(shape[1]));
  out.u8(static_cast<uint8_t>(dtype));
  out.varint(streams.add(values, 32));
}

// Returns the features that a reader must know.
uint64_t write_qparams(const Graph& graph, EdgeId id, ByteWriter& out, StreamWriter& streams) {
  const QParams& q = *graph.edge(id).qparams;
  const bool zeros =
      std::all_of(q.zero_point.begin(), q.zero_point.end(), [](int32_t z) { return z == 0; });
  const bool derived =
      zeros && graph.edge(id).dtype == DType::int32 && derived_bias_scale(graph, id) == q.scale;
  const bool half =
      !derived && q.scale.size() > 1 && fits_half(q.scale) && fits_half(q.zero_point_float);
  const auto flags = static_cast<uint8_t>(
      (q.is_signed ? kSigned : 0) | (q.narrow ? kNarrow : 0) | (zeros ? kZeroPointsAreZero : 0) |
      (derived ? kDerivedBias : 0) | (q.axis_count > 1 ? kSeveralAxes : 0) |
      (q.has_float_zero() ? kFloatZeroPoints : 0) | (half ? kHalfScales : 0) |
      (q.has_codebook() ? kCodebook : 0));
  out.u8(flags);
  out.u8(static_cast<uint8_t>(q.bits));
  out.signed_varint(q.axis);
  if (q.axis_count > 1) out.varint(static_cast<uint64_t>(q.axis_count));
  out.varint(static_cast<uint64_t>(q.group_size));
  out.varint(q.scale.size());
  if (!derived) write_floats(q.scale, half, out, streams);
  if (!zeros && q.scale.size() == 1) {
    out.signed_varint(q.zero_point[0]);
  } else if (!zeros) {
    const Shape shape = {static_cast<int64_t>(q.scale.size())};
    out.varint(streams.add(Tensor::from(DType::int32, shape, q.zero_point.data()), 32));
  }
  if (q.has_float_zero()) write_floats(q.zero_point_float, half, out, streams);
  if (q.has_codebook()) write_codebook(q, out, streams);
  return ((flags & kWeightFormats) || q.group_size > 0 ? kFeatureWeightFormats : 0) |
         (q.has_codebook() ? kFeatureCodebooks : 0);
}

struct Loader {
  ByteReader& in;
  StreamReader& streams;
  uint64_t features;
  std::vector<StreamName>* names;
  const std::vector<std::string>* only;
  std::vector<size_t> derived;  // edges whose bias scale is filled in at the end

  enum class Taking { now, later, never };

  // Of a constant. A user may name an edge by its origin.
  Taking taking_of(const Edge& e) const {
    const auto named = [&](const std::string& name) { return name == e.name || name == e.origin; };
    return !only || std::any_of(only->begin(), only->end(), named) ? Taking::later : Taking::never;
  }

  Tensor stream(const std::string& edge, const char* part, DType dtype, const Shape& shape,
                int bits, bool is_signed, Taking taking = Taking::now) {
    const size_t index = in.varint_below(streams.size(), "stream");
    if (names) (*names)[index] = {edge, part};
    switch (taking) {
      case Taking::now:
        return streams.take(index, dtype, shape, bits, is_signed);
      case Taking::later:
        return streams.take_later(index, dtype, shape, bits, is_signed);
      default:
        return streams.skip(index, dtype, shape, bits, is_signed);
    }
  }

  std::vector<float> floats(const std::string& edge, const char* part, size_t count, bool half) {
    if (count == 1) return {in.f32()};
    const DType dtype = half ? DType::float16 : DType::float32;
    const Tensor stored = stream(edge, part, dtype, {static_cast<int64_t>(count)}, 32, true);
    const Tensor t = half ? stored.to(DType::float32) : stored;
    return {t.as<float>(), t.as<float>() + count};
  }

  void codebook(const std::string& edge, QParams& q) {
    const size_t tables = in.varint_below(uint64_t{1} << 31, "number of tables");
    const size_t k = in.varint_below(257, "values of a codebook");
    if (tables == 0 || k == 0) in.fail("a codebook must not be empty");
    const uint8_t dtype = in.u8();
    const bool integers = dtype == static_cast<uint8_t>(DType::int8);
    if (!integers && dtype != static_cast<uint8_t>(DType::float16) &&
        dtype != static_cast<uint8_t>(DType::float32))
      in.fail("a codebook must be float32, float16 or int8");
    const Shape shape = {static_cast<int64_t>(tables), static_cast<int64_t>(k)};
    const Tensor stored = stream(edge, "codebook", static_cast<DType>(dtype), shape, 32, true);
    if (integers) {
      q.codebook.assign(stored.as<int8_t>(), stored.as<int8_t>() + stored.size());
    } else {
      const Tensor values = stored.dtype() == DType::float32 ? stored : stored.to(DType::float32);
      q.codebook.assign(values.as<float>(), values.as<float>() + values.size());
    }
    q.codebook_tables = static_cast<int>(tables);
  }

  QParams qparams(const std::string& edge, size_t edge_index) {
    const uint8_t flags = in.u8();
    const int known = 15 + (features & kFeatureWeightFormats ? 112 : 0) +
                      (features & kFeatureCodebooks ? 128 : 0);
    if (flags & ~known) in.fail("unknown quantization flags");
    const bool half = flags & kHalfScales;
    QParams q;
    q.is_signed = flags & kSigned;
    q.narrow = flags & kNarrow;
    q.bits = static_cast<int>(in.varint_below(33, "bits"));
    if (q.bits < 1) in.fail("bits must be >= 1");
    q.axis = static_cast<int>(std::clamp<int64_t>(in.signed_varint(), -2, kMostRank));
    if (q.axis < -1) in.fail("axis must be >= -1");
    if (flags & kSeveralAxes) {
      q.axis_count = static_cast<int>(in.varint_below(kMostRank + 1, "number of axes"));
      if (q.axis < 0 || q.axis_count < 2) in.fail("several axes must be at least 2");
    }
    q.group_size = static_cast<int>(in.varint_below(1u << 30, "group size"));
    const size_t count = in.varint_below(uint64_t{1} << 31, "number of scales");
    if (count == 0) in.fail("scales must not be empty");
    const bool derived_bias = flags & kDerivedBias, zeros = flags & kZeroPointsAreZero;
    if (derived_bias) {
      if (!zeros || (flags & (kWeightFormats | kCodebook)))
        in.fail("a derived bias has zero points of 0");
      derived.push_back(
          edge_index);  // its tensor's size bounds the count; checked when it is filled in
      q.group_size = 0;
      derived_counts.push_back(count);
      return q;
    }
    q.scale = floats(edge, "scale", count, half);
    if (zeros) {
      q.zero_point.assign(count, 0);
    } else if (count == 1) {
      const int64_t z = in.signed_varint();
      if (z < -(1 << 30) || z > (1 << 30)) in.fail("zero point is out of range");
      q.zero_point = {static_cast<int32_t>(z)};
    } else {
      const Shape shape = {static_cast<int64_t>(count)};
      const Tensor t = stream(edge, "zero_point", DType::int32, shape, 32, true);
      q.zero_point.assign(t.as<int32_t>(), t.as<int32_t>() + count);
    }
    if (flags & kFloatZeroPoints) q.zero_point_float = floats(edge, "zero_point", count, half);
    if (flags & kCodebook) codebook(edge, q);
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
      e.constant = stream(e.name, "values", e.dtype, e.shape, bits,
                          !e.qparams || e.qparams->is_signed, taking_of(e));
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

// Of an integer or text, which is what later versions add.
graph::AttributeValue default_of(const graph::AttributeSpec& spec) {
  if (spec.type == graph::AttributeType::text) return spec.default_text;
  return static_cast<int64_t>(std::stoll(spec.default_text));
}

// What an operator's first version did not have is only written where it says something.
bool is_written(const Attributes& attributes, const graph::AttributeSpec& spec) {
  if (!attributes.has(spec.name)) return false;
  if (spec.version == 1) return true;
  return spec.type == graph::AttributeType::text
             ? attributes.text(spec.name) != spec.default_text
             : attributes.integer(spec.name) != std::stoll(spec.default_text);
}

// The version of the operator that a reader of this node must know.
int version_needed(const Node& node, const OperatorSpec& spec) {
  int version = 1;
  for (const graph::AttributeSpec& a : spec.attributes) {
    if (is_written(node.attributes, a)) version = std::max(version, a.version);
  }
  return version;
}

void write_attributes(const Attributes& attributes, const OperatorSpec& spec, ByteWriter& out) {
  // In the operator's own order.
  std::vector<size_t> present;
  for (size_t i = 0; i < spec.attributes.size(); ++i) {
    if (is_written(attributes, spec.attributes[i])) present.push_back(i);
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
  for (const graph::AttributeSpec& a : spec.attributes) {
    if (a.version > 1 && !attributes.has(a.name)) {
      attributes.set(a.name, default_of(a));
    }
  }
  return attributes;
}

}  // namespace

uint64_t write_graph(const Graph& graph, ByteWriter& out, StreamWriter& streams) {
  uint64_t features = 0;
  std::map<graph::Op, size_t> used;
  std::map<graph::Op, int> versions;
  for (const Node& node : graph.nodes()) {
    used.emplace(node.op, 0);
    int& version = versions[node.op];
    version = std::max(version, version_needed(node, graph::spec_of(node.op)));
  }
  out.varint(used.size());
  size_t next = 0;
  for (auto& [op, index] : used) {
    index = next++;
    out.text(graph::name_of(op));
    out.varint(static_cast<uint64_t>(versions[op]));
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
    if (edge.qparams) features |= write_qparams(graph, id, out, streams);
    if (edge.is_constant())
      out.varint(streams.add(edge.constant, edge.qparams ? edge.qparams->bits : 32, true));
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
  for (const Node& node : graph.nodes()) {
    if (graph::has_weight_codes(graph, node)) features |= kFeatureWeightFormats;
  }
  if (streams.has(Coding::sparse)) features |= kFeatureSparse;
  if (streams.has(Coding::coded)) features |= kFeatureCoded;
  return features;
}

Graph read_graph(ByteReader& in, StreamReader& streams, uint64_t features,
                 std::vector<StreamName>* names, const std::vector<std::string>* only) {
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
  Loader loader{in, streams, features, names, only, {}, {}};
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
  streams.decode_pending();
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
