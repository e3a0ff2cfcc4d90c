// One parameter of a tilted distribution as a sum of learnt effects (adaptive.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tersor/coding/bit_stream.h"

namespace tersor::coding {

enum EffectKind { kRow, kInput, kTap, kPlace, kKernel, kEffects };

constexpr uint8_t kNoWeight = 4;  // index of a neighbour's weight of 0

// Indices into tables of gains, priors and weights.
struct EffectParameters {
  std::array<uint8_t, kEffects> gain{}, prior{};
  uint8_t left = 0, up = 0;

  void put(BitWriter& out) const;
  static EffectParameters get(BitReader& in);
};

class Effects {
 public:
  struct Cell {
    int32_t value = 0;  // kParameterBits
    int32_t visits = 0;
  };

  Effects(const EffectParameters& p, size_t inputs, size_t taps);

  void begin_row() { row_ = {}; }
  void begin_kernel(size_t input) {
    kernel_ = {};
    input_ = &inputs_[input];
  }
  // left and up: statistics of the neighbours (kStatisticBits), 0 where there are none.
  int32_t predict(size_t tap, size_t place, int32_t left, int32_t up) {
    tap_ = &taps_[tap];
    place_ = &places_[place];
    return row_.value + input_->value + tap_->value + place_->value + kernel_.value + left_ * left +
           up_ * up;
  }
  // Moves what the last prediction was made of.
  void learn(int32_t error) {
    move(row_, kRow, error);
    move(*input_, kInput, error);
    move(*tap_, kTap, error);
    move(*place_, kPlace, error);
    move(kernel_, kKernel, error);
  }

 private:
  void move(Cell& cell, EffectKind kind, int32_t error) {
    if (gain_[kind] == 0) return;
    const auto n = static_cast<size_t>(cell.visits + prior_[kind]);
    const auto rate = static_cast<int32_t>((gain_[kind] * kReciprocals[n]) >> 12);
    // rate < 2^16 (no gain exceeds the least prior) and |error| < 2^15: the product fits.
    const int32_t moved = cell.value + ((error * rate) >> 12);
    cell.value = std::clamp(moved, -kMost, kMost);
    cell.visits += cell.visits < kMostVisits;
  }

  static constexpr int32_t kMost = 1 << 20;  // 16 standard deviations
  static constexpr int32_t kMostVisits = 1023;

  // 2^20 / n.
  static constexpr auto kReciprocals = [] {
    std::array<uint32_t, 2048> table{};
    for (uint32_t n = 1; n < table.size(); ++n) table[n] = (1u << 20) / n;
    return table;
  }();

  std::array<uint32_t, kEffects> gain_;  // 8 fractional bits
  std::array<int32_t, kEffects> prior_;
  int32_t left_, up_;
  Cell row_, kernel_;
  Cell *input_, *tap_, *place_;
  std::vector<Cell> inputs_, taps_, places_;
};

}  // namespace tersor::coding
