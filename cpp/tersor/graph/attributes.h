// Attributes of a node: a small sorted map of named values. Which ones a node has, their types and
// defaults: ops.inc; the verifier completes and checks them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::graph {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using AttributeValue = std::variant<int64_t, double, Ints, Floats, std::string>;

class TERSOR_API Attributes {
 public:
  // Getters throw GraphError naming the attribute when it is absent or of another type.
  int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;  // integers convert
  const Ints& integers(const std::string& name) const;
  const Floats& reals(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  void set(const std::string& name, AttributeValue value) { values_[name] = std::move(value); }
  void erase(const std::string& name) { values_.erase(name); }
  const std::map<std::string, AttributeValue>& values() const { return values_; }
  bool operator==(const Attributes&) const = default;

 private:
  std::map<std::string, AttributeValue> values_;
};

}  // namespace tersor::graph
