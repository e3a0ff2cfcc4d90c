// Loads a .tersor file and runs it on float32 values from standard input:
//   classify MODEL.tersor BATCH < input.f32 > output.f32
#include <tersor/artifact/artifact.h>
#include <tersor/base/error.h>
#include <tersor/runtime/session.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: classify MODEL.tersor BATCH < input.f32 > output.f32\n");
    return 2;
  }
  try {
    auto graph = std::make_shared<tersor::graph::Graph>(tersor::artifact::read_file(argv[1]).graph);
    tersor::runtime::Session session(graph, {.threads = 1});
    const tersor::graph::Edge& edge = graph->edge(graph->inputs().at(0));
    tersor::Tensor input(edge.dtype, tersor::with_batch(edge.shape, std::atoll(argv[2])));
    if (std::fread(input.data(), 1, input.size_bytes(), stdin) != input.size_bytes()) {
      std::fprintf(stderr, "classify: standard input must hold %zu bytes\n", input.size_bytes());
      return 2;
    }
    for (const tersor::Tensor& output : session.run({input.view()})) {
      std::fwrite(output.data(), 1, output.size_bytes(), stdout);
    }
  } catch (const tersor::Error& error) {
    std::fprintf(stderr, "classify: %s\n", error.what());
    return 1;
  }
  return 0;
}
