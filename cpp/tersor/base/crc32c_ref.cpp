#include <array>

#include "tersor/base/kernels.h"

namespace tersor::base {
namespace {

constexpr std::array<std::uint32_t, 256> kTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
    table[i] = c;
  }
  return table;
}();

}  // namespace

std::uint32_t crc32c_ref(const unsigned char* data, std::size_t n, std::uint32_t state) noexcept {
  for (std::size_t i = 0; i < n; ++i) state = (state >> 8) ^ kTable[(state ^ data[i]) & 0xFF];
  return state;
}

}  // namespace tersor::base
