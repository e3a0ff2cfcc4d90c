#include "tersor/graph/channels.h"

#include <algorithm>
#include <map>
#include <set>

#include "tersor/base/error.h"
#include "tersor/graph/name_pattern.h"

namespace tersor::graph {
namespace {

bool is_layer(Op op) { return op == Op::conv || op == Op::conv_transpose || op == Op::dense; }

// Sets of channels that go together, each with the reason why it has to stay (0: none).
class Sets {
 public:
  int32_t add(int32_t reason = 0) {
    parent_.push_back(static_cast<int32_t>(parent_.size()));
    reason_.push_back(reason);
    return parent_.back();
  }
  int32_t find(int32_t a) {
    while (parent_[at(a)] != a) a = parent_[at(a)] = parent_[at(parent_[at(a)])];
    return a;
  }
  void unite(int32_t a, int32_t b) {
    a = find(a), b = find(b);
    if (a == b) return;
    if (a > b) std::swap(a, b);
    parent_[at(b)] = a;
    if (reason_[at(a)] == 0) reason_[at(a)] = reason_[at(b)];
  }
  void fix(int32_t a, int32_t reason) {
    a = find(a);
    if (reason_[at(a)] == 0) reason_[at(a)] = reason;
  }
  int32_t reason(int32_t a) { return reason_[at(find(a))]; }
  size_t size() const { return parent_.size(); }

 private:
  static size_t at(int32_t a) { return static_cast<size_t>(a); }
  std::vector<int32_t> parent_, reason_;
};

using Places = std::vector<int32_t>;  // a set for every place on an axis

struct Track {
  int axis = -1;
  Places places;
};

class Finder {
 public:
  Finder(const Graph& graph, const std::vector<std::string>& excluded)
      : graph_(graph), excluded_(excluded), tracks_(graph.edges().size()), reasons_(1) {}

  Channels run() {
    for (EdgeId id : graph_.inputs()) enter(id);
    for (const Node& node : graph_.nodes()) visit(node);
    for (EdgeId id : graph_.outputs()) fix(track(id), "the network returns them");
    return collect();
  }

 private:
  Track& track(EdgeId id) { return tracks_[static_cast<size_t>(id)]; }
  const Shape& shape(EdgeId id) const { return graph_.edge(id).shape; }
  bool is_constant(EdgeId id) const { return graph_.edge(id).is_constant(); }

  int32_t reason(const std::string& text) {
    reasons_.push_back(text);
    return static_cast<int32_t>(reasons_.size()) - 1;
  }
  void fix(const Track& t, const std::string& text) {
    if (t.axis < 0) return;
    const int32_t why = reason(text);
    for (int32_t a : t.places) sets_.fix(a, why);
  }
  Places fresh(int64_t count, int32_t why = 0) {
    Places out(static_cast<size_t>(count));
    for (int32_t& a : out) a = sets_.add(why);
    return out;
  }
  void unite(const Places& a, const Places& b) {
    for (size_t i = 0; i < a.size(); ++i) sets_.unite(a[i], b[i]);
  }

  void enter(EdgeId id) {
    const Shape& s = shape(id);
    if (s.size() < 2 || s[1] == kBatch) return;
    track(id) = {1, fresh(s[1], reason("they come from outside"))};
  }

  // The places of an edge's `axis`, or null where they are not followed; what is followed on
  // another axis then stays.
  const Places* places_at(EdgeId id, size_t axis, const Node& node) {
    Track& t = track(id);
    if (t.axis == static_cast<int>(axis)) return &t.places;
    fix(t, message(node.name, " (", name_of(node.op), ") reads another axis"));
    return nullptr;
  }

  void mix(const Node& node) {
    for (EdgeId id : node.inputs) {
      if (id != kNoEdge) fix(track(id), message(node.name, " (", name_of(node.op), ") mixes them"));
    }
  }

