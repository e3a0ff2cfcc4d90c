// Patterns by which recipes name layers.
#pragma once

#include <string>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

// Whether `pattern`, with * (any characters) and ? (one), matches all of `text`.
TERSOR_API bool matches_pattern(const char* pattern, const char* text);

// Whether it matches the node's name, the name of an output or the origin of a constant input.
bool matches_node(const Graph& graph, const Node& node, const std::string& pattern);

}  // namespace tersor::graph
