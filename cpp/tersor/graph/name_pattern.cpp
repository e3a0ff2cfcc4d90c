#include "tersor/graph/name_pattern.h"

namespace tersor::graph {

bool matches_pattern(const char* pattern, const char* text) {
  for (; *pattern != '\0'; ++pattern, ++text) {
    if (*pattern == '*') {
      for (; *text != '\0'; ++text) {
        if (matches_pattern(pattern + 1, text)) return true;
      }
      return matches_pattern(pattern + 1, text);
    }
    if (*text == '\0' || (*pattern != '?' && *pattern != *text)) return false;
  }
  return *text == '\0';
}

bool matches_node(const Graph& graph, const Node& node, const std::string& pattern) {
  if (matches_pattern(pattern.c_str(), node.name.c_str())) return true;
  for (const EdgeId id : node.outputs) {
    if (matches_pattern(pattern.c_str(), graph.edge(id).name.c_str())) return true;
  }
  for (const EdgeId id : node.inputs) {
    if (id == kNoEdge || !graph.edge(id).is_constant()) continue;
    if (matches_pattern(pattern.c_str(), graph.edge(id).origin.c_str())) return true;
  }
  return false;
}

}  // namespace tersor::graph
