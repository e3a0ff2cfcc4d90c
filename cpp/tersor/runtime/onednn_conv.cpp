// Convolution and transposed convolution by oneDNN, channels last.
#include "tersor/base/config.h"

#if TERSOR_HAVE_ONEDNN

#include <algorithm>
#include <limits>

#include "tersor/base/isa.h"
#include "tersor/base/threads.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/onednn.h"
#include "tersor/runtime/onednn_float.h"

namespace tersor::runtime {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

// One image above this many multiply-adds is computed as two halves, whatever the number of
// threads: the same primitives then give the same sums.
constexpr int64_t kHalveMacs = 400'000;

// Output rows [first, end) and the input rows that they read.
struct Slice {
  int64_t first, end;
  int64_t input_first, input_end;
  int64_t pad_top, pad_bottom;
};

Slice slice_of(const ConvShapeFloat32& s, int64_t first, int64_t end) {
  const int64_t from = first * s.stride_y - s.pad_top;
  const int64_t to = (end - 1) * s.stride_y - s.pad_top + s.dilation_y * (s.kernel_height - 1) + 1;
  const int64_t input_first = std::clamp<int64_t>(from, 0, s.input_height);
  const int64_t input_end = std::clamp<int64_t>(to, input_first, s.input_height);
  return {first, end, input_first, input_end, input_first - from, to - input_end};
}

std::vector<Slice> slices_of(const ConvShapeFloat32& s) {
  const int64_t rows = s.output_height;
  if (s.transposed) return {{0, rows, 0, s.input_height, s.pad_top, 0}};
  if (s.batch == 1 && rows >= 4 && s.macs() >= kHalveMacs) {
    return {slice_of(s, 0, rows / 2), slice_of(s, rows / 2, rows)};
  }
  Slice all = slice_of(s, 0, rows);
  all.pad_bottom = std::max<int64_t>(0, all.pad_bottom);
  all.input_end = s.input_height;  // rows that no output reads stay between the images of a batch
  return {all};
}

// The padding at the end that makes `outputs`; more input than is read needs none.
int64_t pad_end(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride, int64_t dilation,
                int64_t pad) {
  return std::max<int64_t>(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - inputs - pad);
}

memory::desc weights_desc(const ConvShapeFloat32& s, Type type, Tag tag) {
  const int64_t o = s.group_outputs(), i = s.group_inputs();
  if (s.groups == 1) return {{o, i, s.kernel_height, s.kernel_width}, type, tag};
  return {{s.groups, o, i, s.kernel_height, s.kernel_width}, type, tag};
}

Tag given_tag(const ConvShapeFloat32& s) {
  if (s.groups == 1) return s.transposed ? Tag::iohw : Tag::oihw;
  return s.transposed ? Tag::giohw : Tag::goihw;
}

class OnednnConvStep final : public OnednnFloatStep {
 public:
  OnednnConvStep(const dnnl::engine& engine, const StepSpec& spec, const ConvSpecFloat32& conv)
      : OnednnFloatStep(conv.epilogue, "conv", spec), conv_(conv) {
    for (const Slice& slice : slices_of(conv.shape)) {
      if (slice.input_end <= slice.input_first)
        throw dnnl::error(dnnl_unimplemented, "padding alone");
      add(engine, slice);
    }
    conv_.weights = conv_.bias = Tensor();
  }

 private:
  void add(const dnnl::engine& engine, const Slice& slice) {
    const ConvShapeFloat32& s = conv_.shape;
    const int64_t in_rows = slice.input_end - slice.input_first, out_rows = slice.end - slice.first;
    const memory::dims in{s.batch, s.input_channels, in_rows, s.input_width};
    const memory::dims out{s.batch, s.output_channels, out_rows, s.output_width};
    const memory::dims strides{s.stride_y, s.stride_x},
        dilations{s.dilation_y - 1, s.dilation_x - 1};
    const memory::dims before{slice.pad_top, s.pad_left};
    const memory::desc src(in, compute_type(), Tag::nhwc), dst(out, Type::f32, Tag::nhwc);
    const memory::desc weights = weights_desc(s, compute_type(), Tag::any);
    const memory::desc bias =
        conv_.bias ? memory::desc({s.output_channels}, Type::f32, Tag::a) : memory::desc();
    const dnnl::primitive_attr attr = attributes(dst);
    const int64_t in_row = s.input_width * s.input_channels,
                  out_row = s.output_width * s.output_channels;
    Piece piece{
        slice.input_first * in_row, s.batch * in_rows * in_row, slice.first * out_row, {}, {}};
    const Given given{weights_desc(s, Type::f32, given_tag(s)), conv_.weights, conv_.bias};
    if (s.transposed) {
      const memory::dims after{transposed_end(s.output_height, s.input_height, s.kernel_height,
                                              s.stride_y, s.dilation_y, s.pad_top),
                               transposed_end(s.output_width, s.input_width, s.kernel_width,
                                              s.stride_x, s.dilation_x, s.pad_left)};
      const dnnl::deconvolution_forward::primitive_desc desc(
          engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::deconvolution_direct, src,
          weights, bias, dst, strides, dilations, before, after, attr);
      return add_piece(engine, desc, dnnl::deconvolution_forward(desc), given, std::move(piece));
    }
    const memory::dims after{slice.pad_bottom,
                             pad_end(s.output_width, s.input_width, s.kernel_width, s.stride_x,
                                     s.dilation_x, s.pad_left)};
    const dnnl::convolution_forward::primitive_desc desc(
        engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src,
        weights, bias, dst, strides, dilations, before, after, attr);
    add_piece(engine, desc, dnnl::convolution_forward(desc), given, std::move(piece));
  }

  static int64_t transposed_end(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride,
                                int64_t dilation, int64_t pad) {
    return (inputs - 1) * stride + dilation * (kernel - 1) + 1 - pad - outputs;
  }

  ConvSpecFloat32 conv_;
};

}  // namespace

std::unique_ptr<Step> make_onednn_conv_step(const StepSpec& spec, const dnnl::engine& engine) {
  const auto conv = read_conv_float32(spec);
  return conv ? std::make_unique<OnednnConvStep>(engine, spec, *conv) : nullptr;
}

}  // namespace tersor::runtime

#endif
