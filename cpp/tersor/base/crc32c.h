// CRC-32C (Castagnoli; reflected polynomial 0x82F63B78, as iSCSI, ext4 and SSE4.2's CRC32).
//
//   crc32c(data, n, crc of what came before, 0 at the start); crc32c("123456789", 9) == 0xE3069283
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor {

// The kernels update the inverted register: crc32c() inverts before and after.
using crc32c_sig = std::uint32_t(const unsigned char* data, std::size_t n,
                                 std::uint32_t state) noexcept;

TERSOR_API std::uint32_t crc32c(const void* data, std::size_t n, std::uint32_t crc = 0);

}  // namespace tersor
