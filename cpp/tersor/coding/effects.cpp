#include "tersor/coding/effects.h"

namespace tersor::coding {
namespace {

// Four bits each. Gains and weights have 8 fractional bits.
constexpr std::array<uint32_t, 16> kGains = {0,   18,  26,  36,  51,  72,  102, 128,
                                             144, 205, 288, 410, 512, 614, 717, 819};
constexpr std::array<int32_t, 16> kPriors = {4,  6,  8,  10, 12, 16,  20,  24,
                                             32, 40, 48, 64, 96, 128, 256, 384};
int32_t weight(uint8_t index) { return 18 * (index - kNoWeight); }

}  // namespace

void EffectParameters::put(BitWriter& out) const {
  for (size_t i = 0; i < kEffects; ++i) {
    out.put(gain[i], 4);
    out.put(prior[i], 4);
  }
  out.put(left, 4);
  out.put(up, 4);
}

EffectParameters EffectParameters::get(BitReader& in) {
  EffectParameters p;
  for (size_t i = 0; i < kEffects; ++i) {
    p.gain[i] = static_cast<uint8_t>(in.get(4));
    p.prior[i] = static_cast<uint8_t>(in.get(4));
  }
  p.left = static_cast<uint8_t>(in.get(4));
  p.up = static_cast<uint8_t>(in.get(4));
  return p;
}

Effects::Effects(const EffectParameters& p, size_t inputs, size_t taps)
    : left_(weight(p.left)),
      up_(weight(p.up)),
      inputs_(inputs),
      taps_(taps),
      places_(inputs * taps) {
  for (size_t i = 0; i < kEffects; ++i) {
    gain_[i] = kGains[p.gain[i]];
    prior_[i] = kPriors[p.prior[i]];
  }
}

}  // namespace tersor::coding
