#include "tersor/base/error.h"
#include "tersor/runtime/step.h"

namespace tersor::runtime {

std::vector<Provider> providers(const std::string& only) {
  const Provider reference{"reference", make_reference_step};
  const Provider native{"native", make_native_step};
  const Provider onednn{"onednn", make_onednn_step};
  const Provider dense{"dense", make_dense_step};
  // One may be asked for alone; what it lacks then comes from the reference.
  if (only == "reference") return {reference};
  if (only == "native") return {native, reference};
  if (only == "onednn") return {onednn, reference};
  if (only == "dense") return {dense, reference};
  if (only == "sparse") return {{"sparse", make_sparse_step}, native, reference};
  TERSOR_CHECK(only.empty(),
               "session: provider must be native, onednn, dense, sparse or reference, got ", only);
  return {{"onednn", make_preferred_onednn_step}, native, onednn, reference};
}

}  // namespace tersor::runtime
