#include "tersor/graph/passes.h"

namespace tersor::graph {

std::vector<std::pair<std::string, int>> canonicalize(Graph& graph) {
  using Pass = int (*)(Graph&);
  // Patterns come before fuse_activation, which would hide a relu6 inside them.
  constexpr std::pair<const char*, Pass> kPasses[] = {
      {"remove_dead_nodes", remove_dead_nodes},
      {"fold_constants", fold_constants},
      {"remove_identities", remove_identities},
      {"merge_transposes", merge_transposes},
      {"merge_reshapes", merge_reshapes},
      {"recognize_patterns", recognize_patterns},
      {"fold_pad", fold_pad},
      {"fold_bias_add", fold_bias_add},
      {"fold_batch_norm", fold_batch_norm},
      {"fuse_activation", fuse_activation},
  };
  std::vector<std::pair<std::string, int>> applied;
  // Every pass removes nodes or lowers their number of free forms, so this ends; the bound is a
  // safety net.
  for (int round = 0; round < 16; ++round) {
    bool changed = false;
    for (const auto& [name, pass] : kPasses) {
      const int count = pass(graph);
      if (!count) continue;
      applied.emplace_back(name, count);
      changed = true;
    }
    if (!changed) break;
  }
  // Last: fusion would have to respect the rounding points that quantized edges are.
  if (const int count = fold_quantization(graph)) applied.emplace_back("fold_quantization", count);
  graph.sort_nodes();
  graph.infer();
  graph.verify();
  return applied;
}

}  // namespace tersor::graph
