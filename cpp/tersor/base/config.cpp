#include "tersor/base/config.h"

#if TERSOR_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif
#if TERSOR_HAVE_EIGEN
#include <Eigen/src/Core/util/Macros.h>
#endif

#include "tersor/base/error.h"

namespace tersor {

std::string version() { return TERSOR_VERSION; }

std::string compiler() { return TERSOR_COMPILER; }

std::string build_type() { return TERSOR_BUILD_TYPE; }

std::string eigen_version() {
#if TERSOR_HAVE_EIGEN
  return message(EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".", EIGEN_MINOR_VERSION);
#else
  return "";
#endif
}

std::string onednn_version() {
#if TERSOR_HAVE_ONEDNN
  const dnnl_version_t* v = dnnl_version();
  return message(v->major, ".", v->minor, ".", v->patch);
#else
  return "";
#endif
}

}  // namespace tersor