  void visit(const Node& node) {
    Track& out = track(node.outputs[0]);
    const Track& in = track(node.inputs[0]);
    switch (node.op) {
      case Op::conv:
      case Op::conv_transpose:
      case Op::dense:
        return visit_layer(node);
      case Op::batch_norm:
        return visit_batch_norm(node);
      case Op::max_pool:
      case Op::avg_pool:
      case Op::resize:
        if (places_at(node.inputs[0], 1, node)) out = in;
        return;
      case Op::reduce_mean:
      case Op::reduce_sum:
      case Op::reduce_max:
        return visit_reduce(node);
      case Op::softmax:
      case Op::log_softmax:
        if (in.axis == node.attributes.integer("axis")) mix(node);
        out = in;
        return;
      case Op::layer_norm:
        if (in.axis >= node.attributes.integer("axis")) mix(node);
        out = in;
        return;
      case Op::concat:
        return visit_concat(node);
      case Op::slice:
        return visit_slice(node);
      case Op::pad:
        return visit_pad(node);
      case Op::reshape:
        return visit_reshape(node);
      case Op::transpose:
        return visit_transpose(node);
      case Op::matmul:
      case Op::gather:
      case Op::expand:
        return mix(node);
      default:
        return node.inputs.size() == 2 ? visit_binary(node) : void(out = in);
    }
  }

  void visit_layer(const Node& node) {
    const bool dense = node.op == Op::dense;
    const EdgeId x = node.inputs[0], y = node.outputs[0];
    const size_t axis = dense ? shape(x).size() - 1 : 1;
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNoEdge || is_constant(node.inputs[i])) continue;
      mix(node);  // weights that are computed
      return;
    }
    const Places* in = places_at(x, axis, node);
    const size_t out_axis = dense ? shape(y).size() - 1 : 1;
    const int64_t count = shape(y)[out_axis];
    const int64_t groups = dense ? 1 : node.attributes.integer("groups");
    Places made;
    if (groups == 1) {
      made = fresh(count);
    } else if (in == nullptr) {
      made = fresh(count, reason(node.name + " has groups"));
    } else {
      made = visit_groups(*in, count, groups);
    }
    const auto matches = [&](const std::string& p) { return matches_node(graph_, node, p); };
    if (std::any_of(excluded_.begin(), excluded_.end(), matches)) {
      const int32_t why = reason("it is excluded");
      for (int32_t a : made) sets_.fix(a, why);
    }
    track(y) = {static_cast<int>(out_axis), std::move(made)};
  }

  Places visit_groups(const Places& in, int64_t count, int64_t groups) {
    const size_t reads = in.size() / static_cast<size_t>(groups);
    const size_t makes = static_cast<size_t>(count / groups);
    Places made;
    if (reads == 1) {  // depthwise: a filter goes with its channel
      for (int32_t a : in) made.insert(made.end(), makes, a);
      return made;
    }
    for (size_t i = reads; i < in.size(); ++i) sets_.unite(in[i], in[i % reads]);
    const Places one = fresh(static_cast<int64_t>(makes));
    for (int64_t g = 0; g < groups; ++g) made.insert(made.end(), one.begin(), one.end());
    return made;
  }

  void visit_batch_norm(const Node& node) {
    const auto computed = [&](EdgeId id) { return id != kNoEdge && !is_constant(id); };
    if (std::any_of(node.inputs.begin() + 1, node.inputs.end(), computed)) return mix(node);
    if (places_at(node.inputs[0], 1, node)) track(node.outputs[0]) = track(node.inputs[0]);
  }

  void visit_reduce(const Node& node) {
    const Track& in = track(node.inputs[0]);
    if (in.axis < 0) return;
    const Ints& axes = node.attributes.integers("axes");
    if (std::find(axes.begin(), axes.end(), in.axis) != axes.end()) return mix(node);
    int axis = in.axis;
    if (!node.attributes.integer("keepdims"))
      axis -= static_cast<int>(
          std::count_if(axes.begin(), axes.end(), [&](int64_t a) { return a < in.axis; }));
    track(node.outputs[0]) = {axis, in.places};
  }

  void visit_concat(const Node& node) {
    const auto axis = static_cast<int>(node.attributes.integer("axis"));
    Track& out = track(node.outputs[0]);
    const bool along = std::any_of(node.inputs.begin(), node.inputs.end(),
                                   [&](EdgeId id) { return track(id).axis == axis; });
    if (!along) {  // the same channels of all
      const Track first = track(node.inputs[0]);
      for (EdgeId id : node.inputs) {
        if (first.axis < 0 || track(id).axis != first.axis) return mix(node);
        unite(track(id).places, first.places);
      }
      out = first;
      return;
    }
    out.axis = axis;
    for (EdgeId id : node.inputs) {
      const Places* in = places_at(id, static_cast<size_t>(axis), node);
      const Places places = in ? *in
                               : fresh(shape(id)[static_cast<size_t>(axis)],
                                       reason(node.name + " joins what is not followed"));
      out.places.insert(out.places.end(), places.begin(), places.end());
    }
  }

