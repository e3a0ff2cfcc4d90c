// Parameters of affine quantization: value = scale[c] * (code - zero_point[c]).
#pragma once

#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::quantization {

struct QParams {
  std::vector<float> scale;         // one, or one per index of `axis`
  std::vector<int32_t> zero_point;  // same length
  int bits = 8;                     // 2..8
  bool is_signed = true;
  bool narrow = false;  // symmetric codes [-(2^(bits-1) - 1), ...]: weights
  int axis = -1;        // -1: per tensor
  int group_size = 0;   // 0: none

  bool per_tensor() const { return axis < 0; }
  int32_t code_min() const {
    return is_signed ? -(1 << (bits - 1)) + (narrow ? 1 : 0) : 0;
  }
  int32_t code_max() const { return is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1; }
  bool operator==(const QParams&) const = default;
};

}  // namespace tersor::quantization
