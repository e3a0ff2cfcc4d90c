#include "tersor/runtime/plan.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "tersor/base/error.h"
#include "tersor/runtime/arena.h"
#include "tersor/runtime/fusion.h"
#include "tersor/runtime/layout.h"
#include "tersor/runtime/reorder.h"

namespace tersor::runtime {
namespace {

using graph::EdgeId;
using graph::Graph;
using graph::kNoEdge;
using graph::LayoutClass;
using graph::Node;
using graph::NodeId;

StepSpec spec_of(const Plan& plan, const PlannedStep& planned, const std::string& name) {
  StepSpec spec;
  spec.op = planned.op;
  spec.name = name;
  spec.attributes = planned.attributes;
  const auto edge = [&](int id) { return id < 0 ? nullptr : &plan.edges[static_cast<size_t>(id)]; };
  for (const int id : planned.inputs) spec.inputs.push_back(edge(id));
  for (const int id : planned.outputs) spec.outputs.push_back(edge(id));
  spec.post_add = planned.inner >= 0;
  spec.inner = edge(planned.inner);
  spec.post_activation = planned.post_activation;
  spec.options = plan.options.step;
  return spec;
}

std::unique_ptr<Step> ask_providers(const StepSpec& spec, const std::string& only) {
  for (const Provider& provider : providers(only)) {
    if (auto step = provider.make(spec)) return step;
  }
  return nullptr;
}

[[noreturn]] void refuse(const StepSpec& spec) {
  std::string types;
  for (const PlanEdge* edge : spec.inputs) {
    if (!edge) continue;
    types += std::string(types.empty() ? "" : ", ") + name_of(edge->dtype) + to_string(edge->shape);
  }
  throw UnsupportedError(message("session: node '", spec.name, "' (", graph::name_of(spec.op),
                                 ") must be one that a provider can run, got inputs ", types));
}

class Builder {
 public:
  Builder(const Graph& graph, int64_t batch, const PlanOptions& options)
      : graph_(graph), producers_(graph.producers()), consumers_(graph.consumers()) {
    plan_ = std::make_shared<Plan>();
    plan_->batch = batch;
    plan_->options = options;
    resolve_edges();
    at_.assign(graph.edges().size(), {-1, -1});
    wants_.assign(graph.edges().size(), -1);
    for (size_t i = 0; i < graph.edges().size(); ++i) {
      add_edge(static_cast<EdgeId>(i), Layout::row_major);
    }
  }

  std::shared_ptr<const Plan> build() {
    mark_needed();
    std::vector<bool> kept = is_fed_;
    for (size_t e = 0; e < kept.size(); ++e) kept[e] = kept[e] || is_kept_[e];
    fusions_ = find_fusions(graph_, needed_, kept);
    for (const EdgeId e : fed_) {
      make_available(e, Layout::row_major, e);
      plan_->inputs.push_back(e);
      observe(e);
    }
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      if (needed_[i]) emit(static_cast<NodeId>(i));
    }
    for (const EdgeId e : wanted_) plan_->outputs.push_back(output_edge(e));
    share_in_place(*plan_);
    place_edges(*plan_);
    for (const PlannedStep& s : plan_->steps) {
      plan_->scratch_bytes =
          std::max(plan_->scratch_bytes, s.step->scratch_bytes(plan_->options.threads));
      plan_->packed_bytes += s.step->packed_bytes();
    }
    return plan_;
  }

 private:
  // --- edges -----------------------------------------------------------------------------------

  EdgeId edge_named(const std::string& name, const char* what) const {
    const EdgeId e = graph_.find_edge(name);
    TERSOR_CHECK(e != kNoEdge, "session: ", what, " must name an edge of the graph, got '", name,
                 "'");
    TERSOR_CHECK(!graph_.edge(e).is_constant(), "session: ", what,
                 " must not name a constant, got '", name, "'");
    return e;
  }

