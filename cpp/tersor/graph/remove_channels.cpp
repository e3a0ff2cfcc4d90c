// remove_channels of channels.h.
#include <algorithm>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/graph/channels.h"

namespace tersor::graph {
namespace {

using Places = std::vector<int64_t>;

// The rows `places` of an axis.
Tensor take(const Tensor& from, size_t axis, const Places& places) {
  Shape shape = from.shape();
  const int64_t length = shape[axis];
  int64_t outer = 1;
  for (size_t d = 0; d < axis; ++d) outer *= shape[d];
  shape[axis] = static_cast<int64_t>(places.size());
  Tensor out(from.dtype(), shape);
  const size_t row = from.size_bytes() / static_cast<size_t>(std::max<int64_t>(1, outer * length));
  const auto* source = static_cast<const char*>(from.data());
  auto* target = static_cast<char*>(out.data());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t p : places) {
      std::memcpy(target, source + static_cast<size_t>(o * length + p) * row, row);
      target += row;
    }
  }
  return out;
}

class Remover {
 public:
  Remover(const Graph& graph, const Channels& channels, const std::vector<bool>& keep)
      : graph_(graph), channels_(channels), keep_(keep), result_(graph) {}

  Graph run() {
    consumers_ = graph_.consumers();
    for (size_t n = 0; n < graph_.nodes().size(); ++n) cut(static_cast<NodeId>(n));
    result_.infer();
    result_.verify();
    return std::move(result_);
  }

 private:
  const std::vector<int32_t>& units(EdgeId id) const {
    return channels_.units_of[static_cast<size_t>(id)];
  }
  int axis(EdgeId id) const { return channels_.axes[static_cast<size_t>(id)]; }
  bool stays(int32_t unit) const { return unit < 0 || keep_[static_cast<size_t>(unit)]; }

  Places kept(EdgeId id) const {
    Places out;
    const auto& all = units(id);
    for (size_t c = 0; c < all.size(); ++c) {
      if (stays(all[c])) out.push_back(static_cast<int64_t>(c));
    }
    return out;
  }
  int64_t count_kept(EdgeId id, int64_t first, int64_t last) const {
    return std::count_if(units(id).begin() + first, units(id).begin() + last,
                         [&](int32_t unit) { return stays(unit); });
  }

  void cut(NodeId n) {
    const Node& node = graph_.node(n);
    const EdgeId y = node.outputs[0];
    if (axis(y) >= 0 && !units(y).empty() && kept(y).empty())
      throw ValueError(
          message("remove_channels: keep must leave every layer a channel, got none in ",
                  graph_.edge(y).name));
    switch (node.op) {
      case Op::conv:
      case Op::conv_transpose:
      case Op::dense:
        return cut_layer(n);
      case Op::batch_norm:
        for (size_t i = 1; i < node.inputs.size(); ++i) cut_constant(n, i, 0, y);
        return;
      case Op::pad:
        return cut_pad(n);
      case Op::slice:
        return cut_slice(n);
      case Op::reshape:
        return cut_reshape(n);
      default:
        if (node.inputs.size() == 2) cut_operands(n);
    }
  }

  // Keeps of constant input i, along `along`, the places that `like` keeps.
  void cut_constant(NodeId n, size_t i, size_t along, EdgeId like) {
    const EdgeId id = graph_.node(n).inputs[i];
    if (id == kNoEdge || axis(like) < 0) return;
    Places places = kept(like);
    if (places.size() == units(like).size()) return;
    cut_to(n, i, along, places);
  }
  void cut_to(NodeId n, size_t i, size_t along, const Places& places) {
    EdgeId id = result_.node(n).inputs[i];
    Edge edge = result_.edge(id);
    edge.constant = take(edge.constant, along, places);
    edge.shape = edge.constant.shape();
    const auto& users = consumers_[static_cast<size_t>(graph_.node(n).inputs[i])];
    if (users.size() == 1 || id != graph_.node(n).inputs[i]) {
      result_.edge(id) = std::move(edge);
    } else {  // another user may keep other places
      result_.node(n).inputs[i] = result_.add_edge(std::move(edge));
    }
  }

