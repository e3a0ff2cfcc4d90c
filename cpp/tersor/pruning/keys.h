// Scores as unsigned integers of the same order, on which thresholds are found digit by digit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::pruning {

// keys[i] orders like |x[i]| if absolute, else like x[i]: -inf < ... < -0 = 0 < ... < inf. Returns
// whether no x[i] is NaN; keys of NaN mean nothing.
using score_keys_sig = bool(const float* x, std::size_t n, bool absolute,
                            std::uint32_t* keys) noexcept;

// mask[i] = keys[i] > least ? 1 : 0; returns how many keys[i] equal `least`.
using mask_above_sig = std::size_t(const std::uint32_t* keys, std::size_t n, std::uint32_t least,
                                   std::uint8_t* mask) noexcept;

}  // namespace tersor::pruning
