// Compiled once per instruction set.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

struct FinishSums {
  const FinishInt8& a;

  template <Finish kFinish, bool kWhole>
  void panel(const Finisher& f, int64_t channel, int count) const {
    for (int64_t p = 0; p < a.pixels; ++p) {
      I32 acc[kParts];
      for (int i = 0; i < kParts; ++i)
        acc[i] = load<I32>(a.sums + p * a.sums_stride + channel + kLanes * i);
      finish<kFinish, kWhole>(acc, f, count, a.out, p * a.out.stride + channel);
    }
  }

  template <Finish kFinish>
  void run() const {
    Finisher f = make_finisher(a.epilogue, kFinish == Finish::add);
    for (int64_t channel = 0; channel < a.channels; channel += 16) {
      set_panel(f, a.epilogue, channel);
      const int64_t rest = a.channels - channel;
      if (rest >= 16) {
        panel<kFinish, true>(f, channel, 16);
      } else {
        panel<kFinish, false>(f, channel, static_cast<int>(rest));
      }
    }
  }
};

}  // namespace

void TERSOR_SIMD_NAME(finish_int8)(const FinishInt8& a) noexcept {
  with_finish(a.out, FinishSums{a});
}

}  // namespace tersor::quantization
