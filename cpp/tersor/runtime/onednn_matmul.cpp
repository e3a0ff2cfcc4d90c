// Dense layers and matrix products by oneDNN's matmul: inner_product sums in another order for
// other numbers of threads.
#include "tersor/base/config.h"

#if TERSOR_HAVE_ONEDNN

#include <algorithm>

#include "tersor/runtime/onednn_float.h"

namespace tersor::runtime {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

constexpr int64_t kHalveMacs = 400'000;  // as for convolutions

class OnednnDenseStep final : public OnednnFloatStep {
 public:
  OnednnDenseStep(const dnnl::engine& engine, const StepSpec& spec, const ConvSpecFloat32& dense)
      : OnednnFloatStep(dense.epilogue, "matmul", spec) {
    const int64_t rows = dense.shape.output_width, depth = dense.shape.input_channels;
    const int64_t halves = rows >= 8 && dense.shape.macs() >= kHalveMacs ? 2 : 1;
    for (int64_t h = 0; h < halves; ++h) {
      const int64_t first = rows * h / halves, count = rows * (h + 1) / halves - first;
      add(engine, dense, first, count, depth, dense.shape.output_channels);
    }
  }

 private:
  void add(const dnnl::engine& engine, const ConvSpecFloat32& dense, int64_t first, int64_t rows,
           int64_t depth, int64_t columns) {
    const memory::desc src({rows, depth}, compute_type(), Tag::ab),
        dst({rows, columns}, Type::f32, Tag::ab);
    const memory::desc weights({depth, columns}, compute_type(), Tag::any);
    const memory::desc bias =
        dense.bias ? memory::desc({1, columns}, Type::f32, Tag::ab) : memory::desc();
    const dnnl::matmul::primitive_desc desc(engine, src, weights, bias, dst, attributes(dst));
    Piece piece;
    piece.input = first * depth;
    piece.input_size = rows * depth;
    piece.output = first * columns;
    add_piece(engine, desc, dnnl::matmul(desc),
              {{{depth, columns}, Type::f32, Tag::ba}, dense.weights, dense.bias},
              std::move(piece));
  }
};

// Both operands in memory, equal leading dimensions, float32 alone.
class OnednnMatmulStep final : public OnednnFloatStep {
 public:
  OnednnMatmulStep(const dnnl::engine& engine, const StepSpec& spec)
      : OnednnFloatStep(EpilogueFloat32{}, "matmul", spec) {
    const Shape& a = spec.inputs[0]->shape;
    const Shape& b = spec.inputs[1]->shape;
    const memory::dim rows = a[a.size() - 2], depth = a.back(), columns = b.back();
    const memory::dim batch = element_count(Shape(a.begin(), a.end() - 2));
    const memory::desc src({batch, rows, depth}, Type::f32, Tag::abc);
    const memory::desc right({batch, depth, columns}, Type::f32, Tag::abc);
    const memory::desc dst({batch, rows, columns}, Type::f32, Tag::abc);
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc desc(engine, src, right, memory::desc(), dst, attr);
    Piece piece;
    piece.input_size = batch * rows * depth;
    add_piece(engine, desc, dnnl::matmul(desc), {right, Tensor(), Tensor()}, std::move(piece));
  }
};

bool plain_matmul(const StepSpec& spec) {
  if (spec.op != Op::matmul || spec.post_add || spec.options.precision != Precision::float32)
    return false;
  for (const PlanEdge* edge :
       {spec.inputs.at(0), spec.inputs.at(1), static_cast<const PlanEdge*>(spec.outputs.at(0))}) {
    if (edge->dtype != DType::float32 || edge->qparams || edge->constant || edge->size() == 0)
      return false;
  }
  const Shape& a = spec.inputs[0]->shape;
  const Shape& b = spec.inputs[1]->shape;
  return a.size() >= 2 && a.size() == b.size() && std::equal(a.begin(), a.end() - 2, b.begin());
}

}  // namespace

std::unique_ptr<Step> make_onednn_matmul_step(const StepSpec& spec, const dnnl::engine& engine) {
  if (plain_matmul(spec)) return std::make_unique<OnednnMatmulStep>(engine, spec);
  const auto dense = read_conv_float32(spec);
  return dense ? std::make_unique<OnednnDenseStep>(engine, spec, *dense) : nullptr;
}

}  // namespace tersor::runtime

#endif