  void resolve_edges() {
    const PlanOptions& options = plan_->options;
    for (const std::string& name : options.inputs) fed_.push_back(edge_named(name, "inputs"));
    for (const std::string& name : options.taps) tapped_.push_back(edge_named(name, "taps"));
    for (const std::string& name : options.outputs) wanted_.push_back(edge_named(name, "outputs"));
    if (options.inputs.empty()) fed_ = graph_.inputs();
    if (options.outputs.empty() && options.taps.empty()) wanted_ = graph_.outputs();
    is_fed_.assign(graph_.edges().size(), false);
    for (const EdgeId e : fed_) is_fed_[index(e)] = true;
    is_kept_.assign(graph_.edges().size(), false);
    for (const EdgeId e : wanted_) is_kept_[index(e)] = true;
    for (const EdgeId e : tapped_) is_kept_[index(e)] = true;
  }

  static size_t index(int i) { return static_cast<size_t>(i); }
  Shape logical_shape(EdgeId e) const { return with_batch(graph_.edge(e).shape, plan_->batch); }
  size_t rank(EdgeId e) const { return graph_.edge(e).shape.size(); }

  // A new edge of the plan that holds graph edge `e` in `layout`.
  int add_edge(EdgeId e, Layout layout) {
    plan_->edges.emplace_back();
    plan_->graph_edge.push_back(e);
    plan_->root.push_back(static_cast<int>(plan_->edges.size()) - 1);
    set_layout(plan_->root.back(), layout);
    return plan_->root.back();
  }

  void set_layout(int id, Layout layout) {
    const graph::Edge& source = graph_.edge(plan_->graph_edge[index(id)]);
    PlanEdge& edge = plan_->edges[index(id)];
    edge.name = source.name;
    edge.dtype = source.dtype;
    edge.layout = source.shape.size() >= 3 ? layout : Layout::row_major;
    edge.shape = physical_shape(with_batch(source.shape, plan_->batch), edge.layout);
    edge.qparams = physical_qparams(source.qparams, edge.layout, source.shape.size());
    edge.constant = source.constant;
  }

  // Edge `id` of the plan holds `e` in `layout`; where no element moves, also in the other one.
  void make_available(EdgeId e, Layout layout, int id) {
    if (rank(e) < 3) layout = Layout::row_major;
    at_[index(e)][static_cast<size_t>(layout)] = id;
  }

  bool has(EdgeId e, Layout layout) const {
    return rank(e) < 3 ? layout == Layout::row_major
                       : at_[index(e)][static_cast<size_t>(layout)] >= 0;
  }

  int add_alias(EdgeId e, Layout layout, int of) {
    const int id = add_edge(e, layout);
    plan_->root[index(id)] = plan_->root[index(of)];
    return id;
  }

  // The plan's edge of `e` in `layout`, reordered if it must be.
  int in_layout(EdgeId e, Layout layout) {
    if (rank(e) < 3 || graph_.edge(e).is_constant()) layout = Layout::row_major;
    int& id = at_[index(e)][static_cast<size_t>(layout)];
    if (id >= 0) return id;
    if (graph_.edge(e).is_constant()) return id = e;
    const Layout other = layout == Layout::row_major ? Layout::channels_last : Layout::row_major;
    const int from = at_[index(e)][static_cast<size_t>(other)];
    TERSOR_CHECK(from >= 0, "session: edge '", graph_.edge(e).name,
                 "' must be fed or computed from fed edges, got none of them");
    if (same_in_both_layouts(logical_shape(e))) {
      id = add_alias(e, layout, from);
    } else {
      id = add_edge(e, layout);
      add_reorder(from, id);
    }
    return id;
  }

  void add_reorder(int from, int to, const std::string& node = "", NodeId node_id = -1) {
    PlannedStep planned;
    planned.step = make_reorder_step(plan_->edges[index(from)], plan_->edges[index(to)]);
    planned.node = node_id;
    if (node_id >= 0) planned.op = graph_.node(node_id).op;
    planned.inputs = {from};
    planned.outputs = {to};
    planned.nodes = {node.empty() ? "reorder " + plan_->edges[index(from)].name : node};
    plan_->steps.push_back(std::move(planned));
  }

  // --- what runs -------------------------------------------------------------------------------

  void mark_needed() {
    needed_.assign(graph_.nodes().size(), false);
    std::vector<EdgeId> pending = wanted_;
    pending.insert(pending.end(), tapped_.begin(), tapped_.end());
    while (!pending.empty()) {
      const EdgeId e = pending.back();
      pending.pop_back();
      if (e == kNoEdge || is_fed_[index(e)] || graph_.edge(e).is_constant()) continue;
      const NodeId n = producers_[index(e)];
      TERSOR_CHECK(n >= 0, "session: graph input '", graph_.edge(e).name,
                   "' must be fed, because an output needs it");
      if (needed_[index(n)]) continue;
      needed_[index(n)] = true;
      for (const EdgeId input : graph_.node(n).inputs) pending.push_back(input);
    }
  }

