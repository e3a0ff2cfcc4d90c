// The operator table: what ops.inc says, as data. Everything that must know every operator reads it
// here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::graph {

enum class Op : uint8_t {
#define TERSOR_OPERATOR(name, ...) name,
#include "tersor/graph/ops.inc"
#undef TERSOR_OPERATOR
};

enum class LayoutClass : uint8_t { spatial, elementwise, axis, row_major };
enum class QuantConstraint : uint8_t { affine, free, same, fixed, none };

enum class AttributeType : uint8_t { integer, real, integers, reals, text };

struct AttributeSpec {
  std::string name;
  AttributeType type;
  bool required;
  std::string default_text;
  int version = 1;  // of the operator that has it first
};

struct OperatorSpec {
  Op op;
  const char* name;
  int version;
  int least_inputs;
  int most_inputs;
  int outputs;
  LayoutClass layout;
  QuantConstraint constraint;
  std::vector<AttributeSpec> attributes;
};

TERSOR_API const std::vector<OperatorSpec>& operator_table();  // in the order of Op
TERSOR_API const OperatorSpec& spec_of(Op op);
TERSOR_API const OperatorSpec& spec_of(
    std::string_view name);  // GraphError lists what is supported
TERSOR_API const char* name_of(Op op);

}  // namespace tersor::graph
