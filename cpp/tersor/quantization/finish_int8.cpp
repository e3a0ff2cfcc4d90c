#include "tersor/quantization/finish_int8.h"

#include <cstring>

#include "tersor/base/error.h"
#include "tersor/quantization/conv_int8_state.h"

namespace tersor::quantization {

FinishedInt8::FinishedInt8(ConvInt8Epilogue epilogue) : epilogue_(std::move(epilogue)) {
  const auto channels = static_cast<int64_t>(epilogue_.requantizers.size());
  TERSOR_CHECK(channels > 0, "finish_int8: requantizers must be one per channel, got none");
  // A panel may begin at any channel.
  const auto bytes = static_cast<size_t>(round_up(channels, 16) + 16) * sizeof(float);
  multiplier_ = Buffer(bytes);
  rounding_offset_ = Buffer(bytes);
  std::memset(multiplier_.data(), 0, bytes);
  std::memset(rounding_offset_.data(), 0, bytes);
  for (size_t c = 0; c < epilogue_.requantizers.size(); ++c) {
    multiplier_.as<float>()[c] = epilogue_.requantizers[c].multiplier;
    rounding_offset_.as<float>()[c] = epilogue_.requantizers[c].rounding_offset;
  }
}

void FinishedInt8::run(const int32_t* sums, int64_t sums_stride, int64_t first_channel,
                       int64_t channels, int64_t pixels, const int8_t* residual, int8_t* y,
                       int64_t stride) const {
  if (!epilogue_.exact) {
    const Int8Epilogue e =
        make_epilogue(epilogue_, nullptr, multiplier_.as<float>() + first_channel,
                      rounding_offset_.as<float>() + first_channel);
    const int8_t* other = epilogue_.adder ? residual : nullptr;
    finish_int8_table.pick()({sums, pixels, channels, sums_stride, e, {y, other, nullptr, stride}});
    return;
  }
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) {
      const auto& requantizer = epilogue_.requantizers[static_cast<size_t>(first_channel + c)];
      int32_t code = requantizer.exact(sums[p * sums_stride + c]);
      if (epilogue_.adder) code = epilogue_.adder->exact(code, residual[p * stride + c]);
      y[p * stride + c] = static_cast<int8_t>(code);
    }
  }
}

}  // namespace tersor::quantization