  // Would a channels-last value of `e` be used as such?
  bool wants_channels_last(EdgeId e, int depth = 8) {
    if (rank(e) < 3 || depth == 0) return false;
    signed char& known = wants_[index(e)];
    if (known >= 0) return known > 0;
    bool wants = false;
    for (const NodeId n : consumers_[index(e)]) {
      if (!needed_[index(n)] || wants) continue;
      const Node& node = graph_.node(n);
      const LayoutClass layout = graph::spec_of(node.op).layout;
      if (layout == LayoutClass::spatial) wants = node.inputs[0] == e;
      if (layout == LayoutClass::elementwise || node.op == Op::concat || node.op == Op::slice ||
          node.op == Op::pad) {
        wants = wants_channels_last(node.outputs[0], depth - 1);
      }
    }
    if (depth == 8 || wants) known = wants;  // a cut-off "no" is not kept
    return wants;
  }

  // --- nodes
  // --------------------------------------------------------------------------------------

  // Tries conv/dense + add as one step; false when no provider takes it.
  bool emit_fused(NodeId host_id, NodeId add_id) {
    const Node& host = graph_.node(host_id);
    const Node& add = graph_.node(add_id);
    const EdgeId inner = host.outputs[0];
    const EdgeId residual = add.inputs[0] == inner ? add.inputs[1] : add.inputs[0];
    const Layout layout = layout_of_spatial(host);
    // The reorders that the fused step needs are needed by the separate ones too.
    PlannedStep planned = describe(host_id, layout, layout);
    planned.node = add_id;
    planned.nodes.push_back(add.name);
    planned.inputs.push_back(in_layout(residual, layout));
    planned.outputs = {add.outputs[0]};
    planned.inner = inner;
    planned.post_activation = add.attributes.text("activation");
    set_layout(inner, layout);
    set_layout(add.outputs[0], layout);
    const StepSpec spec = spec_of(*plan_, planned, host.name);
    planned.step = ask_providers(spec, plan_->options.provider);
    if (!planned.step) return false;
    plan_->steps.push_back(std::move(planned));
    make_available(add.outputs[0], layout, add.outputs[0]);
    return true;
  }

  void emit(NodeId id) {
    if (fusions_.add_of[index(id)] >= 0) return;  // with its add, below
    const NodeId host = fusions_.host_of[index(id)];
    if (host >= 0) {
      if (emit_fused(host, id)) return observe_all(id);
      emit_plain(host);
    }
    emit_plain(id);
    observe_all(id);
  }

  void observe_all(NodeId id) {
    for (const EdgeId e : graph_.node(id).outputs) observe(e);
  }

  void observe(EdgeId e) {
    for (size_t i = 0; i < tapped_.size(); ++i) {
      if (tapped_[i] != e) continue;
      const int edge = in_layout(e, Layout::row_major);
      plan_->taps.push_back({static_cast<int>(plan_->steps.size()) - 1, edge});
      return;
    }
  }

  void emit_plain(NodeId id) {
    const Node& node = graph_.node(id);
    switch (graph::spec_of(node.op).layout) {
      case LayoutClass::spatial: {
        const Layout layout = layout_of_spatial(node);
        return add_step(describe(id, layout, layout), layout);
      }
      case LayoutClass::elementwise:
        return emit_elementwise(id);
      case LayoutClass::axis:
        return emit_axis(id);
      case LayoutClass::row_major:
        return emit_row_major(id);
    }
  }

  Layout layout_of_spatial(const Node& node) const {
    const bool spatial = graph::spec_of(node.op).layout == LayoutClass::spatial;
    return spatial && rank(node.inputs[0]) >= 3 ? Layout::channels_last : Layout::row_major;
  }

