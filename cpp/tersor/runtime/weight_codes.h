// Steps of float operators whose weights are codes (graph/weight_codes.h).
#pragma once

#include <memory>
#include <optional>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// Whether input 1 of a float operator is codes.
bool has_weight_codes(const StepSpec& spec);
// Whether it also quantizes its input in each call.
bool is_dynamic(const StepSpec& spec);

// The weight as float32: what every provider takes.
PlanEdge decoded_weight(const PlanEdge& weight);

// quantization/dense_codes.h, or codebook/lookup_dense.h for a codebook, where that beats float32:
// few rows, and more weights than the caches near a core hold. nullptr otherwise.
std::unique_ptr<Step> make_native_dense_codes_step(const StepSpec& spec);
// quantization/dense_dynamic.h.
std::unique_ptr<Step> make_native_dense_dynamic_step(const StepSpec& spec);
std::unique_ptr<Step> make_reference_dense_dynamic_step(const StepSpec& spec);

}  // namespace tersor::runtime
