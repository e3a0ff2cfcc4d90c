// From a float graph to int8 codes without Python: equalize, place, calibrate, correct, apply, run.
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "check.h"
#include "tersor/base/error.h"
#include "tersor/base/random.h"
#include "tersor/graph/equalize.h"
#include "tersor/graph/placement.h"
#include "tersor/graph/quantize.h"
#include "tersor/quantization/histogram.h"
#include "tersor/runtime/calibrate.h"

using tersor::DType;
using tersor::Shape;
using tersor::Tensor;
using tersor::graph::Graph;
using tersor::graph::Op;
using tersor::graph::Placement;

namespace {

Tensor random_tensor(const Shape& shape, std::uint64_t seed, float scale = 1) {
  const tersor::Philox random(seed);
  Tensor t(DType::float32, shape);
  for (std::int64_t i = 0; i < t.size(); ++i) {
    t.as<float>()[i] = (random.uniform(static_cast<std::uint64_t>(i)) - 0.5f) * 2 * scale;
  }
  return t;
}

Graph two_convolutions() {
  Graph g;
  const auto x = g.add_input("x", DType::float32, {tersor::kBatch, 3, 8, 8});
  tersor::graph::Attributes first, second;
  first.set("pads", tersor::graph::Ints{1, 1, 1, 1});
  first.set("activation", std::string("relu"));
  second.set("pads", tersor::graph::Ints{1, 1, 1, 1});
  const auto h = g.add_node(Op::conv,
                            {x, g.add_constant("w1", random_tensor({8, 3, 3, 3}, 1)),
                             g.add_constant("b1", random_tensor({8}, 2))},
                            first, "first");
  const auto y = g.add_node(Op::conv,
                            {h, g.add_constant("w2", random_tensor({4, 8, 3, 3}, 3)),
                             g.add_constant("b2", random_tensor({4}, 4))},
                            second, "second");
  g.set_outputs({y});
  g.verify();
  return g;
}

Graph quantize(Graph graph, const Tensor& samples, int threads) {
  tersor::graph::equalize(graph);
  const Placement placement = tersor::graph::place_quantizers(graph);
  auto shared = std::make_shared<Graph>(graph);
  tersor::runtime::Calibrator calibrator(shared, tersor::graph::calibration_edges(graph, placement),
                                         tersor::graph::layer_inputs(graph, placement), threads);
  calibrator.observe({samples.view()});
  const auto ranges = calibrator.ranges(placement, tersor::quantization::RangeMethod::mse, 0.9999);
  const auto qparams = tersor::graph::group_qparams(graph, placement, ranges);
  tersor::graph::correct_biases(graph, placement, qparams, calibrator.means());
  return tersor::graph::apply_quantization(graph, placement, qparams);
}

Tensor outputs(const Graph& graph, const Tensor& x) {
  const tersor::runtime::Session session(std::make_shared<Graph>(graph));
  return session.run({x.view()})[0];
}

}  // namespace

TEST(int8_network_follows_the_float_one) {
  const Graph graph = two_convolutions();
  const Tensor x = random_tensor({40, 3, 8, 8}, 5);
  const Tensor wanted = outputs(graph, x), got = outputs(quantize(graph, x, 1), x);
  double signal = 0, noise = 0;
  for (std::int64_t i = 0; i < wanted.size(); ++i) {
    const double w = wanted.as<float>()[i];
    signal += w * w;
    noise += (w - got.as<float>()[i]) * (w - got.as<float>()[i]);
  }
  EXPECT(wanted.shape() == got.shape());
  EXPECT(10 * std::log10(signal / noise) > 30);
}

TEST(threads_do_not_change_the_int8_network) {
  const Graph graph = two_convolutions();
  const Tensor x = random_tensor({100, 3, 8, 8}, 5);
  const Graph one = quantize(graph, x, 1), three = quantize(graph, x, 3);
  EXPECT(one.edges().size() == three.edges().size());
  for (std::size_t e = 0; e < one.edges().size(); ++e) {
    const auto &a = one.edges()[e], &b = three.edges()[e];
    EXPECT(a.qparams == b.qparams);
    if (a.is_constant()) EXPECT(a.constant.equals(b.constant));
  }
}

TEST(nan_in_calibration_is_named) {
  const Graph graph = two_convolutions();
  Tensor x = random_tensor({4, 3, 8, 8}, 5);
  x.as<float>()[7] = NAN;
  EXPECT_THROWS(tersor::ValueError, "finite", quantize(graph, x, 1));
}

TEST(clamped_histogram_counts_clamped_values) {
  const std::vector<float> x = {-20, -3.01f, -2.9f, -1, 0, 0.5f, 2.99f, 3, 3.2f, 20};
  tersor::quantization::Histogram all, none;
  all.add(x.data(), x.size());
  const auto clamped = all.clamped({-3, 3});
  EXPECT(clamped.total() == x.size());
  EXPECT((clamped.range() == tersor::quantization::Range{-3, 3}));
  EXPECT(clamped.width() == all.width());
  std::uint64_t sum = 0;
  for (const auto count : clamped.counts()) sum += count;
  EXPECT(sum == x.size());
  EXPECT(clamped.first() == static_cast<std::int64_t>(std::floor(-3 / all.width())));
  EXPECT(clamped.counts().front() == 2);  // -20 and -3.01
  EXPECT(clamped.counts().back() == 3);   // 3, 3.2 and 20
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT(all.clamped({-infinity, infinity}).counts() == all.counts());
  EXPECT(none.clamped({-3, 3}).empty());
  EXPECT_THROWS(tersor::ValueError, "lo <= hi", all.clamped({1, 0}));
}

TEST_MAIN()