  void visit_slice(const Node& node) {
    const Track& in = track(node.inputs[0]);
    Track& out = track(node.outputs[0]);
    out = in;
    const Ints& axes = node.attributes.integers("axes");
    const auto found = std::find(axes.begin(), axes.end(), in.axis);
    if (in.axis < 0 || found == axes.end()) return;
    const auto i = static_cast<size_t>(found - axes.begin());
    if (node.attributes.integers("steps")[i] != 1) {
      mix(node);
      out = {};
      return;
    }
    const int64_t size = static_cast<int64_t>(in.places.size());
    const auto bound = [&](int64_t v) {
      return std::clamp<int64_t>(v < 0 ? v + size : v, 0, size);
    };
    const int64_t first = bound(node.attributes.integers("starts")[i]);
    const int64_t last = std::max(first, bound(node.attributes.integers("ends")[i]));
    out.places.assign(in.places.begin() + first, in.places.begin() + last);
  }

  void visit_pad(const Node& node) {
    const Track& in = track(node.inputs[0]);
    Track& out = track(node.outputs[0]);
    out = in;
    if (in.axis < 0) return;
    const Ints& pads = node.attributes.integers("pads");
    const auto axis = static_cast<size_t>(in.axis);
    const int64_t before = pads[axis], after = pads[axis + pads.size() / 2];
    if (before == 0 && after == 0) return;
    if (before < 0 || after < 0 || node.attributes.text("mode") != "constant") {
      mix(node);
      out = {};
      return;
    }
    out.places = fresh(before);
    out.places.insert(out.places.end(), in.places.begin(), in.places.end());
    const Places rest = fresh(after);
    out.places.insert(out.places.end(), rest.begin(), rest.end());
  }

  // The channels stay an axis, or each becomes several features in a row (flattening).
  void visit_reshape(const Node& node) {
    const Track& in = track(node.inputs[0]);
    if (in.axis < 0) return;
    const Shape &x = shape(node.inputs[0]), &y = shape(node.outputs[0]);
    const auto size = [](int64_t d) { return d == kBatch ? int64_t{1} : d; };
    int64_t left = 1, seen = 1;
    for (int d = 0; d < in.axis; ++d) left *= size(x[static_cast<size_t>(d)]);
    const int64_t channels = x[static_cast<size_t>(in.axis)];
    for (size_t b = 0; b < y.size() && seen <= left; seen *= size(y[b]), ++b) {
      if (seen != left || y[b] == kBatch || y[b] % channels != 0 || y[b] == 0) continue;
      int64_t spread = 1;  // places behind a channel that fall into the same axis
      for (auto d = static_cast<size_t>(in.axis) + 1; d < x.size() && spread < y[b] / channels; ++d)
        spread *= x[d];
      if (spread * channels != y[b] || (channels == 1 && spread == 1)) continue;
      Track& out = track(node.outputs[0]);
      out.axis = static_cast<int>(b);
      for (int32_t a : in.places)
        out.places.insert(out.places.end(), static_cast<size_t>(spread), a);
      return;
    }
    mix(node);
  }

  void visit_transpose(const Node& node) {
    const Track& in = track(node.inputs[0]);
    const Ints& perm = node.attributes.integers("perm");
    const auto found = std::find(perm.begin(), perm.end(), in.axis);
    if (in.axis >= 0) track(node.outputs[0]) = {static_cast<int>(found - perm.begin()), in.places};
  }

  // Operands meet by broadcasting; a constant follows the channels of the other.
  void visit_binary(const Node& node) {
    const EdgeId y = node.outputs[0];
    const size_t rank = shape(y).size();
    Track& out = track(y);
    for (EdgeId id : node.inputs) {
      const Track& in = track(id);
      if (in.axis < 0) continue;
      const size_t axis = static_cast<size_t>(in.axis) + rank - shape(id).size();
      if (shape(y)[axis] != static_cast<int64_t>(in.places.size())) {
        fix(in, message(node.name, " (", name_of(node.op), ") repeats them"));
      } else if (out.axis < 0) {
        out = {static_cast<int>(axis), in.places};
      } else if (out.axis == static_cast<int>(axis)) {
        unite(in.places, out.places);
      } else {
        mix(node);
      }
    }
    if (out.axis < 0) return;
    for (EdgeId id : node.inputs) {  // computed, but not followed: its channels cannot be removed
      const size_t skip = rank - shape(id).size(), axis = static_cast<size_t>(out.axis);
      if (is_constant(id) || track(id).axis >= 0 || axis < skip) continue;
      if (shape(id)[axis - skip] != 1) return fix(out, node.name + " meets what is not followed");
    }
  }

