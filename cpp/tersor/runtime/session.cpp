#include "tersor/runtime/session.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>

#include "tersor/base/cancel.h"
#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/graph/storage.h"
#include "tersor/graph/weight_codes.h"
#include "tersor/runtime/execution.h"
#include "tersor/runtime/input_check.h"

namespace tersor::runtime {
namespace {

using graph::EdgeId;
using graph::Graph;

// Half of the 1 MiB L2 of present server cores and all of a 512 KiB one; the rest is for weights.
constexpr int64_t kMicroBatchBytes = 512 * 1024;
// Weights that no L2 holds come from L3 or memory for every micro-batch, and so may activations:
// MobileNetV2 on CIFAR-10 (9 MB, fp32) takes 2.75 ms a row one by one, 2.44 by four.
constexpr int64_t kLargeWeightBytes = 1024 * 1024;
constexpr int64_t kLargeMicroBatchBytes = 2048 * 1024;
constexpr int64_t kMostRows = 8;
// Without convolutions a row reuses no weight, so that the rows of a matrix product have to.
constexpr int64_t kMostDenseRows = 64;
// Plans of different batch sizes, and lists of edges, that are kept: each holds its packed weights.
constexpr size_t kMostPrograms = 8;
constexpr size_t kMostRoutes = 8;

std::atomic<bool> forked_child{false};

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { forked_child = true; }); });
}

// Largest sum of a node's activations at batch 1.
int64_t largest_step_bytes(const Graph& graph) {
  int64_t largest = 1;
  for (const graph::Node& node : graph.nodes()) {
    int64_t bytes = 0;
    const auto add = [&](EdgeId e) {
      if (e == graph::kNoEdge || graph.edge(e).is_constant()) return;
      const graph::Edge& edge = graph.edge(e);
      bytes += element_count(with_batch(edge.shape, 1)) * static_cast<int64_t>(size_of(edge.dtype));
    };
    for (const EdgeId e : node.inputs) add(e);
    for (const EdgeId e : node.outputs) add(e);
    largest = std::max(largest, bytes);
  }
  return largest;
}

int fitting_rows(const Graph& graph) {
  const bool convolutional = std::any_of(
      graph.nodes().begin(), graph.nodes().end(),
      [](const graph::Node& n) { return n.op == Op::conv || n.op == Op::conv_transpose; });
  const bool large = graph::constant_bytes(graph) > kLargeWeightBytes;
  const int64_t bytes = large ? kLargeMicroBatchBytes : kMicroBatchBytes;
  return static_cast<int>(std::clamp<int64_t>(bytes / largest_step_bytes(graph), 1,
                                              convolutional ? kMostRows : kMostDenseRows));
}

bool has_batch(const graph::Edge& edge) { return !edge.shape.empty() && edge.shape[0] == kBatch; }

// Does a node combine rows of the batch, so that micro-batches would change the result?
bool mixes_batch(const Graph& graph, const graph::Node& node) {
  bool any = false, all = true;
  for (const EdgeId e : node.inputs) {
    if (e == graph::kNoEdge || graph.edge(e).is_constant()) continue;
    any |= has_batch(graph.edge(e));
    all &= has_batch(graph.edge(e));
  }
  if (!any) return false;
  if (!has_batch(graph.edge(node.outputs[0]))) return true;
  if (!all && node.op == Op::concat) return true;
  const auto rank = static_cast<int64_t>(graph.edge(node.outputs[0]).shape.size());
  const auto is_batch = [&](int64_t axis) { return axis == 0 || axis == -rank; };
  const Attributes& a = node.attributes;
  if (node.op == Op::transpose) return a.integers("perm")[0] != 0;
  if (a.has("axis") && is_batch(a.integer("axis"))) {
    return node.op != Op::gather || !graph.edge(node.inputs[0]).is_constant();
  }
  if (!a.has("axes")) return false;
  const graph::Ints& axes = a.integers("axes");
  return axes.empty() || std::any_of(axes.begin(), axes.end(), is_batch);
}

