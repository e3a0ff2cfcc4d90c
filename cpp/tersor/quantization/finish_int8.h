// Codes from the int32 sums of an int8 layer: requantize.h, and the residual sum behind it.
#pragma once

#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/base/memory.h"
#include "tersor/quantization/conv_int8.h"

namespace tersor::quantization {

class TERSOR_API FinishedInt8 {
 public:
  explicit FinishedInt8(ConvInt8Epilogue epilogue);

  // Channels from first_channel on, of `pixels` pixels. sums [pixels][sums_stride] include the
  // bias, and can be read to the next multiple of 16 channels; y and residual point at the first
  // channel, `stride` channels from pixel to pixel. residual exactly when there is an adder.
  void run(const int32_t* sums, int64_t sums_stride, int64_t first_channel, int64_t channels,
           int64_t pixels, const int8_t* residual, int8_t* y, int64_t stride) const;

  bool exact() const { return epilogue_.exact; }

 private:
  ConvInt8Epilogue epilogue_;
  Buffer multiplier_, rounding_offset_;
};

}  // namespace tersor::quantization
