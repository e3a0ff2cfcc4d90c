// Softmax of one row in double, for rows that the kernels cannot represent. Private to
// cpp/tersor/distillation.
#pragma once

#include <vector>

namespace tersor::distillation {

struct Softmax {
  std::vector<double> p, log_p;
};

// -inf has probability 0. ValueError, naming the operation, if nothing is above -inf.
Softmax softmax(const char* operation, const std::vector<double>& x);

}  // namespace tersor::distillation
