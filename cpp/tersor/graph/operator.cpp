#include "tersor/graph/operator.h"

#include <sstream>

#include "tersor/base/error.h"

namespace tersor::graph {
namespace {

AttributeType type_from_text(const std::string& text) {
  if (text == "int") return AttributeType::integer;
  if (text == "float") return AttributeType::real;
  if (text == "ints") return AttributeType::integers;
  if (text == "floats") return AttributeType::reals;
  return AttributeType::text;
}

// "name:type[=default][@version]" separated by blanks.
std::vector<AttributeSpec> parse_attributes(const char* text) {
  std::vector<AttributeSpec> out;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t at = word.find('@');
    const int version = at == std::string::npos ? 1 : std::stoi(word.substr(at + 1));
    word = word.substr(0, at);
    const size_t colon = word.find(':');
    const size_t equals = word.find('=', colon);
    const bool has_default = equals != std::string::npos;
    const std::string type =
        word.substr(colon + 1, has_default ? equals - colon - 1 : std::string::npos);
    out.push_back({word.substr(0, colon), type_from_text(type), !has_default,
                   has_default ? word.substr(equals + 1) : "", version});
  }
  return out;
}

}  // namespace

const std::vector<OperatorSpec>& operator_table() {
  static const std::vector<OperatorSpec> table = {
#define TERSOR_OPERATOR(name, version, least, most, outputs, layout, constraint, attributes) \
  {Op::name,                                                                                 \
   #name,                                                                                    \
   version,                                                                                  \
   least,                                                                                    \
   most,                                                                                     \
   outputs,                                                                                  \
   LayoutClass::layout,                                                                      \
   QuantConstraint::constraint,                                                              \
   parse_attributes(attributes)},
#include "tersor/graph/ops.inc"
#undef TERSOR_OPERATOR
  };
  return table;
}

const OperatorSpec& spec_of(Op op) { return operator_table().at(static_cast<size_t>(op)); }

const OperatorSpec& spec_of(std::string_view name) {
  std::string known;
  for (const OperatorSpec& spec : operator_table()) {
    if (name == spec.name) return spec;
    known += std::string(known.empty() ? "" : ", ") + spec.name;
  }
  throw GraphError("graph: operator must be one of " + known + ", got " + std::string(name));
}

const char* name_of(Op op) { return spec_of(op).name; }

}  // namespace tersor::graph
