#include "tersor/runtime/arena.h"

#include <algorithm>

#include "tersor/base/memory.h"
#include "tersor/graph/memory_planner.h"

namespace tersor::runtime {
namespace {

constexpr int64_t kNodeLimit = 2000;  // plans are made while somebody waits: about a millisecond

size_t index(int i) { return static_cast<size_t>(i); }

// By root edge; -1 where nothing writes or reads it.
struct Lifetimes {
  std::vector<int> first, last;
  std::vector<bool> external;  // the caller's memory

  explicit Lifetimes(const Plan& plan)
      : first(plan.edges.size(), -1),
        last(plan.edges.size(), -1),
        external(plan.edges.size(), false) {
    const auto root = [&](int e) { return index(plan.root[index(e)]); };
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      const int step = static_cast<int>(s);
      for (const int e : plan.steps[s].inputs) {
        if (e >= 0) last[root(e)] = step;
      }
      for (const int e : plan.steps[s].outputs) {
        if (first[root(e)] < 0) first[root(e)] = step;
        last[root(e)] = std::max(last[root(e)], step);
      }
    }
    for (const Tap& tap : plan.taps) {
      last[root(tap.edge)] = std::max(last[root(tap.edge)], tap.step);
    }
    for (const int e : plan.inputs) external[root(e)] = true;
    for (const int e : plan.outputs) external[root(e)] = true;
  }
};

}  // namespace

void share_in_place(Plan& plan) {
  Lifetimes lives(plan);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const PlannedStep& planned = plan.steps[s];
    if (!planned.step->in_place() || planned.outputs.size() != 1 || planned.inputs[0] < 0) continue;
    const int in = plan.root[index(planned.inputs[0])], out = plan.root[index(planned.outputs[0])];
    const PlanEdge& source = plan.edges[index(in)];
    const bool dies = lives.last[index(in)] == static_cast<int>(s);
    if (source.constant || lives.external[index(in)] || !dies) continue;
    if (source.bytes() != plan.edges[index(out)].bytes()) continue;
    bool read_twice = false;
    for (size_t i = 1; i < planned.inputs.size(); ++i) {
      read_twice |= planned.inputs[i] >= 0 && plan.root[index(planned.inputs[i])] == in;
    }
    if (read_twice) continue;
    lives.last[index(in)] = lives.last[index(out)];
    lives.external[index(in)] = lives.external[index(out)];
    std::replace(plan.root.begin(), plan.root.end(), out, in);
  }
}

void place_edges(Plan& plan) {
  const Lifetimes lives(plan);
  std::vector<graph::BufferRequest> requests;
  std::vector<size_t> owners;
  for (size_t e = 0; e < plan.edges.size(); ++e) {
    if (plan.root[e] != static_cast<int>(e) || lives.external[e] || lives.first[e] < 0) continue;
    const auto bytes = static_cast<int64_t>(plan.edges[e].bytes());
    requests.push_back({bytes, lives.first[e], lives.last[e]});
    owners.push_back(e);
  }
  const graph::MemoryPlan memory =
      graph::plan_memory(requests, int64_t{kAlignment}, {}, kNodeLimit);
  plan.offsets.assign(plan.edges.size(), -1);
  for (size_t i = 0; i < owners.size(); ++i) plan.offsets[owners[i]] = memory.offsets[i];
  for (size_t e = 0; e < plan.edges.size(); ++e)
    plan.offsets[e] = plan.offsets[index(plan.root[e])];
  plan.arena_bytes = static_cast<size_t>(memory.total_bytes);
  plan.arena_lower_bound_bytes = static_cast<size_t>(memory.lower_bound_bytes);
}

}  // namespace tersor::runtime