struct Kept {
  std::shared_ptr<Program> program;
  uint64_t last_use = 0;
};

template <class Map>
void drop_oldest(Map& map) {
  map.erase(std::min_element(map.begin(), map.end(), [](const auto& a, const auto& b) {
    return a.second.last_use < b.second.last_use;
  }));
}

// A graph between fed and wanted edges.
struct Route {
  std::vector<std::string> inputs, outputs, taps;  // names as asked; empty: the graph's own
  std::vector<EdgeId> fed, wanted;
  bool batched = true;               // rows are independent: micro-batches give the same result
  std::map<int64_t, Kept> programs;  // by batch
  uint64_t last_use = 0;
};

size_t row_bytes(DType dtype, const Shape& shape) {
  int64_t count = 1;
  for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return static_cast<size_t>(count) * size_of(dtype);
}

}  // namespace

struct Session::State {
  std::shared_ptr<Graph> graph;
  SessionOptions options;
  int micro_batch = 1;
  std::shared_ptr<MemoryMeter> meter = std::make_shared<MemoryMeter>();
  std::mutex creation;  // one plan is made at a time; never held while a step runs
  std::mutex mutex;     // guards the maps below, for a moment
  std::shared_ptr<Route> main;
  std::vector<std::shared_ptr<Route>> routes;
  uint64_t uses = 0;

  int threads() const {
    if (forked_child.load(std::memory_order_relaxed)) return 1;
    return options.threads > 0 ? options.threads : tersor::threads();
  }

  PlanOptions plan_options(const Route& route) const {
    PlanOptions plan;
    plan.step = {options.arithmetic, options.precision};
    plan.threads = threads();
    plan.provider = options.provider;
    plan.choices = options.choices;
    plan.inputs = route.inputs;
    plan.outputs = route.outputs;
    plan.taps = route.taps;
    return plan;
  }

  // ---- routes and programs ----------------------------------------------------------------------

  std::shared_ptr<Route> make_route(std::vector<std::string> inputs,
                                    std::vector<std::string> outputs,
                                    std::vector<std::string> taps) const {
    auto route = std::make_shared<Route>();
    const auto ids = [&](const std::vector<std::string>& names, const std::vector<EdgeId>& others) {
      std::vector<EdgeId> edges;
      for (const std::string& name : names) {
        const EdgeId e = graph->find_edge(name);
        TERSOR_CHECK(e != graph::kNoEdge && !graph->edge(e).is_constant(),
                     "session: edge must name an activation of the graph, got '", name, "'");
        edges.push_back(e);
      }
      return names.empty() ? others : edges;
    };
    route->fed = ids(inputs, graph->inputs());
    route->wanted = ids(outputs, taps.empty() ? graph->outputs() : std::vector<EdgeId>{});
    for (const EdgeId e : route->fed) route->batched &= has_batch(graph->edge(e));
    for (const EdgeId e : route->wanted) route->batched &= has_batch(graph->edge(e));
    for (const EdgeId e : ids(taps, {})) route->batched &= has_batch(graph->edge(e));
    for (const graph::Node& node : graph->nodes()) route->batched &= !mixes_batch(*graph, node);
    route->inputs = std::move(inputs);
    route->outputs = std::move(outputs);
    route->taps = std::move(taps);
    return route;
  }

  std::shared_ptr<Route> route_of(const std::vector<std::string>& inputs,
                                  const std::vector<std::string>& outputs,
                                  const std::vector<std::string>& taps) {
    const std::lock_guard lock(mutex);
    for (const auto& route : routes) {
      if (route->inputs != inputs || route->outputs != outputs || route->taps != taps) continue;
      route->last_use = ++uses;
      return route;
    }
    auto route = make_route(inputs, outputs, taps);
    route->last_use = ++uses;
    if (routes.size() == kMostRoutes) {
      routes.erase(std::min_element(routes.begin(), routes.end(), [](const auto& a, const auto& b) {
        return a->last_use < b->last_use;
      }));
    }
    routes.push_back(route);
    return route;
  }

