// An executable instance of a graph on this machine.
//
// Plans are built per batch size and kept. N = 1 runs one plan whose steps may split among threads; a larger
// batch is cut into micro-batches of `micro_batch` rows that threads take in turn, each with its own context
// (arena + scratch), so results do not depend on the thread count. run() may be called concurrently.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tersor/runtime/plan.h"

namespace tersor::runtime {

struct SessionOptions {
  int threads = 0;       // 0: tersor::threads()
  Arithmetic arithmetic = Arithmetic::fast;
  Precision precision = Precision::float32;
  std::string provider;  // "" or "reference"
  int micro_batch = 0;   // 0: chosen so that a micro-batch's largest edges fit L2 (1..8)
};

struct LayerProfile {
  std::string node;    // names joined by " + " for a fused group
  std::string op;
  std::string kernel;  // what ran
  double time_us;      // median over the repeats
  int64_t macs;
  int64_t bytes;       // activations read and written + packed weights
  Shape output_shape;
};

// Called in batch order with a contiguous tensor in the graph's (logical) order; int8 edges give codes.
using TapFunction = std::function<void(const std::string& edge, const TensorView& value)>;

class TERSOR_API Session {
 public:
  explicit Session(std::shared_ptr<const graph::Graph> graph, SessionOptions options = {});
  ~Session();

  // inputs in the order of the graph's inputs (logical order, any strides); every leading batch equal.
  // Outputs are contiguous, logical order; `outputs`, when given, must have the right dtypes and shapes.
  std::vector<Tensor> run(const std::vector<TensorView>& inputs,
                          const std::vector<TensorView>* outputs = nullptr) const;
  // Partial execution: feed any edges, get any edges.
  std::vector<Tensor> run_edges(const std::vector<std::string>& input_edges, const std::vector<TensorView>& inputs,
                                const std::vector<std::string>& output_edges) const;
  // Runs and shows the named edges to `tap`, micro-batch by micro-batch in order.
  void run_tapped(const std::vector<TensorView>& inputs, const std::vector<std::string>& edges,
                  const TapFunction& tap) const;

  std::vector<LayerProfile> profile(const std::vector<TensorView>& inputs, int repeats) const;
  // Replaces a constant (same dtype and shape) by edge name or origin in every plan. Not during run().
  void update_weights(const std::string& name, const TensorView& value);

  const graph::Graph& graph() const;
  const SessionOptions& options() const;
  int micro_batch() const;
  size_t peak_memory_bytes() const;  // packed weights + arenas + scratch of all plans and contexts so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::runtime
