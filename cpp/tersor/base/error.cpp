#include "tersor/base/error.h"

namespace tersor {

Error::~Error() = default;
ValueError::~ValueError() = default;
TypeError::~TypeError() = default;
GraphError::~GraphError() = default;
ArtifactError::~ArtifactError() = default;
UnsupportedError::~UnsupportedError() = default;
DeviceError::~DeviceError() = default;
BudgetError::~BudgetError() = default;
Cancelled::~Cancelled() = default;

}  // namespace tersor
