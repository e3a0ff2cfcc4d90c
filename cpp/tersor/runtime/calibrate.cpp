#include "tersor/runtime/calibrate.h"

#include <algorithm>

#include "tersor/base/cancel.h"
#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/graph/useful_range.h"
#include "tersor/quantization/observer.h"

namespace tersor::runtime {

using graph::EdgeId;

struct Calibrator::Chunk {
  std::map<EdgeId, quantization::Histogram> histograms;  // of all chunks that this worker took
  std::map<EdgeId, std::vector<double>> sums;            // of the current chunk
};

namespace {

SessionOptions one_thread() {
  SessionOptions options;
  options.threads = 1;
  return options;
}

TensorView rows_of(const TensorView& x, int64_t begin, int64_t rows) {
  TensorView part = x;
  part.data =
      static_cast<char*>(x.data) + begin * x.strides[0] * static_cast<int64_t>(size_of(x.dtype));
  part.shape[0] = rows;
  return part;
}

// sums[i] += x[r][i], row after row.
void add_rows(const TensorView& x, std::vector<double>& sums) {
  const int64_t rows = x.shape.empty() ? 1 : x.shape[0];
  const auto size = static_cast<size_t>(element_count(x.shape) / std::max<int64_t>(1, rows));
  if (sums.empty()) sums.assign(size, 0.0);
  const auto* values = static_cast<const float*>(x.data);
  for (int64_t r = 0; r < rows; ++r, values += size) {
    for (size_t i = 0; i < size; ++i) sums[i] += static_cast<double>(values[i]);
  }
}

// What a user knows of an edge: the node that makes it, and the weight in the source framework.
std::string description_of(const graph::Graph& graph, EdgeId id, graph::NodeId producer) {
  if (producer < 0) return message("calibrate: input '", graph.edge(id).name, "'");
  const graph::Node& node = graph.node(producer);
  std::string weight;
  for (const EdgeId input : node.inputs) {
    if (input == graph::kNoEdge || !graph.edge(input).is_constant()) continue;
    const graph::Edge& edge = graph.edge(input);
    weight = ", weight '" + (edge.origin.empty() ? edge.name : edge.origin) + "'";
    break;
  }
  return message("calibrate: output of node '", node.name, "' (", graph::name_of(node.op), weight,
                 ")");
}

}  // namespace

Calibrator::Calibrator(std::shared_ptr<const graph::Graph> graph,
                       const std::vector<EdgeId>& histograms, const std::vector<EdgeId>& means,
                       int threads)
    : graph_(std::move(graph)),
      session_(graph_, one_thread()),
      threads_(threads > 0 ? threads : tersor::threads()) {
  const std::vector<graph::NodeId> producers = graph_->producers();
  const auto tap = [&](EdgeId id) {
    const graph::Edge& edge = graph_->edge(id);
    TERSOR_CHECK(!edge.is_constant() && edge.dtype == DType::float32, "calibrate: edge ", edge.name,
                 " must be a float32 activation");
    if (edge_of_.emplace(edge.name, id).second) taps_.push_back(edge.name);
  };
  for (EdgeId id : histograms) {
    tap(id);
    histograms_[id];
    described_[id] = description_of(*graph_, id, producers[static_cast<size_t>(id)]);
  }
  for (EdgeId id : means) {
    tap(id);
    sums_[id];
  }
}

void Calibrator::run_chunk(const std::vector<TensorView>& inputs, int64_t begin, int64_t rows,
                           Chunk& chunk) const {
  std::vector<TensorView> parts;
  for (const TensorView& x : inputs) parts.push_back(rows_of(x, begin, rows));
  for (auto& [edge, sums] : chunk.sums) sums.clear();
  session_.run_tapped(parts, taps_, [&](const std::string& name, const TensorView& value) {
    const EdgeId id = edge_of_.at(name);
    const auto* values = static_cast<const float*>(value.data);
    const auto histogram = chunk.histograms.find(id);
    if (histogram != chunk.histograms.end()) {
      histogram->second.add(values, static_cast<size_t>(element_count(value.shape)),
                            described_.at(id).c_str());
    }
    const auto sums = chunk.sums.find(id);
    if (sums != chunk.sums.end()) add_rows(value, sums->second);
  });
}

void Calibrator::collect(Chunk& chunk) {
  for (auto& [edge, part] : chunk.sums) {
    std::vector<double>& total = sums_[edge];
    if (total.empty()) total.assign(part.size(), 0.0);
    for (size_t i = 0; i < part.size(); ++i) total[i] += part[i];
  }
}

void Calibrator::observe(const std::vector<TensorView>& inputs) {
  TERSOR_CHECK(inputs.size() == graph_->inputs().size(), "calibrate: inputs must have ",
               graph_->inputs().size(), " entries, got ", inputs.size());
  for (const TensorView& x : inputs) {
    TERSOR_CHECK(!x.shape.empty() && x.shape[0] == inputs[0].shape[0],
                 "calibrate: inputs must have the same leading batch, got ", to_string(x.shape),
                 " beside ", to_string(inputs[0].shape));
  }
  const int64_t batch = inputs[0].shape[0];
  Chunk empty;
  for (const auto& [edge, unused] : histograms_) empty.histograms[edge];
  for (const auto& [edge, unused] : sums_) empty.sums[edge];
  std::vector<Chunk> workers(static_cast<size_t>(threads_), empty);
  // Waves of one chunk per thread: the sums of a wave are added in order before the next begins.
  for (int64_t begin = 0; begin < batch; begin += kChunk * threads_) {
    check_cancelled();
    const int64_t left = (batch - begin + kChunk - 1) / kChunk;
    const auto tasks = static_cast<size_t>(std::min<int64_t>(threads_, left));
    parallel_tasks(tasks, threads_, [&](size_t task, int) {
      const int64_t first = begin + static_cast<int64_t>(task) * kChunk;
      run_chunk(inputs, first, std::min(kChunk, batch - first), workers[task]);
    });
    for (size_t task = 0; task < tasks; ++task) collect(workers[task]);
  }
  for (const Chunk& worker : workers) {
    for (const auto& [edge, histogram] : worker.histograms) histograms_[edge].merge(histogram);
  }
  samples_ += batch;
}

const quantization::Histogram& Calibrator::histogram(EdgeId edge) const {
  const auto found = histograms_.find(edge);
  TERSOR_CHECK(found != histograms_.end() && !found->second.empty(), "calibrate: edge ",
               graph_->edge(edge).name, " must have been observed, got no values");
  return found->second;
}

Tensor Calibrator::mean(EdgeId edge) const {
  const auto found = sums_.find(edge);
  TERSOR_CHECK(found != sums_.end() && !found->second.empty(), "calibrate: edge ",
               graph_->edge(edge).name, " must have been observed, got no values");
  Tensor out(DType::float32, with_batch(graph_->edge(edge).shape, 1));
  for (size_t i = 0; i < found->second.size(); ++i) {
    out.as<float>()[i] = static_cast<float>(found->second[i] / static_cast<double>(samples_));
  }
  return out;
}

std::map<EdgeId, Tensor> Calibrator::means() const {
  std::map<EdgeId, Tensor> out;
  for (const auto& [edge, unused] : sums_) out.emplace(edge, mean(edge));
  return out;
}

std::vector<quantization::Range> Calibrator::ranges(const graph::Placement& placement,
                                                    quantization::RangeMethod method,
                                                    double percentile) const {
  std::vector<quantization::Range> out(placement.groups.size());
  parallel_tasks(out.size(), threads_, [&](size_t g, int) {
    quantization::Histogram all;
    for (EdgeId id : placement.groups[g].sources) {
      const auto found = histograms_.find(id);
      if (found != histograms_.end()) all.merge(found->second);
    }
    if (all.empty()) return;
    const auto useful = graph::useful_range(*graph_, placement, placement.groups[g]);
    out[g] = quantization::search_range(all.clamped(useful), {}, method, percentile);
  });
  return out;
}

}  // namespace tersor::runtime
