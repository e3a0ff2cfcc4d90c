#include "tersor/graph/name_pattern.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace tersor::graph {
namespace {

// Of the longer name that two close ones may differ in.
constexpr double kClose = 0.5;

// Insertions, deletions and replacements that make one text the other, as a share of the longer.
double distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t before = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = before + (a[i] != b[j]);
      before = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, before + 1});
    }
  }
  return static_cast<double>(row.back()) /
         static_cast<double>(std::max<size_t>({1, a.size(), b.size()}));
}

}  // namespace

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

std::vector<std::string> names_of(const Graph& graph, const Node& node) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  };
  const auto add_origin = [&](const std::string& origin) {
    add(origin);
    const size_t end = origin.find_last_of("./");
    if (end != std::string::npos) add(origin.substr(0, end));
  };
  add(node.name);
  for (const EdgeId id : node.outputs) {
    add(graph.edge(id).name);
    add_origin(graph.edge(id).origin);
  }
  for (const EdgeId id : node.inputs) {
    if (id != kNoEdge && graph.edge(id).is_constant()) add_origin(graph.edge(id).origin);
  }
  return names;
}

bool matches_node(const Graph& graph, const Node& node, const std::string& pattern) {
  const std::vector<std::string> names = names_of(graph, node);
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return matches_pattern(pattern.c_str(), name.c_str());
  });
}

std::string hint_for(const Graph& graph, const std::string& pattern) {
  std::string wanted;  // without the wildcards, which are far from any name
  for (const char c : pattern) {
    if (c != '*' && c != '?') wanted += c;
  }
  std::vector<std::pair<double, std::string>> rated;
  for (const Node& node : graph.nodes()) {
    for (const std::string& name : names_of(graph, node)) {
      const double far = distance(wanted, name);
      if (far <= kClose && std::none_of(rated.begin(), rated.end(),
                                        [&](const auto& r) { return r.second == name; })) {
        rated.emplace_back(far, name);
      }
    }
  }
  std::stable_sort(rated.begin(), rated.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(3, rated.size()); ++i)
    text += (i ? ", '" : "; close names: '") + rated[i].second + "'";
  return text + "; tersor.compress.layer_names(graph) lists all";
}

}  // namespace tersor::graph
