#include "tersor/base/error.h"
#include "tersor/runtime/step.h"

namespace tersor::runtime {

std::vector<Provider> providers(const std::string& only) {
  const Provider reference{"reference", make_reference_step};
  if (only == "reference") return {reference};
  const Provider native{"native", make_native_step};
  // One may be asked for alone; what it lacks then comes from the reference.
  TERSOR_CHECK(only.empty() || only == "native", "session: provider must be native or reference, got ", only);
  return {native, reference};
}

}  // namespace tersor::runtime