  void cut_layer(NodeId n) {
    const Node& node = graph_.node(n);
    const EdgeId x = node.inputs[0], y = node.outputs[0];
    const int64_t groups = node.op == Op::dense ? 1 : node.attributes.integer("groups");
    const bool transposed = node.op == Op::conv_transpose;
    if (node.inputs.size() > 2) cut_constant(n, 2, 0, y);
    const bool reads =
        axis(x) == (node.op == Op::dense ? static_cast<int>(graph_.edge(x).shape.size()) - 1 : 1);
    if (groups == 1) {
      cut_constant(n, 1, transposed ? 1 : 0, y);
      if (reads) cut_constant(n, 1, transposed ? 0 : 1, x);
      return;
    }
    if (!reads) return;
    const auto inputs = static_cast<int64_t>(units(x).size());
    const auto outputs = static_cast<int64_t>(units(y).size());
    if (inputs == groups) {  // depthwise
      result_.node(n).attributes.set("groups", static_cast<int64_t>(kept(x).size()));
      cut_constant(n, 1, 0, transposed ? x : y);
      return;
    }
    // Every group keeps the same places.
    cut_constant(n, 1, 0, transposed ? x : y);
    const EdgeId other = transposed ? y : x;
    const int64_t each = (transposed ? outputs : inputs) / groups;
    Places places = kept(other);
    places.resize(static_cast<size_t>(count_kept(other, 0, each)));
    if (static_cast<int64_t>(places.size()) < each) cut_to(n, 1, 1, places);
  }

  void cut_pad(NodeId n) {
    const EdgeId x = graph_.node(n).inputs[0], y = graph_.node(n).outputs[0];
    if (axis(y) < 0) return;
    Ints pads = graph_.node(n).attributes.integers("pads");
    const auto at = static_cast<size_t>(axis(y));
    const int64_t before = pads[at], size = static_cast<int64_t>(units(x).size());
    pads[at] = count_kept(y, 0, before);
    pads[at + pads.size() / 2] =
        count_kept(y, before + size, static_cast<int64_t>(units(y).size()));
    result_.node(n).attributes.set("pads", std::move(pads));
  }

  void cut_slice(NodeId n) {
    const Node& node = graph_.node(n);
    const EdgeId x = node.inputs[0], y = node.outputs[0];
    const Ints& axes = node.attributes.integers("axes");
    const auto found = std::find(axes.begin(), axes.end(), axis(x));
    if (axis(x) < 0 || axis(y) < 0 || found == axes.end()) return;
    const auto i = static_cast<size_t>(found - axes.begin());
    Ints starts = node.attributes.integers("starts"), ends = node.attributes.integers("ends");
    const auto size = static_cast<int64_t>(units(x).size());
    const int64_t first =
        std::clamp<int64_t>(starts[i] < 0 ? starts[i] + size : starts[i], 0, size);
    const auto length = static_cast<int64_t>(units(y).size());
    starts[i] = count_kept(x, 0, first);
    ends[i] = starts[i] + count_kept(x, first, first + length);
    result_.node(n).attributes.set("starts", std::move(starts));
    result_.node(n).attributes.set("ends", std::move(ends));
  }

  void cut_reshape(NodeId n) {
    const EdgeId y = graph_.node(n).outputs[0];
    if (axis(y) < 0) return;
    Ints shape = graph_.node(n).attributes.integers("shape");
    int64_t& size = shape[static_cast<size_t>(axis(y))];
    if (size >= 0) size = static_cast<int64_t>(kept(y).size());
    result_.node(n).attributes.set("shape", std::move(shape));
  }

  void cut_operands(NodeId n) {
    const Node& node = graph_.node(n);
    const EdgeId y = node.outputs[0];
    if (axis(y) < 0) return;
    const size_t rank = graph_.edge(y).shape.size();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Edge& edge = graph_.edge(node.inputs[i]);
      const size_t skip = rank - edge.shape.size(), along = static_cast<size_t>(axis(y));
      if (!edge.is_constant() || along < skip) continue;
      if (edge.shape[along - skip] != 1) cut_constant(n, i, along - skip, y);
    }
  }

  const Graph& graph_;
  const Channels& channels_;
  const std::vector<bool>& keep_;
  Graph result_;
  std::vector<std::vector<NodeId>> consumers_;
};

}  // namespace

Graph remove_channels(const Graph& graph, const Channels& channels, const std::vector<bool>& keep) {
  if (keep.size() != channels.units.size())
    throw ValueError(message("remove_channels: keep must have ", channels.units.size(),
                             " entries, one per unit, got ", keep.size()));
  if (channels.axes.size() != graph.edges().size())
    throw ValueError("remove_channels: channels must be those of the graph, got another one's");
  return Remover(graph, channels, keep).run();
}

}  // namespace tersor::graph
