#include "graph_rewrites.h"

#include <pybind11/stl.h>

#include "tersor/graph/passes.h"

namespace py = pybind11;
namespace tg = tersor::graph;

namespace tersor::bindings {

void bind_rewrites(py::module_& m, GraphClass& graph) {
  using Pass = int (*)(tg::Graph&);
  constexpr std::pair<const char*, Pass> kPasses[] = {
      {"remove_dead_nodes", tg::remove_dead_nodes},
      {"remove_identities", tg::remove_identities},
      {"merge_reshapes", tg::merge_reshapes},
      {"merge_transposes", tg::merge_transposes},
      {"fold_batch_norm", tg::fold_batch_norm},
      {"fold_bias_add", tg::fold_bias_add},
      {"fold_pad", tg::fold_pad},
      {"fuse_activation", tg::fuse_activation},
      {"recognize_patterns", tg::recognize_patterns},
      {"fold_constants", tg::fold_constants},
      {"fold_quantization", tg::fold_quantization},
  };
  py::list names;
  for (const auto& [name, pass] : kPasses) {
    graph.def(name, [pass = pass](tg::Graph& g) { return pass(g); });
    names.append(name);
  }
  m.attr("PASSES") = names;
  graph.def(
      "canonicalize", [](tg::Graph& g) { return tg::canonicalize(g); },
      py::call_guard<py::gil_scoped_release>(),
      "Run all passes until nothing changes, then verify; returns [(pass, count), ...].");
}

}  // namespace tersor::bindings
