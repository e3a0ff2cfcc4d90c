// What the kernels of fake_quantize.h and lsq.h take, per scale. Private to the room.
#pragma once

#include <vector>

#include "tersor/quantization/fake_quantize.h"

namespace tersor::quantization {

struct FakeParameters {
  std::vector<float> scale, zero, low, high;
};

// ValueError as fake_quantize says.
FakeParameters fake_parameters(const char* op, std::size_t scales, const FakeQuantizer& q);

}  // namespace tersor::quantization
