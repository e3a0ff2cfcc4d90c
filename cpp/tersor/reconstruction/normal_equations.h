// The least-squares problem of one linear layer, from the moments of what it sees and should give.
#pragma once

#include <cstddef>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/reconstruction/moments.h"

namespace tersor::reconstruction {

// min over W, b of mean |t - W x - b|^2 is, for any W and the best b = mean(t) - W mean(x),
//   const + trace((W - target) H (W - target)^T),
// H = mean (x - mean x)(x - mean x)^T, target = mean (t - mean t)(x - mean x)^T H^-1. A free bias
// is therefore the same as centred inputs.
struct NormalEquations {
  size_t outputs = 0, columns = 0;
  // [columns][columns]: H, or mean x x^T where not centred; with columns * 2^-23 of mean x_i^2 on
  // the diagonal, below which float32 products tell nothing.
  std::vector<double> hessian;
  std::vector<double> target;       // [outputs][columns]
  std::vector<double> input_mean;   // [columns]
  std::vector<double> target_mean;  // [outputs]: mean t
};

struct NormalOptions {
  bool centred = true;  // a bias follows (best_bias)
  // Ridge towards `weights`, as a share of H's mean diagonal: directions that the samples do not
  // show keep the weights they had. Raised tenfold while there is no solution.
  double ridge = 1e-3;
};

// Of group `group` of the moments; weights [outputs][columns] is what the layer has now. Without
// targets in the moments (outputs 0) the target is `weights`, of `outputs` rows. ValueError if
// nothing was added. UnsupportedError where the library was built without Eigen.
TERSOR_API NormalEquations normal_equations(const Moments& moments, size_t group,
                                            const float* weights, size_t outputs,
                                            const NormalOptions& options = {});

// mean(t) - W mean(x), for weights [outputs][columns].
TERSOR_API std::vector<double> best_bias(const NormalEquations& problem, const float* weights);

// trace((a - b) H (a - b)^T) for a [outputs][columns] in float64 and b likewise in float32: what
// replacing a by b adds to the mean squared output error.
TERSOR_API double output_error(const double* a, const float* b, size_t outputs, size_t columns,
                               const double* hessian);

}  // namespace tersor::reconstruction
