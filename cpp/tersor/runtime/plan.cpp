#include "tersor/runtime/plan.h"

#include <algorithm>
#include <array>

#include "tersor/base/error.h"
#include "tersor/runtime/arena.h"
#include "tersor/runtime/fusion.h"
#include "tersor/runtime/layout.h"
#include "tersor/runtime/plan_edges.h"
#include "tersor/runtime/plan_scope.h"
#include "tersor/runtime/reorder.h"
#include "tersor/runtime/weight_codes.h"

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

std::unique_ptr<Step> ask_providers(const StepSpec& spec, const std::string& only);

// Weight codes: kernels on the codes where they pay, else the operator on their reals. Fused with
// an add only on reals.
std::unique_ptr<Step> ask_on_codes(const StepSpec& spec, const std::string& only) {
  const bool native = only.empty() || only == "native";
  if (is_dynamic(spec)) {
    auto step = native ? make_native_dense_dynamic_step(spec) : nullptr;
    return step ? std::move(step) : make_reference_dense_dynamic_step(spec);
  }
  StepSpec alone = spec;
  if (spec.post_add) alone.inputs.pop_back();
  alone.post_add = false;
  if (auto step = native ? make_native_dense_codes_step(alone) : nullptr) {
    return spec.post_add ? nullptr : std::move(step);
  }
  const PlanEdge weight = decoded_weight(*spec.inputs[1]);
  StepSpec decoded = spec;
  decoded.inputs[1] = &weight;
  return ask_providers(decoded, only);
}

std::unique_ptr<Step> ask_providers(const StepSpec& spec, const std::string& only) {
  if (has_weight_codes(spec)) return ask_on_codes(spec, only);
  for (const Provider& provider : providers(only)) {
    if (auto step = provider.make(spec)) return step;
  }
  return nullptr;
}

