#include "graph_memory.h"

#include <pybind11/stl.h>

#include <array>

#include "tersor/graph/memory_planner.h"

namespace tersor::bindings {

namespace py = pybind11;

void bind_memory_planner(py::module_& m) {
  py::class_<graph::MemoryPlan>(m, "MemoryPlan")
      .def_readonly("offsets", &graph::MemoryPlan::offsets)
      .def_readonly("total_bytes", &graph::MemoryPlan::total_bytes)
      .def_readonly("lower_bound_bytes", &graph::MemoryPlan::lower_bound_bytes)
      .def_readonly("optimal", &graph::MemoryPlan::optimal);
  m.def(
      "plan_memory",
      [](const std::vector<std::array<int64_t, 3>>& buffers, int64_t alignment,
         const std::vector<std::array<int64_t, 3>>& overlaps, int64_t node_limit) {
        std::vector<graph::BufferRequest> requests;
        for (const auto& [bytes, first, last] : buffers) {
          requests.push_back({bytes, static_cast<int>(first), static_cast<int>(last)});
        }
        std::vector<graph::BufferOverlap> permitted;
        for (const auto& [a, b, distance] : overlaps) {
          permitted.push_back({static_cast<int>(a), static_cast<int>(b), distance});
        }
        const py::gil_scoped_release release;
        return graph::plan_memory(requests, alignment, permitted, node_limit);
      },
      py::arg("buffers"), py::arg("alignment"), py::arg("overlaps"), py::arg("node_limit"));
}

}  // namespace tersor::bindings
