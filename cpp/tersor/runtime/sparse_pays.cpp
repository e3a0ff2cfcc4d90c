#include "tersor/runtime/sparse_pays.h"

#include <algorithm>

#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/conv_spec_int8.h"
#include "tersor/runtime/sparse_geometry.h"

namespace tersor::runtime {
namespace {

// Cycles of one core on Zen 3 (AVX2, sums of 8 lanes), fitted to
// benchmarks/sparse/bench_session.py.
constexpr double kDense = 1.16;     // of 16 products: two multiply-adds a cycle are the peak
constexpr double kWinograd = 0.32;  // of the same 16 by Winograd's 4 x 4 form, and
constexpr double kTransform = 2.0;  // of each of its inputs and outputs
constexpr double kEntry = 1.7;      // of 16 products that are kept
constexpr double kMove = 0.7;       // of a value of the planes
constexpr double kGive = 0.3;       // of an output that is put back
constexpr double kVector = 0.33;    // a product with one vector pays below this density, from
constexpr int64_t kLeastVector = 64 * 1024;  // weights on, which an L2 cache holds
constexpr double kRow = 60;                  // of an output channel and strip: sums begin and end

// The same for int8 codes (16 products by pairs of int16 and by maddubs). Entries are four weights.
constexpr double kDenseInt8 = 0.88;
constexpr double kWinogradInt8 = 0.26;
constexpr double kTransformInt8 = 0.83;
constexpr double kEntryInt8 = 0.88;
constexpr double kMoveInt8 = 1.2;
constexpr double kGiveInt8 = 2.0;

// What a layer asks of its sparse form.
struct SparseWork {
  double macs;    // dense multiply-adds / 16, times what lines are longer than rows
  double planes;  // words that are moved
  double strips;
};
SparseWork work_of(const SparseGeometry& g, double macs) {
  const ConvShapeFloat32& s = g.shape;
  const auto strips = static_cast<double>(g.strips);
  const double pixels = static_cast<double>(s.batch * s.output_height * s.output_width);
  const double width = static_cast<double>((g.columns + 7) / 8 * 8) * strips / pixels;
  return {macs * width, strips * static_cast<double>(g.plane * s.input_channels), strips};
}

}  // namespace

double density_of(const Tensor& weights) {
  const auto* w = weights.as<float>();
  const int64_t n = weights.size();
  return n == 0 ? 1 : 1 - static_cast<double>(std::count(w, w + n, 0.0f)) / static_cast<double>(n);
}

bool sparse_pays(const ConvShapeFloat32& s, double density) {
  const bool vector = s.batch * s.output_height * s.output_width == 1;
  if (vector) return s.input_channels * s.output_channels >= kLeastVector && density < kVector;
  const SparseGeometry g(s);
  // Few pixels do not fill a vector.
  if (g.columns < 8 || g.strips == 0) return false;
  const double pixels = static_cast<double>(s.batch * s.output_height * s.output_width);
  const double taps = static_cast<double>(s.kernel_height * s.kernel_width * s.input_channels);
  const double macs = pixels * taps * static_cast<double>(s.output_channels) / 16;
  const double outputs = pixels * static_cast<double>(s.output_channels);
  const double inputs = static_cast<double>(s.batch * s.input_height * s.input_width) *
                        static_cast<double>(s.input_channels);
  const double dense =
      winograd_pays(s) ? macs * kWinograd + (inputs + outputs) * kTransform : macs * kDense;
  const SparseWork w = work_of(g, macs);
  return w.macs * density * kEntry + w.planes * kMove + outputs * kGive +
             w.strips * static_cast<double>(s.output_channels) * kRow <
         dense;
}

bool sparse_pays_int8(const quantization::ConvInt8Shape& s, double density) {
  const SparseGeometry g(shape_in_words(s));
  if (g.columns < 8 || g.strips == 0) return false;
  const double pixels = static_cast<double>(s.batch * s.out_height() * s.out_width());
  const double taps = static_cast<double>(s.kernel_h * s.kernel_w * s.channels);
  const double outputs = pixels * static_cast<double>(s.out_channels);
  const double inputs = static_cast<double>(s.batch * s.height * s.width * s.channels);
  const double macs = outputs * taps / 16;
  const bool winograd = quantization::winograd_pays(s);
  const double dense =
      winograd ? macs * kWinogradInt8 + (inputs + outputs) * kTransformInt8 : macs * kDenseInt8;
  const SparseWork w = work_of(g, macs);
  return w.macs * density * kEntryInt8 + w.planes * kMoveInt8 + outputs * kGiveInt8 < dense;
}

}  // namespace tersor::runtime