  std::shared_ptr<Program> find_program(Route& route, int64_t batch) {
    const std::lock_guard lock(mutex);
    const auto found = route.programs.find(batch);
    if (found == route.programs.end()) return nullptr;
    // Its scratch memory was sized for fewer threads than there are now.
    if (found->second.program->plan().options.threads < threads()) return nullptr;
    found->second.last_use = ++uses;
    return found->second.program;
  }

  std::shared_ptr<Program> program(Route& route, int64_t batch) {
    if (auto found = find_program(route, batch)) return found;
    const std::lock_guard creating(creation);
    if (auto found = find_program(route, batch)) return found;
    auto made = std::make_shared<Program>(make_plan(*graph, batch, plan_options(route)), meter);
    const std::lock_guard lock(mutex);
    if (route.programs.size() >= kMostPrograms) drop_oldest(route.programs);
    route.programs[batch] = {made, ++uses};
    return made;
  }

  // ---- inputs -----------------------------------------------------------------------------------

  // Checks everything and returns N (1 where no fed edge leaves the batch open).
  int64_t check_inputs(const Route& route, const std::vector<TensorView>& inputs) const {
    TERSOR_CHECK(inputs.size() == route.fed.size(), "session: inputs must be ", route.fed.size(),
                 " (", input_names(route), "), got ", inputs.size());
    int64_t batch = -1;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const graph::Edge& edge = graph->edge(route.fed[i]);
      check_tensor(edge, inputs[i], "input");
      if (!has_batch(edge)) continue;
      const int64_t rows = inputs[i].shape[0];
      TERSOR_CHECK(batch < 0 || rows == batch, "session: input '", edge.name,
                   "' must have a batch of ", batch, " like the inputs before it, got ", rows);
      batch = rows;
    }
    return batch < 0 ? 1 : batch;
  }

  std::string input_names(const Route& route) const {
    std::string names;
    for (const EdgeId e : route.fed) names += (names.empty() ? "" : ", ") + graph->edge(e).name;
    return names;
  }

  void check_all_finite(const Route& route, const std::vector<TensorView>& inputs) const {
    for (size_t i = 0; i < inputs.size(); ++i) check_finite(graph->edge(route.fed[i]), inputs[i]);
  }

  // Points the context at rows [start, start + rows) of the caller's tensors.
  static void bind(const Plan& plan, Context& context, const std::vector<TensorView>& inputs,
                   const std::vector<TensorView>& outputs, int64_t start) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorView& view = inputs[i];
      auto* data = static_cast<char*>(view.data);
      if (view.is_contiguous()) {
        context.inputs[i] =
            data +
            (start == 0 ? 0 : static_cast<size_t>(start) * row_bytes(view.dtype, view.shape));
        continue;
      }
      const PlanEdge& edge = plan.edges[static_cast<size_t>(plan.inputs[i])];
      Buffer& staging = context.staging[i];
      if (staging.size() < edge.bytes()) staging = Buffer(edge.bytes());
      const int64_t step = view.strides.empty() ? 0 : view.strides[0];
      data += start * step * static_cast<int64_t>(size_of(view.dtype));
      copy_strided({data, view.dtype, edge.shape, view.strides},
                   {staging.data(), view.dtype, edge.shape, row_major_strides(edge.shape)});
      context.inputs[i] = staging.data();
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      const TensorView& view = outputs[i];
      context.outputs[i] =
          static_cast<char*>(view.data) +
          (start == 0 ? 0 : static_cast<size_t>(start) * row_bytes(view.dtype, view.shape));
    }
  }

  // ---- running ----------------------------------------------------------------------------------

  // Rows per task: a fixed rule, so that results do not depend on the threads.
  int64_t rows_per_task(const Route& route, int64_t batch) const {
    if (!route.batched) return std::max<int64_t>(batch, 1);
    return std::clamp<int64_t>((batch + 3) / 4, 1, micro_batch);
  }

  void run(Route& route, const std::vector<TensorView>& inputs,
           const std::vector<TensorView>& outputs, int64_t batch) {
    check_cancelled();
    const int64_t rows = rows_per_task(route, batch);
    const int64_t tasks = (batch + rows - 1) / rows;
    const auto whole = program(route, std::min(rows, batch));
    if (tasks == 1) {
      Program::Lease context(*whole);
      bind(whole->plan(), *context, inputs, outputs, 0);
      return whole->run(*context, threads());
    }
    const auto rest = batch % rows == 0 ? whole : program(route, batch % rows);
    parallel_tasks(static_cast<size_t>(tasks), threads(), [&](size_t task, int) {
      check_cancelled();
      const int64_t start = static_cast<int64_t>(task) * rows;
      const Program& part = start + rows <= batch ? *whole : *rest;
      Program::Lease context(part);
      bind(part.plan(), *context, inputs, outputs, start);
      part.run(*context, 1);
    });
  }

  // Calls fn(program, context, start, rows) for one micro-batch after the other.
  template <class F>
  void for_each_part(Route& route, const std::vector<TensorView>& inputs,
                     const std::vector<TensorView>& outputs, int64_t batch, F&& fn) {
    const int64_t rows = rows_per_task(route, batch);
    for (int64_t start = 0; start < batch; start += rows) {
      check_cancelled();
      const int64_t here = std::min(rows, batch - start);
      const auto part = program(route, here);
      Program::Lease context(*part);
      bind(part->plan(), *context, inputs, outputs, start);
      fn(*part, *context, start, here);
    }
  }

  std::vector<Tensor> allocate_outputs(const Route& route, int64_t batch) const {
    std::vector<Tensor> outputs;
    for (const EdgeId e : route.wanted) {
      const graph::Edge& edge = graph->edge(e);
      outputs.emplace_back(edge.dtype, with_batch(edge.shape, batch));
    }
    return outputs;
  }

  static std::vector<TensorView> views_of(const std::vector<Tensor>& tensors) {
    std::vector<TensorView> views;
    for (const Tensor& t : tensors) views.push_back(t.view());
    return views;
  }

  std::vector<Tensor> run_new(Route& route, const std::vector<TensorView>& inputs) {
    const int64_t batch = check_inputs(route, inputs);
    if (options.check_finite) check_all_finite(route, inputs);
    std::vector<Tensor> outputs = allocate_outputs(route, batch);
    if (batch > 0) run(route, inputs, views_of(outputs), batch);
    return outputs;
  }
};

