// int8 convolution, depthwise convolution and dense layers on quantization/conv_int8.h.
#include "tersor/quantization/conv_int8.h"
#include "tersor/runtime/conv_spec_int8.h"
#include "tersor/runtime/native.h"

namespace tersor::runtime {
namespace {

using quantization::ConvInt8;
using quantization::ConvInt8Epilogue;
using quantization::ConvInt8Shape;

// Below about 5 us of one core's work, waking a second one does not pay.
constexpr int64_t kSplitMacs = 400'000;

class ConvInt8Step final : public Step {
 public:
  ConvInt8Step(const ConvInt8Shape& shape, const int8_t* weights, const int32_t* bias,
               int32_t zero_point, ConvInt8Epilogue epilogue, int residual)
      : residual_(residual),
        splits_(shape.batch * shape.out_height() * shape.out_width() * shape.out_channels *
                    shape.group_channels() * shape.kernel_h * shape.kernel_w >=
                kSplitMacs),
        exact_(epilogue.exact),
        conv_(shape, weights, bias, zero_point, std::move(epilogue)) {}

  void run(const StepBuffers& buffers) const override {
    const auto* residual =
        residual_ < 0 ? nullptr : static_cast<const int8_t*>(buffers.inputs[residual_]);
    conv_.run(static_cast<const int8_t*>(buffers.inputs[0]), residual,
              static_cast<int8_t*>(buffers.outputs[0]), buffers.scratch,
              splits_ ? buffers.threads : 1);
  }
  size_t scratch_bytes(int threads) const override {
    return conv_.scratch_bytes(splits_ ? threads : 1);
  }
  std::string kernel() const override {
    return std::string("native ") + conv_.kernel() + (exact_ ? " exact" : "");
  }
  size_t packed_bytes() const override { return conv_.packed_bytes(); }

 private:
  int residual_;  // index of the input, -1: none
  bool splits_, exact_;
  ConvInt8 conv_;
};

}  // namespace

std::unique_ptr<Step> make_native_conv_int8_step(const StepSpec& spec) {
  auto conv = read_conv_int8(spec);
  if (!conv) return nullptr;
  return std::make_unique<ConvInt8Step>(conv->shape, conv->weights, conv->bias, conv->zero_point,
                                        std::move(conv->epilogue), conv->residual);
}

}  // namespace tersor::runtime