  // A step whose first input is taken in `layout` (other data inputs too, if they have its rank);
  // constants other than weights of spatial operators are permuted to it.
  PlannedStep describe(NodeId id, Layout layout, Layout output_layout) {
    const Node& node = graph_.node(id);
    const bool spatial = graph::spec_of(node.op).layout == LayoutClass::spatial;
    PlannedStep planned;
    planned.node = id;
    planned.nodes = {node.name};
    planned.op = node.op;
    planned.attributes = physical_attributes(node.op, node.attributes, layout,
                                             node.inputs.empty() ? 0 : rank(node.inputs[0]));
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const EdgeId e = node.inputs[i];
      const bool weight = spatial && i > 0;
      planned.inputs.push_back(e == kNoEdge ? -1
                               : weight     ? in_layout(e, Layout::row_major)
                                            : operand(e, layout, rank(node.outputs[0])));
    }
    for (const EdgeId e : node.outputs) {
      set_layout(e, output_layout);
      planned.outputs.push_back(e);
    }
    return planned;
  }

  // An operand of a step that works in `layout` and gives, or broadcasts to, `output_rank` axes.
  int operand(EdgeId e, Layout layout, size_t output_rank) {
    if (graph_.edge(e).is_constant()) {
      if (layout == Layout::row_major || output_rank < 3) return in_layout(e, Layout::row_major);
      const int id = add_edge(e, Layout::row_major);
      set_constant(id, output_rank, layout);
      return id;
    }
    if (layout == Layout::row_major || rank(e) >= output_rank || output_rank < 3) {
      return in_layout(e, layout);
    }
    // Fewer axes: ones in front; broadcasts_freely() made sure that no element moves.
    const int id = add_alias(e, Layout::row_major, in_layout(e, Layout::row_major));
    PlanEdge& edge = plan_->edges[index(id)];
    Shape padded(output_rank - rank(e), 1);
    padded.insert(padded.end(), edge.shape.begin(), edge.shape.end());
    edge.layout = layout;
    edge.shape = physical_shape(padded, layout);
    return id;
  }

  void set_constant(int id, size_t output_rank, Layout layout) {
    const graph::Edge& source = graph_.edge(plan_->graph_edge[index(id)]);
    PlanEdge& edge = plan_->edges[index(id)];
    edge.constant = physical_constant(source.constant, output_rank, layout);
    edge.shape = edge.constant.shape();
    edge.layout = layout;
    edge.qparams = source.qparams;
    if (edge.qparams && edge.qparams->axis >= 0) {
      edge.qparams->axis += static_cast<int>(output_rank - source.shape.size());
      edge.qparams = physical_qparams(edge.qparams, layout, output_rank);
    }
  }

  // Makes the step unless it is given.
  void add_step(PlannedStep planned, Layout output_layout) {
    const StepSpec spec = spec_of(*plan_, planned, planned.nodes.front());
    if (!planned.step) planned.step = ask_providers(spec, plan_->options.provider);
    if (!planned.step) refuse(spec);
    for (const int e : planned.outputs) make_available(e, output_layout, e);
    plan_->steps.push_back(std::move(planned));
  }

  void alias_output(NodeId id, Layout layout, int of) {
    const EdgeId out = graph_.node(id).outputs[0];
    set_layout(out, layout);
    plan_->root[index(out)] = plan_->root[index(of)];
    make_available(out, layout, out);
  }

  // Element-wise: channels-last if an operand is (and the others can be, without moving anything
  // for those of lower rank).
  Layout elementwise_layout(const Node& node) {
    const size_t output_rank = rank(node.outputs[0]);
    if (output_rank < 3) return Layout::row_major;
    bool channels_last = false, lower_rank_moves = false;
    for (const EdgeId e : node.inputs) {
      if (e == kNoEdge || graph_.edge(e).is_constant()) continue;
      if (rank(e) == output_rank) {
        // An edge that is the same in both layouts has no say.
        channels_last |= has(e, Layout::channels_last) && !same_in_both_layouts(logical_shape(e)) &&
                         (!has(e, Layout::row_major) || wants_channels_last(node.outputs[0]));
        continue;
      }
      Shape padded(output_rank - rank(e), 1);
      const Shape shape = logical_shape(e);
      padded.insert(padded.end(), shape.begin(), shape.end());
      lower_rank_moves |= !same_in_both_layouts(padded);
    }
    return channels_last && !lower_rank_moves ? Layout::channels_last : Layout::row_major;
  }