Session::Session(std::shared_ptr<const Graph> graph, SessionOptions options)
    : state_(std::make_unique<State>()) {
  TERSOR_CHECK(graph != nullptr, "session: graph must be given, got none");
  TERSOR_CHECK(0 <= options.threads && options.threads <= 1024,
               "session: threads must be in [0, 1024], got ", options.threads);
  TERSOR_CHECK(0 <= options.micro_batch, "session: micro_batch must not be negative, got ",
               options.micro_batch);
  providers(options.provider);  // refuses an unknown name
  for (const auto& choice : options.choices) providers(choice.second);
  graph->verify();
  watch_forks();
  state_->graph = std::make_shared<Graph>(*graph);
  graph::widen_constants(*state_->graph);  // kernels read float32; the caller's graph stays narrow
  graph::decode_codebooks(*state_->graph, true);
  state_->options = std::move(options);
  const int rows = state_->options.micro_batch;
  state_->micro_batch = rows > 0 ? rows : fitting_rows(*graph);
  state_->main = state_->make_route({}, {}, {});
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(const std::vector<TensorView>& inputs) const {
  return state_->run_new(*state_->main, inputs);
}

void Session::run_into(const std::vector<TensorView>& inputs,
                       const std::vector<TensorView>& outputs) const {
  Route& route = *state_->main;
  const int64_t batch = state_->check_inputs(route, inputs);
  if (state_->options.check_finite) state_->check_all_finite(route, inputs);
  TERSOR_CHECK(outputs.size() == route.wanted.size(), "session: outputs must be ",
               route.wanted.size(), ", got ", outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const graph::Edge& edge = state_->graph->edge(route.wanted[i]);
    check_tensor(edge, outputs[i], "output");
    TERSOR_CHECK(!has_batch(edge) || outputs[i].shape[0] == batch, "session: output '", edge.name,
                 "' must have a batch of ", batch, ", got ", outputs[i].shape[0]);
    TERSOR_CHECK(outputs[i].is_contiguous(), "session: output '", edge.name,
                 "' must be contiguous, got strides ", to_string(outputs[i].strides));
  }
  check_apart(inputs, outputs);
  if (batch > 0) state_->run(route, inputs, outputs, batch);
}

std::vector<graph::EdgeType> Session::output_types(const std::vector<TensorView>& inputs) const {
  const int64_t batch = state_->check_inputs(*state_->main, inputs);
  std::vector<graph::EdgeType> types;
  for (const EdgeId e : state_->main->wanted) {
    const graph::Edge& edge = state_->graph->edge(e);
    types.push_back({edge.dtype, with_batch(edge.shape, batch)});
  }
  return types;
}

std::vector<Tensor> Session::run_edges(const std::vector<std::string>& input_edges,
                                       const std::vector<TensorView>& inputs,
                                       const std::vector<std::string>& output_edges) const {
  return state_->run_new(*state_->route_of(input_edges, output_edges, {}), inputs);
}

void Session::run_tapped(const std::vector<TensorView>& inputs,
                         const std::vector<std::string>& edges, const TapFunction& tap) const {
  TERSOR_CHECK(!edges.empty(), "session: edges must name at least one edge to tap, got none");
  const auto route = state_->route_of({}, {}, edges);
  const int64_t batch = state_->check_inputs(*route, inputs);
  state_->check_all_finite(*route, inputs);
  const auto observe = [&](const Program& part, Context& context, int64_t, int64_t) {
    const Plan& plan = part.plan();
    size_t next = 0;
    part.run(context, state_->threads(), [&](int step) {
      for (; next < plan.taps.size() && plan.taps[next].step == step; ++next) {
        const int e = plan.taps[next].edge;
        const PlanEdge& edge = plan.edges[static_cast<size_t>(e)];
        tap(edge.name, {const_cast<void*>(part.address(context, e)), edge.dtype, edge.shape,
                        row_major_strides(edge.shape)});
      }
    });
  };
  state_->for_each_part(*route, inputs, {}, batch, observe);
}

std::vector<LayerProfile> Session::profile(const std::vector<TensorView>& inputs,
                                           int repeats) const {
  TERSOR_CHECK(repeats >= 1, "session: repeats must be positive, got ", repeats);
  Route& route = *state_->main;
  const Graph& graph = *state_->graph;
  const int64_t batch = state_->check_inputs(route, inputs);
  TERSOR_CHECK(batch > 0, "session: inputs of profile must not be empty, got a batch of 0");
  const std::vector<Tensor> outputs = state_->allocate_outputs(route, batch);
  std::map<std::string, int64_t> macs;
  for (const graph::Node& node : graph.nodes())
    macs[node.name] = graph::macs_of(graph, node) * batch;

  std::vector<LayerProfile> layers;
  std::map<std::string, size_t> layer_of;  // plans of two batch sizes share layers by name
  std::vector<std::vector<double>> times;  // per layer and repeat
  const auto index_of = [&](const Plan& plan, const PlannedStep& planned) {
    std::string label;
    for (const std::string& name : planned.nodes) label += (label.empty() ? "" : " + ") + name;
    const auto [found, fresh] = layer_of.try_emplace(label, layers.size());
    if (!fresh) return found->second;
    LayerProfile layer;
    layer.node = label;
    layer.op = planned.node < 0 ? "reorder" : graph::name_of(planned.op);
    if (planned.inner >= 0) layer.op += " + add";
    layer.kernel = planned.step->kernel();
    for (const std::string& name : planned.nodes) {
      const auto known = macs.find(name);
      if (known != macs.end()) layer.macs += known->second;
    }
    const auto count = [&](int e) {
      const PlanEdge& edge = plan.edges[static_cast<size_t>(e)];
      if (!edge.constant) {
        layer.bytes += static_cast<int64_t>(edge.bytes()) / plan.batch * batch;
      } else if (planned.step->packed_bytes() == 0) {
        layer.bytes += static_cast<int64_t>(edge.constant.size_bytes());
      }
    };
    for (const int e : planned.inputs) {
      if (e >= 0) count(e);
    }
    for (const int e : planned.outputs) count(e);
    layer.bytes += static_cast<int64_t>(planned.step->packed_bytes());
    const EdgeId e = plan.graph_edge[static_cast<size_t>(planned.outputs[0])];
    layer.output_shape = with_batch(graph.edge(e).shape, batch);
    layers.push_back(std::move(layer));
    times.emplace_back(static_cast<size_t>(repeats), 0.0);
    return found->second;
  };

  const std::vector<TensorView> output_views = State::views_of(outputs);
  for (int repeat = -1; repeat < repeats; ++repeat) {  // the first round warms up
    const auto measure = [&](const Program& part, Context& context, int64_t, int64_t) {
      using Clock = std::chrono::steady_clock;
      std::vector<Clock::time_point> stamps;
      stamps.reserve(part.plan().steps.size() + 1);
      part.run(context, batch == 1 ? state_->threads() : 1,
               [&](int) { stamps.push_back(Clock::now()); });
      for (size_t s = 0; s < part.plan().steps.size(); ++s) {
        const size_t layer = index_of(part.plan(), part.plan().steps[s]);
        if (repeat < 0) continue;
        const std::chrono::duration<double, std::micro> time = stamps[s + 1] - stamps[s];
        times[layer][static_cast<size_t>(repeat)] += time.count();
      }
    };
    state_->for_each_part(route, inputs, output_views, batch, measure);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto middle = times[i].begin() + repeats / 2;
    std::nth_element(times[i].begin(), middle, times[i].end());
    layers[i].time_us = *middle;
  }
  return layers;
}

void Session::update_weights(const std::string& name, const TensorView& value) {
  const std::lock_guard creating(state_->creation);
  const EdgeId id = state_->graph->find_edge(name);
  TERSOR_CHECK(id != graph::kNoEdge && state_->graph->edge(id).is_constant(),
               "session: name must be that of a weight, got '", name, "'");
  graph::Edge& edge = state_->graph->edge(id);
  check_tensor(edge, value, "weight");
  edge.constant = Tensor::copy_of(value);
  std::vector<std::shared_ptr<Route>> routes;
  {
    const std::lock_guard lock(state_->mutex);
    routes = state_->routes;
    routes.push_back(state_->main);
  }
  for (const auto& route : routes) {
    std::map<int64_t, Kept> programs;
    {
      const std::lock_guard lock(state_->mutex);
      programs = route->programs;
    }
    for (auto& [batch, kept] : programs) {
      auto plan = update_constant(kept.program->plan(), *state_->graph, id);
      kept.program = std::make_shared<Program>(std::move(plan), state_->meter);
    }
    const std::lock_guard lock(state_->mutex);
    route->programs = std::move(programs);
  }
}

const Graph& Session::graph() const { return *state_->graph; }
const SessionOptions& Session::options() const { return state_->options; }
int Session::micro_batch() const { return state_->micro_batch; }
size_t Session::peak_memory_bytes() const { return state_->meter->peak(); }

}  // namespace tersor::runtime