// The provider that was chosen for the node, else the plan's.
std::unique_ptr<Step> ask_providers(const StepSpec& spec, const PlanOptions& options) {
  const auto choice = options.choices.find(spec.name);
  if (choice != options.choices.end()) {
    if (auto step = providers(choice->second).front().make(spec)) return step;
  }
  return ask_providers(spec, options.provider);
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

std::shared_ptr<Plan> new_plan(int64_t batch, const PlanOptions& options) {
  auto plan = std::make_shared<Plan>();
  plan->batch = batch;
  plan->options = options;
  return plan;
}

// Goes through the needed nodes in order and decides the layout that each works in.
class Builder {
 public:
  Builder(const Graph& graph, int64_t batch, const PlanOptions& options)
      : graph_(graph),
        plan_(new_plan(batch, options)),
        scope_(scope_of(graph, options)),
        edges_(graph, *plan_),
        consumers_(graph.consumers()),
        wants_(graph.edges().size(), -1) {}

  std::shared_ptr<const Plan> build() {
    std::vector<bool> kept = scope_.is_fed;
    for (size_t e = 0; e < kept.size(); ++e) kept[e] = kept[e] || scope_.is_kept[e];
    fusions_ = find_fusions(graph_, scope_.needed, kept);
    for (const EdgeId e : scope_.fed) {
      edges_.make_available(e, Layout::row_major, e);
      plan_->inputs.push_back(e);
      observe(e);
    }
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      if (scope_.needed[i]) emit(static_cast<NodeId>(i));
    }
    for (const EdgeId e : scope_.wanted) plan_->outputs.push_back(output_edge(e));
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
  static size_t index(int i) { return static_cast<size_t>(i); }
  bool is_needed(NodeId n) const { return scope_.needed[index(n)]; }

  // Would a channels-last value of `e` be used as such?
  bool wants_channels_last(EdgeId e, int depth = 8) {
    if (edges_.rank(e) < 3 || depth == 0) return false;
    signed char& known = wants_[index(e)];
    if (known >= 0) return known > 0;
    bool wants = false;
    for (const NodeId n : consumers_[index(e)]) {
      if (!is_needed(n) || wants) continue;
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

  // --- nodes -----------------------------------------------------------------------------------

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
    planned.inputs.push_back(edges_.in_layout(residual, layout));
    planned.outputs = {add.outputs[0]};
    planned.inner = inner;
    planned.post_activation = add.attributes.text("activation");
    edges_.set_layout(inner, layout);
    edges_.set_layout(add.outputs[0], layout);
    const StepSpec spec = spec_of(*plan_, planned, host.name);
    planned.step = ask_providers(spec, plan_->options);
    if (!planned.step) return false;
    plan_->steps.push_back(std::move(planned));
    edges_.make_available(add.outputs[0], layout, add.outputs[0]);
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
    for (size_t i = 0; i < scope_.tapped.size(); ++i) {
      if (scope_.tapped[i] != e) continue;
      const int edge = edges_.in_layout(e, Layout::row_major);
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
    return spatial && edges_.rank(node.inputs[0]) >= 3 ? Layout::channels_last : Layout::row_major;
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
                                             node.inputs.empty() ? 0 : edges_.rank(node.inputs[0]));
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const EdgeId e = node.inputs[i];
      const bool weight = spatial && i > 0;
      planned.inputs.push_back(e == kNoEdge ? -1
                               : weight     ? edges_.in_layout(e, Layout::row_major)
                                        : edges_.operand(e, layout, edges_.rank(node.outputs[0])));
    }
    for (const EdgeId e : node.outputs) {
      edges_.set_layout(e, output_layout);
      planned.outputs.push_back(e);
    }
    return planned;
  }

  // Makes the step unless it is given.
  void add_step(PlannedStep planned, Layout output_layout) {
    const StepSpec spec = spec_of(*plan_, planned, planned.nodes.front());
    if (!planned.step) planned.step = ask_providers(spec, plan_->options);
    if (!planned.step) refuse(spec);
    for (const int e : planned.outputs) edges_.make_available(e, output_layout, e);
    plan_->steps.push_back(std::move(planned));
  }

  void alias_output(NodeId id, Layout layout, int of) {
    edges_.make_alias(graph_.node(id).outputs[0], layout, of);
  }

  // Element-wise: channels-last if an operand is (and the others can be, without moving anything
  // for those of lower rank).
  Layout elementwise_layout(const Node& node) {
    const size_t output_rank = edges_.rank(node.outputs[0]);
    if (output_rank < 3) return Layout::row_major;
    bool channels_last = false, lower_rank_moves = false;
    for (const EdgeId e : node.inputs) {
      if (e == kNoEdge || edges_.is_constant(e)) continue;
      if (edges_.rank(e) == output_rank) {
        // An edge that is the same in both layouts has no say.
        channels_last |=
            edges_.has(e, Layout::channels_last) &&
            !same_in_both_layouts(edges_.logical_shape(e)) &&
            (!edges_.has(e, Layout::row_major) || wants_channels_last(node.outputs[0]));
        continue;
      }
      Shape padded(output_rank - edges_.rank(e), 1);
      const Shape shape = edges_.logical_shape(e);
      padded.insert(padded.end(), shape.begin(), shape.end());
      lower_rank_moves |= !same_in_both_layouts(padded);
    }
    return channels_last && !lower_rank_moves ? Layout::channels_last : Layout::row_major;
  }

  void emit_elementwise(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId in = node.inputs[0], out = node.outputs[0];
    Layout layout = elementwise_layout(node);
    const bool unary = node.inputs.size() == 1 && !edges_.is_constant(in);
    if (unary && is_free(node)) {
      return alias_output(id, layout, edges_.in_layout(in, layout));
    }
    if (unary && layout == Layout::row_major && node.op == Op::quantize &&
        node.attributes.text("ties") == "even" && wants_channels_last(out) &&
        plan_->options.provider != "reference" && emit_quantizing_reorder(id)) {
      return;
    }
    // The last change of layout before a graph output is cheaper in int8.
    if (unary && node.op == Op::dequantize && scope_.is_kept[index(out)] &&
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
    const int from = edges_.in_layout(node.inputs[0], Layout::row_major);
    edges_.set_layout(out, Layout::channels_last);
    if (!can_reorder(plan_->edges[index(from)], plan_->edges[index(out)])) return false;
    edges_.add_reorder(from, out, node.name, id);
    edges_.make_available(out, Layout::channels_last, out);
    return true;
  }

  void emit_axis(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.op == Op::transpose) return emit_transpose(id);
    Layout layout = Layout::row_major;
    for (const EdgeId e : node.inputs) {
      if (e == kNoEdge || edges_.is_constant(e) || edges_.rank(e) < 3) continue;
      if (edges_.has(e, Layout::channels_last) &&
          (!edges_.has(e, Layout::row_major) || wants_channels_last(node.outputs[0]))) {
        layout = Layout::channels_last;
      }
    }
    Layout output_layout = layout;
    if (node.attributes.has("keepdims") && node.attributes.integer("keepdims") == 0) {
      const graph::Ints& axes = node.attributes.integers("axes");
      const Shape shape = edges_.logical_shape(node.inputs[0]);
      if (!layout_after_removal(axes, layout, shape, output_layout)) {
        layout = output_layout = Layout::row_major;
      }
    }
    if (edges_.is_constant(node.inputs[0]) && node.op != Op::concat) {
      layout = output_layout = Layout::row_major;
    }
    add_step(describe(id, layout, output_layout), output_layout);
  }

  void emit_transpose(NodeId id) {
    const Node& node = graph_.node(id);
    const EdgeId in = node.inputs[0], out = node.outputs[0];
    const graph::Ints& perm = node.attributes.integers("perm");
    if (edges_.is_constant(in)) return emit_row_major(id);
    const std::array<Layout, 2> layouts{Layout::row_major, Layout::channels_last};
    for (const Layout from : layouts) {
      if (!edges_.has(in, from)) continue;
      for (const Layout to : layouts) {
        if (to == Layout::channels_last && edges_.rank(out) < 3) continue;
        const Shape shape = physical_shape(edges_.logical_shape(in), from);
        if (!moves_nothing(shape, physical_permutation(perm, from, to))) continue;
        return alias_output(id, to, edges_.in_layout(in, from));
      }
    }
    const Layout from =
        edges_.has(in, Layout::row_major) ? Layout::row_major : Layout::channels_last;
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
    const bool view = node.op == Op::reshape ||
                      (node.op == Op::expand &&
                       edges_.logical_shape(in) == edges_.logical_shape(node.outputs[0]));
    if (view && !edges_.is_constant(in)) {
      if (keeps_channels(node)) {
        return alias_output(id, Layout::channels_last, edges_.in_layout(in, Layout::channels_last));
      }
      return alias_output(id, Layout::row_major, edges_.in_layout(in, Layout::row_major));
    }
    add_step(describe(id, Layout::row_major, Layout::row_major), Layout::row_major);
  }

  // A reshape of the spatial axes alone leaves channels-last data where they are.
  bool keeps_channels(const Node& node) const {
    const EdgeId in = node.inputs[0];
    const Shape from = edges_.logical_shape(in), to = edges_.logical_shape(node.outputs[0]);
    return node.op == Op::reshape && edges_.has(in, Layout::channels_last) &&
           !edges_.has(in, Layout::row_major) && from.size() >= 3 && to.size() >= 3 &&
           from[0] == to[0] && from[1] == to[1] && !same_in_both_layouts(from);
  }

  // --- outputs ---------------------------------------------------------------------------------

  // The caller's buffer of output `e`: in logical order, and of no other input, constant or output.
  int output_edge(EdgeId e) {
    const int id = edges_.in_layout(e, Layout::row_major);
    const int root = plan_->root[index(id)];
    bool taken = scope_.is_fed[index(plan_->graph_edge[index(root)])] ||
                 static_cast<bool>(plan_->edges[index(root)].constant);
    for (const int other : plan_->outputs) taken |= plan_->root[index(other)] == root;
    if (!taken) return id;
    const int copy = edges_.add(e, Layout::row_major);
    plan_->edges[index(copy)].constant = Tensor();
    edges_.add_reorder(id, copy, "copy " + graph_.edge(e).name);
    return copy;
  }

  const Graph& graph_;
  std::shared_ptr<Plan> plan_;
  PlanScope scope_;
  PlanEdges edges_;
  std::vector<std::vector<NodeId>> consumers_;
  Fusions fusions_;
  std::vector<signed char> wants_;  // wants_channels_last, -1: not asked yet
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
                                      : ask_providers(spec, updated->options);
      if (!planned.step) refuse(spec);
    }
    updated->packed_bytes += planned.step->packed_bytes();
    updated->scratch_bytes =
        std::max(updated->scratch_bytes, planned.step->scratch_bytes(updated->options.threads));
  }
  return updated;
}

}  // namespace tersor::runtime
