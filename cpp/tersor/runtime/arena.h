// Memory of a plan: which edges share it, and where each lies in the arena.
//
// An edge lives from the step that writes it to the last one that reads it (or its tap); aliases
// live as long as their root needs. Inputs, outputs and constants are not in the arena.
#pragma once

#include "tersor/runtime/plan.h"

namespace tersor::runtime {

// Gives the output of an in-place step the memory of its first input where that dies there.
void share_in_place(Plan& plan);
// Fills offsets, arena_bytes and arena_lower_bound_bytes.
void place_edges(Plan& plan);

}  // namespace tersor::runtime
