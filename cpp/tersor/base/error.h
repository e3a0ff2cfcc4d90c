// Error types and checks. Doors and readers throw; kernels never do.
//
// A message has the form "operation: argument must be CONDITION, got VALUE". The bindings turn each
// type into the Python exception of the same name (ValueError and TypeError into the built-in ones,
// Cancelled into KeyboardInterrupt).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "tersor/base/export.h"

namespace tersor {

class TERSOR_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;  // out of line: one vtable and type_info, in libtersor.so
};

// An argument has a wrong value, respectively a wrong type.
class TERSOR_API ValueError : public Error {
 public:
  using Error::Error;
  ~ValueError() override;
};
class TERSOR_API TypeError : public Error {
 public:
  using Error::Error;
  ~TypeError() override;
};

// A graph is inconsistent: the verifier, shape inference or a pass says where.
class TERSOR_API GraphError : public ValueError {
 public:
  using ValueError::ValueError;
  ~GraphError() override;
};

// A file is damaged, hostile or of an unknown version.
class TERSOR_API ArtifactError : public Error {
 public:
  using Error::Error;
  ~ArtifactError() override;
};

// The request is valid but this build or this version cannot do it.
class TERSOR_API UnsupportedError : public Error {
 public:
  using Error::Error;
  ~UnsupportedError() override;
};

// A device is missing or failed.
class TERSOR_API DeviceError : public Error {
 public:
  using Error::Error;
  ~DeviceError() override;
};

// A budget cannot be met; the message says by how much.
class TERSOR_API BudgetError : public Error {
 public:
  using Error::Error;
  ~BudgetError() override;
};

// The caller asked a long operation to stop (cancel.h).
class TERSOR_API Cancelled : public Error {
 public:
  using Error::Error;
  ~Cancelled() override;
};

// message("a", 1, "b") == "a1b", for everything that streams.
template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream os;
  (os << ... << parts);
  return os.str();
}

}  // namespace tersor

// TERSOR_CHECK(0 < bits, "quantize_affine: bits must be positive, got ", bits);
#define TERSOR_CHECK_AS(type, condition, ...)               \
  do {                                                      \
    if (!(condition)) [[unlikely]] {                        \
      throw ::tersor::type(::tersor::message(__VA_ARGS__)); \
    }                                                       \
  } while (false)
#define TERSOR_CHECK(condition, ...) TERSOR_CHECK_AS(ValueError, condition, __VA_ARGS__)
#define TERSOR_CHECK_TYPE(condition, ...) TERSOR_CHECK_AS(TypeError, condition, __VA_ARGS__)
