#include "tersor/distillation/softmax.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"

namespace tersor::distillation {

Softmax softmax(const char* operation, const std::vector<double>& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  TERSOR_CHECK(std::isfinite(largest), operation,
               ": a row of logits must have one above -inf, got none");
  double sum = 0;
  for (const double v : x) sum += std::exp(v - largest);
  const double log_sum = largest + std::log(sum);
  Softmax s{x, x};
  for (std::size_t c = 0; c < x.size(); ++c) s.p[c] = std::exp(s.log_p[c] -= log_sum);
  return s;
}

}  // namespace tersor::distillation
