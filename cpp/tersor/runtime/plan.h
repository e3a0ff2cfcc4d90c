// An immutable execution plan of one graph for one batch size: layouts, steps, arena offsets.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

struct PlanOptions {
  StepOptions step;
  int threads = 1;               // for steps that split inside (batch 1)
  std::string provider;          // "", or "reference"
  std::vector<std::string> inputs;   // partial execution: edges that are fed; empty = the graph's inputs
  std::vector<std::string> outputs;  // edges wanted; empty = the graph's outputs
  std::vector<std::string> taps;     // edges whose values must survive until they were observed
};

struct PlannedStep {
  std::unique_ptr<Step> step;
  graph::NodeId node;                // in the graph (the first one of a fused group)
  std::vector<int> inputs, outputs;  // indices into Plan::edges, -1 for absent
  std::vector<std::string> nodes;    // names of all nodes that it executes
};

struct Plan {
  int64_t batch = 1;
  PlanOptions options;
  std::vector<PlanEdge> edges;       // same index as graph edges, plus reorders
  std::vector<PlannedStep> steps;
  std::vector<int> inputs, outputs;  // edge indices
  std::vector<int64_t> offsets;      // per edge, into the arena; -1: constant, alias or caller's buffer
  std::vector<int> alias_of;         // per edge: shares the memory of that edge (reshape, free transpose); -1
  size_t arena_bytes = 0;
  size_t scratch_bytes = 0;
  size_t packed_bytes = 0;
};

TERSOR_API std::shared_ptr<const Plan> make_plan(const graph::Graph& graph, int64_t batch,
                                                 const PlanOptions& options);

}  // namespace tersor::runtime