  void emit_elementwise(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId in = node.inputs[0], out = node.outputs[0];
    Layout layout = elementwise_layout(node);
    const bool unary = node.inputs.size() == 1 && !graph_.edge(in).is_constant();
    if (unary && is_free(node)) {
      return alias_output(id, layout, in_layout(in, layout));
    }
    if (unary && layout == Layout::row_major && node.op == Op::quantize &&
        wants_channels_last(out) && plan_->options.provider != "reference" &&
        emit_quantizing_reorder(id)) {
      return;
    }
    // The last change of layout before a graph output is cheaper in int8.
    if (unary && node.op == Op::dequantize && is_kept_[index(out)] &&
        consumers_[index(out)].empty()) {
      layout = Layout::row_major;
    }
    add_step(describe(id, layout, layout), layout);
  }

  // Does the node keep every byte?
  bool is_free(const Node& node) const {
    const graph::Edge& in = graph_.edge(node.inputs[0]);
    const graph::Edge& out = graph_.edge(node.outputs[0]);
    if (in.dtype != out.dtype) return false;
    if (node.op == Op::requantize) return in.qparams == out.qparams;
    return node.op == Op::identity || node.op == Op::cast;
  }

  bool emit_quantizing_reorder(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId out = node.outputs[0];
    const int from = in_layout(node.inputs[0], Layout::row_major);
    set_layout(out, Layout::channels_last);
    if (!can_reorder(plan_->edges[index(from)], plan_->edges[index(out)])) return false;
    add_reorder(from, out, node.name, id);
    make_available(out, Layout::channels_last, out);
    return true;
  }

  void emit_axis(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.op == Op::transpose) return emit_transpose(id);
    Layout layout = Layout::row_major;
    for (const EdgeId e : node.inputs) {
      if (e == kNoEdge || graph_.edge(e).is_constant() || rank(e) < 3) continue;
      if (has(e, Layout::channels_last) &&
          (!has(e, Layout::row_major) || wants_channels_last(node.outputs[0]))) {
        layout = Layout::channels_last;
      }
    }
    Layout output_layout = layout;
    if (node.attributes.has("keepdims") && node.attributes.integer("keepdims") == 0) {
      const graph::Ints& axes = node.attributes.integers("axes");
      const Shape shape = logical_shape(node.inputs[0]);
      if (!layout_after_removal(axes, layout, shape, output_layout)) {
        layout = output_layout = Layout::row_major;
      }
    }
    if (graph_.edge(node.inputs[0]).is_constant() && node.op != Op::concat) {
      layout = output_layout = Layout::row_major;
    }
    add_step(describe(id, layout, output_layout), output_layout);
  }

  void emit_transpose(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId in = node.inputs[0], out = node.outputs[0];
    const graph::Ints& perm = node.attributes.integers("perm");
    if (graph_.edge(in).is_constant()) return emit_row_major(id);
    const std::array<Layout, 2> layouts{Layout::row_major, Layout::channels_last};
    for (const Layout from : layouts) {
      if (!has(in, from)) continue;
      for (const Layout to : layouts) {
        if (to == Layout::channels_last && rank(out) < 3) continue;
        const Shape shape = physical_shape(logical_shape(in), from);
        if (!moves_nothing(shape, physical_permutation(perm, from, to))) continue;
        return alias_output(id, to, in_layout(in, from));
      }
    }
    const Layout from = has(in, Layout::row_major) ? Layout::row_major : Layout::channels_last;
    const Layout to = wants_channels_last(out) ? Layout::channels_last : Layout::row_major;
    PlannedStep planned = describe(id, from, to);
    const graph::Ints physical = physical_permutation(perm, from, to);
    planned.attributes.set("perm", physical);
    if (plan_->options.provider != "reference") {
      planned.step = make_transpose_step(plan_->edges[index(planned.inputs[0])], physical);
    }
    add_step(std::move(planned), to);
  }

  // Which physical input axis becomes each physical output axis.
  static graph::Ints physical_permutation(const graph::Ints& perm, Layout from, Layout to) {
    graph::Ints physical;
    for (const int64_t axis : physical_order(to, perm.size())) {
      physical.push_back(physical_axis(perm[index(static_cast<int>(axis))], from, perm.size()));
    }
    return physical;
  }

  void emit_row_major(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId in = node.inputs[0];
    const bool view =
        node.op == Op::reshape ||
        (node.op == Op::expand && logical_shape(in) == logical_shape(node.outputs[0]));
    if (view && !graph_.edge(in).is_constant()) {
      if (keeps_channels(node)) {
        return alias_output(id, Layout::channels_last, in_layout(in, Layout::channels_last));
      }
      return alias_output(id, Layout::row_major, in_layout(in, Layout::row_major));
    }
    add_step(describe(id, Layout::row_major, Layout::row_major), Layout::row_major);
  }

  // A reshape of the spatial axes alone leaves channels-last data where they are.
  bool keeps_channels(const Node& node) const {
    const EdgeId in = node.inputs[0];
    const Shape from = logical_shape(in), to = logical_shape(node.outputs[0]);
    return node.op == Op::reshape && has(in, Layout::channels_last) &&
           !has(in, Layout::row_major) && from.size() >= 3 && to.size() >= 3 && from[0] == to[0] &&
           from[1] == to[1] && !same_in_both_layouts(from);
  }

  // --- outputs
  // ------------------------------------------------------------------------------------

  // The caller's buffer of output `e`: in logical order, and of no other input, constant or output.
  int output_edge(EdgeId e) {
    const int id = in_layout(e, Layout::row_major);
    const int root = plan_->root[index(id)];
    bool taken = is_fed_[index(plan_->graph_edge[index(root)])] ||
                 static_cast<bool>(plan_->edges[index(root)].constant);
    for (const int other : plan_->outputs) taken |= plan_->root[index(other)] == root;
    if (!taken) return id;
    const int copy = add_edge(e, Layout::row_major);
    plan_->edges[index(copy)].constant = Tensor();
    add_reorder(id, copy, "copy " + graph_.edge(e).name);
    return copy;
  }

  const Graph& graph_;
  std::vector<NodeId> producers_;
  std::vector<std::vector<NodeId>> consumers_;
  std::shared_ptr<Plan> plan_;
  std::vector<EdgeId> fed_, wanted_, tapped_;
  std::vector<bool> is_fed_, is_kept_;  // kept: an output or a tap, so it must exist by itself
  std::vector<bool> needed_;
  Fusions fusions_;
  std::vector<std::array<int, 2>> at_;  // plan edge of each graph edge by layout, -1
  std::vector<signed char> wants_;      // wants_channels_last, -1: not asked yet
};

}  // namespace

