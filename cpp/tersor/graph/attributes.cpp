#include "tersor/graph/attributes.h"

#include "tersor/base/error.h"

namespace tersor::graph {
namespace {

template <class T>
const T& get(const std::map<std::string, AttributeValue>& values, const std::string& name,
             const char* type) {
  const auto found = values.find(name);
  if (found == values.end()) throw GraphError("attribute " + name + ": must be given");
  const T* value = std::get_if<T>(&found->second);
  if (!value) throw GraphError("attribute " + name + ": must be " + type);
  return *value;
}

}  // namespace

int64_t Attributes::integer(const std::string& name) const {
  return get<int64_t>(values_, name, "an integer");
}

double Attributes::real(const std::string& name) const {
  const auto found = values_.find(name);
  if (found != values_.end()) {
    if (const auto* integer = std::get_if<int64_t>(&found->second))
      return static_cast<double>(*integer);
  }
  return get<double>(values_, name, "a number");
}

const Ints& Attributes::integers(const std::string& name) const {
  return get<Ints>(values_, name, "a list of integers");
}

const Floats& Attributes::reals(const std::string& name) const {
  return get<Floats>(values_, name, "a list of numbers");
}

const std::string& Attributes::text(const std::string& name) const {
  return get<std::string>(values_, name, "a string");
}

}  // namespace tersor::graph