  Channels collect() {
    Channels result;
    std::vector<int32_t> unit_of(sets_.size(), -1);
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      if (is_layer(node.op)) number(static_cast<NodeId>(n), unit_of, result);
    }
    for (const Track& t : tracks_) {
      result.axes.push_back(t.axis);
      auto& units = result.units_of.emplace_back();
      for (int32_t a : t.places) units.push_back(unit_of[static_cast<size_t>(sets_.find(a))]);
    }
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      const Node& node = graph_.nodes()[n];
      if (!is_layer(node.op)) continue;
      list(static_cast<NodeId>(n), node.outputs[0], &ChannelUnit::made, result);
      list(static_cast<NodeId>(n), node.inputs[0], &ChannelUnit::read, result);
    }
    group(result);
    return result;
  }

  // Gives the sets that the layer makes a number each, or says why they stay.
  void number(NodeId n, std::vector<int32_t>& unit_of, Channels& result) {
    const Node& node = graph_.node(n);
    const Track& made = track(node.outputs[0]);
    bool any = made.places.empty();
    for (int32_t a : made.places) {
      if (sets_.reason(a) != 0) continue;
      any = true;
      int32_t& unit = unit_of[static_cast<size_t>(sets_.find(a))];
      if (unit >= 0) continue;
      unit = static_cast<int32_t>(result.units.size());
      result.units.push_back({-1, {}, {}});
    }
    if (!any) {
      const auto why = static_cast<size_t>(sets_.reason(made.places[0]));
      result.fixed.push_back(node.name + ": " + reasons_[why]);
    }
  }

  static void list(NodeId n, EdgeId edge, std::vector<LayerChannel> ChannelUnit::*which,
                   Channels& result) {
    const auto& units = result.units_of[static_cast<size_t>(edge)];
    for (size_t c = 0; c < units.size(); ++c) {
      if (units[c] < 0) continue;
      (result.units[static_cast<size_t>(units[c])].*which).push_back({n, static_cast<int64_t>(c)});
    }
  }

  // Layers with a unit in common form a group.
  void group(Channels& result) const {
    std::map<NodeId, NodeId> leader;
    const auto find = [&](NodeId n) {
      while (leader.at(n) != n) n = leader.at(n);
      return n;
    };
    for (const ChannelUnit& unit : result.units) {
      for (const LayerChannel& c : unit.made) leader.emplace(c.node, c.node);
      for (const LayerChannel& c : unit.made) {
        const NodeId a = find(unit.made[0].node), b = find(c.node);
        leader[std::max(a, b)] = std::min(a, b);
      }
    }
    std::map<NodeId, int32_t> index;
    for (const auto& entry : leader) {
      const auto [it, is_new] =
          index.emplace(find(entry.first), static_cast<int32_t>(result.groups.size()));
      if (is_new) result.groups.emplace_back();
      result.groups[static_cast<size_t>(it->second)].push_back(entry.first);
    }
    for (ChannelUnit& unit : result.units) unit.group = index.at(find(unit.made[0].node));
  }

  const Graph& graph_;
  const std::vector<std::string>& excluded_;
  std::vector<Track> tracks_;  // per edge
  std::vector<std::string> reasons_;
  Sets sets_;
};

}  // namespace

Channels find_channels(const Graph& graph, const std::vector<std::string>& excluded) {
  for (const Edge& edge : graph.edges()) {
    if (edge.qparams)
      throw GraphError(message("find_channels: graph must be a float network (channels go before ",
                               "quantization), got a quantized edge ", edge.name));
  }
  for (const std::string& pattern : excluded) {
    const auto matches = [&](const Node& node) {
      return is_layer(node.op) && matches_node(graph, node, pattern);
    };
    if (std::none_of(graph.nodes().begin(), graph.nodes().end(), matches))
      throw ValueError(message("find_channels: excluded must match layers, got '", pattern, "'",
                               hint_for(graph, pattern)));
  }
  return Finder(graph, excluded).run();
}

std::vector<std::vector<int32_t>> cover(const Channels& channels) {
  std::set<std::vector<int32_t>> sets;
  for (std::vector<int32_t> units : channels.units_of) {
    std::sort(units.begin(), units.end());
    units.erase(std::unique(units.begin(), units.end()), units.end());
    if (!units.empty() && units[0] >= 0) sets.insert(std::move(units));
  }
  return {sets.begin(), sets.end()};
}

}  // namespace tersor::graph
