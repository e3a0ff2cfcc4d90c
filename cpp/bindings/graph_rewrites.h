// Passes and rewrites of a graph; called by bind_graph.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "tersor/graph/graph.h"

namespace tersor::bindings {

using GraphClass = pybind11::class_<graph::Graph, std::shared_ptr<graph::Graph>>;

void bind_rewrites(pybind11::module_& m, GraphClass& graph);

}  // namespace tersor::bindings
