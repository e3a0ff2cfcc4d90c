// What flows through a float graph: distributions of edges and mean inputs of layers, in one pass.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"
#include "tersor/graph/placement.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/qparams.h"
#include "tersor/runtime/session.h"

namespace tersor::runtime {

// Runs the graph in float32 over batches and observes edges. Batches are cut into chunks of kChunk
// samples that threads take; histograms merge exactly in any order and sums are added chunk by
// chunk in order, so results do not depend on the number of threads.
class TERSOR_API Calibrator {
 public:
  static constexpr int64_t kChunk = 32;

  // Edges may be in both lists; neither may be constant. threads 0: tersor::threads().
  Calibrator(std::shared_ptr<const graph::Graph> graph,
             const std::vector<graph::EdgeId>& histograms, const std::vector<graph::EdgeId>& means,
             int threads = 0);

  // One batch, in the order of the graph's inputs; all leading dimensions equal. ValueError naming
  // the node on NaN or infinity; Cancelled between chunks.
  void observe(const std::vector<TensorView>& inputs);

  int64_t samples() const { return samples_; }
  // ValueError while nothing was observed.
  const quantization::Histogram& histogram(graph::EdgeId edge) const;
  Tensor mean(graph::EdgeId edge) const;  // float32, the edge's shape with batch 1
  std::map<graph::EdgeId, Tensor> means() const;

  // Range of each group of the placement: its sources' histograms together, clamped to what their
  // readers can tell apart (graph/useful_range.h), searched by `method` (range_search.h) for the
  // int8 asymmetric scheme. Groups without observed sources get [0, 0].
  std::vector<quantization::Range> ranges(const graph::Placement& placement,
                                          quantization::RangeMethod method,
                                          double percentile) const;

 private:
  struct Chunk;  // what one worker gathers
  void run_chunk(const std::vector<TensorView>& inputs, int64_t begin, int64_t rows,
                 Chunk& chunk) const;
  void collect(Chunk& chunk);

  std::shared_ptr<const graph::Graph> graph_;
  Session session_;
  int threads_;
  std::vector<std::string> taps_;
  std::map<std::string, graph::EdgeId> edge_of_;
  std::map<graph::EdgeId, std::string> described_;  // for messages
  std::map<graph::EdgeId, quantization::Histogram> histograms_;
  std::map<graph::EdgeId, std::vector<double>> sums_;
  int64_t samples_ = 0;
};

}  // namespace tersor::runtime
