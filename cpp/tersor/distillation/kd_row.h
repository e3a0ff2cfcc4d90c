// One row of kd_loss. Private to cpp/tersor/distillation.
#pragma once

#include "tersor/distillation/rows.h"

namespace tersor::distillation {

// What a row needs to know about the call.
struct KdCall {
  std::size_t classes;
  double temperature;
  double smoothing;
  const float* weights;
  double weight_sum;  // of all classes
  bool with_hard;
  bool standardize;
  double hard_weight;  // alpha / sum w[y]: the term of a row in the result
  double soft_weight;  // (1 - alpha) * T^2 / rows
};

// Where e of softened.h comes from at this temperature.
Hard hard_of(const KdCall& call);

// The row's part of the loss; its gradient goes to row.gradient. NaN, and nothing written, where
// the row needs careful_kd_row.
double fast_kd_row(const KdCall& call, const Row& row, std::size_t columns, std::int32_t label);

// The same in double, for rows with infinities and logits beyond 2^20. Throws where a logit is NaN
// or +inf.
double careful_kd_row(const KdCall& call, const Row& row, std::size_t columns, std::int32_t label);

}  // namespace tersor::distillation
