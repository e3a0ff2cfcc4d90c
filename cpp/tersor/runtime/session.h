// An executable instance of a graph on this machine.
//
// Plans are built per batch size and kept. N = 1 runs one plan whose steps may split among threads.
// A larger batch is cut into micro-batches of min(micro_batch(), ceil(N / 4)) rows (and one for the
// rest) that threads take in turn, each with its own context (arena + scratch), so results do not
// depend on the number of threads. A graph that mixes the rows of a batch, or has none, runs whole.
// run() may be called concurrently; contexts are recycled, so that a call allocates its outputs
// only. A forked child runs one thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tersor/runtime/plan.h"

namespace tersor::runtime {

struct SessionOptions {
  int threads = 0;  // 0: tersor::threads()
  Arithmetic arithmetic = Arithmetic::fast;
  Precision precision = Precision::float32;
  std::string provider;  // "" or one that providers() knows
  // Providers of single nodes (of a fused group the first), asked before the others.
  std::map<std::string, std::string> choices;
  int micro_batch = 0;        // 0: chosen so that a step's edges fit L2: 1..8, 64 if all dense
  bool check_finite = false;  // ValueError on NaN or infinity in an input of run()
};

struct LayerProfile {
  std::string node;  // names joined by " + " for a fused group
  std::string op;
  std::string kernel;  // what ran
  double time_us = 0;  // of the whole batch, median over the repeats
  int64_t macs = 0;    // of the whole batch
  int64_t bytes = 0;   // activations read and written, once per row, + packed weights
  Shape output_shape;  // logical
};

// Called in batch order with a contiguous tensor in the graph's (logical) order; int8 edges give
// codes.
using TapFunction = std::function<void(const std::string& edge, const TensorView& value)>;

class TERSOR_API Session {
 public:
  // Verifies the graph and keeps a copy of it (constants are shared).
  explicit Session(std::shared_ptr<const graph::Graph> graph, SessionOptions options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // inputs in the order of the graph's inputs (logical order, any strides); every leading batch
  // equal, zero included. Outputs are contiguous, in logical order. ValueError or TypeError names
  // the input and what it must be.
  std::vector<Tensor> run(const std::vector<TensorView>& inputs) const;
  // Into the caller's contiguous buffers, which may not overlap an input.
  void run_into(const std::vector<TensorView>& inputs,
                const std::vector<TensorView>& outputs) const;
  // What run() on these inputs gives.
  std::vector<graph::EdgeType> output_types(const std::vector<TensorView>& inputs) const;

  // Partial execution: feed any edges, get any edges.
  std::vector<Tensor> run_edges(const std::vector<std::string>& input_edges,
                                const std::vector<TensorView>& inputs,
                                const std::vector<std::string>& output_edges) const;
  // Runs as far as needed and shows the named edges to `tap`, micro-batch by micro-batch in order
  // and by one thread, so that sums over a batch do not depend on the threads. Inputs must be
  // finite.
  void run_tapped(const std::vector<TensorView>& inputs, const std::vector<std::string>& edges,
                  const TapFunction& tap) const;

  // One entry per step in the order of execution; the batch runs on one thread after the other,
  // but for N = 1, where steps may split.
  std::vector<LayerProfile> profile(const std::vector<TensorView>& inputs, int repeats) const;
  // Replaces a constant (same dtype and shape) by edge name or origin in every plan; only the steps
  // that use it are made anew. Calls that already run finish with the old value.
  void update_weights(const std::string& name, const TensorView& value);

  const graph::Graph& graph() const;
  const SessionOptions& options() const;
  int micro_batch() const;
  // Most bytes held at once so far: packed weights, arenas and scratch of all plans and contexts.
  size_t peak_memory_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::runtime
