// Patterns by which recipes name layers.
#pragma once

#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

// Whether `pattern`, with * (any characters) and ? (one), matches all of `text`.
TERSOR_API bool matches_pattern(const char* pattern, const char* text);

// The names by which a recipe may address a node, without repetitions: its own; the names and
// origins of its outputs; the origins of its constant inputs (features.0.0.weight); and the paths
// of the modules that these belong to (features.0.0): an origin without its last part, after . or
// /.
TERSOR_API std::vector<std::string> names_of(const Graph& graph, const Node& node);

// Whether the pattern matches one of them.
bool matches_node(const Graph& graph, const Node& node, const std::string& pattern);

// "; close names: 'stem', 'step'" and how to list all, for messages about a pattern that matches
// nothing.
std::string hint_for(const Graph& graph, const std::string& pattern);

}  // namespace tersor::graph