std::shared_ptr<const Plan> make_plan(const Graph& graph, int64_t batch,
                                      const PlanOptions& options) {
  TERSOR_CHECK(batch >= 1, "make_plan: batch must be positive, got ", batch);
  return Builder(graph, batch, options).build();
}

std::shared_ptr<const Plan> update_constant(const Plan& plan, const Graph& graph, EdgeId constant) {
  auto updated = std::make_shared<Plan>(plan);
  std::vector<bool> changed(plan.edges.size(), false);
  const graph::Edge& source = graph.edge(constant);
  for (size_t e = 0; e < plan.edges.size(); ++e) {
    PlanEdge& edge = updated->edges[e];
    if (plan.graph_edge[e] != constant || !edge.constant) continue;
    edge.constant = edge.shape == source.shape && edge.layout == Layout::row_major
                        ? source.constant
                        : physical_constant(source.constant, edge.shape.size(), edge.layout);
    changed[e] = true;
  }
  updated->packed_bytes = updated->scratch_bytes = 0;
  for (PlannedStep& planned : updated->steps) {
    bool affected = false;
    for (const int e : planned.inputs) affected |= e >= 0 && changed[static_cast<size_t>(e)];
    if (affected) {
      // A reorder of a constant is a copy to an output.
      const StepSpec spec = spec_of(*updated, planned, planned.nodes.front());
      planned.step = planned.node < 0 ? make_reorder_step(*spec.inputs[0], *spec.outputs[0])
                                      : ask_providers(spec, updated->options.provider);
      if (!planned.step) refuse(spec);
    }
    updated->packed_bytes += planned.step->packed_bytes();
    updated->scratch_bytes =
        std::max(updated->scratch_bytes, planned.step->scratch_bytes(updated->options.threads));
  }
  return updated;
}

}  // namespace tersor::runtime
