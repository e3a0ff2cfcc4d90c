#include "tersor/runtime/resize_taps.h"

#include <algorithm>
#include <cmath>

#include "tersor/runtime/operand.h"

namespace tersor::runtime {
namespace {

double input_position(const StepSpec& spec, int64_t position, int64_t in, int64_t out) {
  const std::string& coordinates = spec.attributes.text("coordinates");
  const auto o = static_cast<double>(position);
  const auto ratio = static_cast<double>(in) / static_cast<double>(out);
  if (coordinates == "half_pixel") return (o + 0.5) * ratio - 0.5;
  if (coordinates == "pytorch_half_pixel") return out > 1 ? (o + 0.5) * ratio - 0.5 : 0;
  if (coordinates == "asymmetric") return o * ratio;
  if (coordinates == "align_corners") {
    return out > 1 ? o * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  }
  refuse(spec,
         "coordinates must be half_pixel, pytorch_half_pixel, asymmetric or align_corners, got " +
             coordinates);
}

double nearest_position(const StepSpec& spec, double x) {
  const std::string& nearest = spec.attributes.text("nearest");
  if (nearest == "round_prefer_floor") return std::ceil(x - 0.5);
  if (nearest == "round_prefer_ceil") return std::floor(x + 0.5);
  if (nearest == "floor") return std::floor(x);
  if (nearest == "ceil") return std::ceil(x);
  refuse(spec,
         "nearest must be round_prefer_floor, round_prefer_ceil, floor or ceil, got " + nearest);
}

}  // namespace

std::vector<std::vector<ResizeTap>> resize_taps(const StepSpec& spec, int64_t in, int64_t out) {
  const std::string& mode = spec.attributes.text("mode");
  std::vector<std::vector<ResizeTap>> taps(static_cast<size_t>(out));
  for (int64_t o = 0; o < out; ++o) {
    auto& row = taps[static_cast<size_t>(o)];
    const auto push = [&](double index, double weight) {
      const auto clamped = std::clamp<int64_t>(static_cast<int64_t>(index), 0, in - 1);
      if (weight != 0) row.push_back({clamped, weight});
    };
    if (in == out) {
      push(static_cast<double>(o), 1);
      continue;
    }
    const double x = input_position(spec, o, in, out);
    const double below = std::floor(x);
    if (mode == "nearest") {
      push(nearest_position(spec, x), 1);
    } else if (mode == "linear") {
      push(below, 1 - (x - below));
      push(below + 1, x - below);
    } else {
      refuse(spec, "mode must be nearest or linear, got " + mode);
    }
  }
  return taps;
}

}  // namespace tersor::runtime
