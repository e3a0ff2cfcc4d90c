// Which input positions an output position of `resize` reads along one dimension, and with which
// weights.
#pragma once

#include <string>
#include <vector>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

struct ResizeTap {
  int64_t index;  // inside the input: positions beyond an end repeat it
  double weight;
};

// Taps of every output position: one (nearest) or two (linear) each, at
//   half_pixel (o + 1/2) * in / out - 1/2     asymmetric         o * in / out
//   align_corners o * (in - 1) / (out - 1)    pytorch_half_pixel half_pixel, but 0 when out = 1
// Taps of weight 0 are left out. UnsupportedError on other modes.
std::vector<std::vector<ResizeTap>> resize_taps(const StepSpec& spec, int64_t in, int64_t out);

}  // namespace tersor::runtime
