#include "tersor/graph/equalize.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"

namespace tersor::graph {
namespace {

constexpr int kMostRounds = 40;  // a chain of three layers settles in about 15
constexpr double kSettled = 1e-3;
constexpr double kLeast = 0x1p-30, kMost = 0x1p30;  // of one step: keeps factors normal floats
// Of a bias that counts as reach beside weights. Folded BatchNorm leaves biases of a few times the
// largest weight in healthy channels; those are balanced by their weights alone.
constexpr double kBiasShare = 0.125;

bool is_layer(Op op) { return op == Op::conv || op == Op::conv_transpose || op == Op::dense; }

// A weight seen as rows x columns of kernels, and which channel each (row, column) belongs to.
struct WeightView {
  float* data;
  int64_t rows, columns, kernel;
};

WeightView view_of(Tensor& w) {
  const int64_t rows = w.shape()[0], columns = w.shape()[1];
  return {w.as<float>(), rows, columns, w.size() / std::max<int64_t>(1, rows * columns)};
}

// Calls f(channel, first value, count) for every kernel of the weight that makes output channels.
template <class F>
void for_each_made(const Node& node, Tensor& w, const F& f) {
  const WeightView v = view_of(w);
  const bool transposed = node.op == Op::conv_transpose;
  for (int64_t r = 0; r < v.rows; ++r) {
    for (int64_t c = 0; c < v.columns; ++c) {
      f(transposed ? c : r, v.data + (r * v.columns + c) * v.kernel, v.kernel);
    }
  }
}

// The same for the input channels that the weight reads; `spread` features of a dense layer are one
// channel.
template <class F>
void for_each_read(const Node& node, Tensor& w, int64_t spread, const F& f) {
  const WeightView v = view_of(w);
  const int64_t groups = node.op == Op::dense ? 1 : node.attributes.integer("groups");
  for (int64_t r = 0; r < v.rows; ++r) {
    for (int64_t c = 0; c < v.columns; ++c) {
      const int64_t channel = node.op == Op::conv_transpose ? r
                              : node.op == Op::dense        ? c / spread
                                                            : r / (v.rows / groups) * v.columns + c;
      f(channel, v.data + (r * v.columns + c) * v.kernel, v.kernel);
    }
  }
}

struct Pair {
  NodeId first, second;
  int64_t channels;
  int64_t spread;              // features of `second` per channel
  std::vector<NodeId> relu6;   // to become relu
  std::vector<double> factor;  // product over the rounds
};

class Equalizer {
 public:
  Equalizer(Graph& graph, const EqualizeOptions& options)
      : graph_(graph),
        options_(options),
        consumers_(graph.consumers()),
        is_output_(graph.edges().size(), false) {
    for (EdgeId id : graph.outputs()) is_output_[static_cast<size_t>(id)] = true;
  }

  Equalization run() {
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      if (!is_layer(graph_.nodes()[n].op)) continue;
      Pair pair{static_cast<NodeId>(n), -1, 0, 1, {}, {}};
      const std::string reason = follow(pair);
      if (reason.empty()) {
        pairs_.push_back(std::move(pair));
      } else {
        result_.left.push_back(graph_.nodes()[n].name + ": " + reason);
      }
    }
    own_constants();
    for (int round = 0; round < kMostRounds; ++round) {
      double moved = 0;
      for (Pair& pair : pairs_) moved = std::max(moved, balance(pair));
      if (moved < kSettled) break;
    }
    for (const Pair& pair : pairs_) report(pair);
    return std::move(result_);
  }

