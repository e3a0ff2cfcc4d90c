#include "tersor/base/crc32c.h"

#include "tersor/base/kernels.h"

namespace tersor {

std::uint32_t crc32c(const void* data, std::size_t n, std::uint32_t crc) {
  return ~base::crc32c_table.pick()(static_cast<const unsigned char*>(data), n, ~crc);
}

}  // namespace tersor