 private:
  bool has_own_constants(const Node& node) const {
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNoEdge) continue;
      const auto at = static_cast<size_t>(node.inputs[i]);
      if (!graph_.edge(node.inputs[i]).is_constant() ||
          graph_.edge(node.inputs[i]).dtype != DType::float32 || consumers_[at].size() != 1 ||
          is_output_[at]) {
        return false;
      }
    }
    return true;
  }

  // Empty when a second layer was found; else why not.
  std::string follow(Pair& pair) {
    const Node& first = graph_.node(pair.first);
    if (!has_own_constants(first)) return "its weights are not constants of its own";
    if (first.op == Op::conv_transpose && first.attributes.integer("groups") != 1)
      return "it is a grouped conv_transpose";
    const Shape& shape = graph_.edge(first.outputs[0]).shape;
    const size_t axis = first.op == Op::dense ? shape.size() - 1 : 1;
    pair.channels = shape[axis];
    NodeId at = pair.first;
    for (;;) {
      const Node& node = graph_.node(at);
      if (const std::string why = pass(node, pair, at == pair.first); !why.empty()) return why;
      const auto out = static_cast<size_t>(node.outputs[0]);
      if (is_output_[out]) return "its output leaves the graph";
      if (consumers_[out].size() != 1) return "its output is read more than once";
      at = consumers_[out][0];
      if (is_layer(graph_.node(at).op)) break;
    }
    return accept_second(at, pair);
  }

  std::string accept_second(NodeId at, Pair& pair) {
    const Node& second = graph_.node(at);
    if (!has_own_constants(second)) return "the next layer's weights are not constants of its own";
    const Shape& w = graph_.edge(second.inputs[1]).shape;
    int64_t reads = w[0];
    if (second.op == Op::conv) reads = w[1] * second.attributes.integer("groups");
    if (second.op == Op::dense) reads = w[1];
    if (reads != pair.channels * pair.spread)
      return "channels do not map one to one to the next layer";
    pair.second = at;
    return "";
  }

  // Whether a factor per channel passes through the node (the layer itself: through its
  // activation).
  std::string pass(const Node& node, Pair& pair, bool is_first) {
    if (node.attributes.has("activation") && node.attributes.text("activation") == "relu6") {
      if (!options_.through_relu6) return "relu6 stands behind it";
      pair.relu6.push_back(static_cast<NodeId>(&node - graph_.nodes().data()));
    }
    if (is_first) return "";
    const Shape& in = graph_.edge(node.inputs[0]).shape;
    const Shape& out = graph_.edge(node.outputs[0]).shape;
    switch (node.op) {
      case Op::relu:
      case Op::leaky_relu:
      case Op::max_pool:
      case Op::avg_pool:
      case Op::identity:
      case Op::resize:
        return "";
      case Op::prelu:
        return node.inputs[0] == node.inputs[1] ? "prelu reads it as slope" : "";
      case Op::pad:
        if (node.attributes.text("mode") == "constant" && node.attributes.real("value") != 0)
          return "padding is not 0";
        return out[1] == in[1] ? "" : "padding adds channels";
      case Op::reduce_mean: {
        for (int64_t axis : node.attributes.integers("axes")) {
          if (axis == 0 || axis == 1 || axis + static_cast<int64_t>(in.size()) == 1)
            return "a mean mixes its channels";
        }
        return "";
      }
      case Op::reshape:
        return pass_reshape(in, out, pair);
      default:
        return message(name_of(node.op), " stands behind it");
    }
  }

  // [N, C, 1 or more...] to [N, C * rest].
  std::string pass_reshape(const Shape& in, const Shape& out, Pair& pair) {
    if (in.size() > 2 && out.size() == 2 && in[0] == out[0] && out[1] % pair.channels == 0 &&
        in[1] == pair.channels) {
      pair.spread = out[1] / pair.channels;
      return "";
    }
    return in.size() >= 2 && out.size() >= 2 && in[0] == out[0] && in[1] == out[1]
               ? ""
               : "a reshape mixes its channels";
  }

  // Weights are shared with the graph that this one was copied from.
  void own_constants() {
    for (const Pair& pair : pairs_) {
      for (NodeId id : {pair.first, pair.second}) {
        const Node& node = graph_.node(id);
        for (size_t i = 1; i < node.inputs.size(); ++i) {
          if (node.inputs[i] == kNoEdge) continue;
          Edge& edge = graph_.edge(node.inputs[i]);
          edge.constant = edge.constant.clone();
        }
      }
      for (NodeId id : pair.relu6)
        graph_.node(id).attributes.set("activation", std::string("relu"));
    }
  }

  static void widen(double& largest, const float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
      largest = std::max(largest, std::fabs(static_cast<double>(x[i])));
  }

  // A channel with hardly any weight is its bias: enlarged until its weights reach as far as those
  // of the others, it would take the whole range of the edge for a constant.
  void widen_by_bias(const Node& first, std::vector<double>& made) const {
    if (first.inputs.size() < 3 || first.inputs[2] == kNoEdge) return;
    const float* bias = graph_.edge(first.inputs[2]).constant.as<float>();
    for (size_t c = 0; c < made.size(); ++c) {
      if (made[c] == 0) continue;
      made[c] = std::max(made[c], kBiasShare * std::fabs(static_cast<double>(bias[c])));
    }
  }

  // One step; returns the largest |log factor|.
  double balance(Pair& pair) {
    const Node &first = graph_.node(pair.first), &second = graph_.node(pair.second);
    Tensor &w1 = graph_.edge(first.inputs[1]).constant,
           &w2 = graph_.edge(second.inputs[1]).constant;
    const auto channels = static_cast<size_t>(pair.channels);
    std::vector<double> made(channels, 0.0), read(channels, 0.0), factor(channels, 1.0);
    for_each_made(first, w1, [&](int64_t c, float* x, int64_t n) {
      widen(made[static_cast<size_t>(c)], x, n);
    });
    for_each_read(second, w2, pair.spread, [&](int64_t c, float* x, int64_t n) {
      widen(read[static_cast<size_t>(c)], x, n);
    });
    widen_by_bias(first, made);
    double moved = 0;
    for (size_t c = 0; c < channels; ++c) {
      if (made[c] == 0 || read[c] == 0) continue;
      factor[c] = std::clamp(std::sqrt(made[c] / read[c]), kLeast, kMost);
      moved = std::max(moved, std::fabs(std::log(factor[c])));
    }
    const auto divide = [&](int64_t c, float* x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        x[i] = static_cast<float>(x[i] / factor[static_cast<size_t>(c)]);
    };
    const auto multiply = [&](int64_t c, float* x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        x[i] = static_cast<float>(x[i] * factor[static_cast<size_t>(c)]);
    };
    for_each_made(first, w1, divide);
    if (first.inputs.size() > 2 && first.inputs[2] != kNoEdge) {
      float* bias = graph_.edge(first.inputs[2]).constant.as<float>();
      for (int64_t c = 0; c < pair.channels; ++c) divide(c, bias + c, 1);
    }
    for_each_read(second, w2, pair.spread, multiply);
    pair.factor.resize(channels, 1.0);
    for (size_t c = 0; c < channels; ++c) pair.factor[c] *= factor[c];
    return moved;
  }

  void report(const Pair& pair) {
    EqualizedPair out{graph_.node(pair.first).name, graph_.node(pair.second).name, 1, 1,
                      !pair.relu6.empty()};
    if (!pair.factor.empty()) {
      const auto [least, most] = std::minmax_element(pair.factor.begin(), pair.factor.end());
      out.least_factor = *least;
      out.most_factor = *most;
    }
    result_.pairs.push_back(std::move(out));
  }

  Graph& graph_;
  const EqualizeOptions& options_;
  std::vector<std::vector<NodeId>> consumers_;
  std::vector<bool> is_output_;
  std::vector<Pair> pairs_;
  Equalization result_;
};

}  // namespace

Equalization equalize(Graph& graph, const EqualizeOptions& options) {
  return Equalizer(graph, options).run();
}

}  // namespace tersor::graph
