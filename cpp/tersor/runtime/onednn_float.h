// Float steps of oneDNN: pieces of one operator, each a primitive, with the shared epilogue.
// Included only where TERSOR_HAVE_ONEDNN.
#pragma once

#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/onednn.h"

namespace tersor::runtime {

class OnednnFloatStep : public Step {
 public:
  void run(const StepBuffers& buffers) const override;
  size_t scratch_bytes(int threads) const override;
  std::string kernel() const override { return kernel_; }
  size_t packed_bytes() const override { return packed_bytes_; }

 protected:
  // Offsets in floats into input 0 and the output; for bf16, `rounding` makes bf16 of the input's
  // floats.
  struct Piece {
    int64_t input = 0, input_size = 0, output = 0;
    std::vector<OnednnCall> rounding, call;  // none or one of each
    int64_t right = 0;                       // matmul: offset into input 1
  };
  struct Given {
    dnnl::memory::desc desc;  // of the weights as they are
    const Tensor& weights;    // empty: input 1
    const Tensor& bias;       // may be empty
  };

  OnednnFloatStep(const EpilogueFloat32& epilogue, const char* op, const StepSpec& spec);

  // bf16 where it was asked for and the CPU multiplies it, else f32.
  dnnl::memory::data_type compute_type() const { return type_; }
  // Scratchpad of the user, and the epilogue as post-operations on `dst`.
  dnnl::primitive_attr attributes(const dnnl::memory::desc& dst) const;
  // Packs constants and keeps the primitive. Throws dnnl::error when oneDNN would use plain loops.
  template <class Desc>
  void add_piece(const dnnl::engine& engine, const Desc& desc, dnnl::primitive primitive,
                 const Given& given, Piece piece) {
    add(engine, desc,
        {desc.src_desc(), desc.weights_desc(), desc.bias_desc(), desc.dst_desc(),
         desc.scratchpad_desc()},
        std::move(primitive), given, std::move(piece));
  }

 private:
  struct Descs {
    dnnl::memory::desc src, weights, bias, dst, scratchpad;
  };
  void add(const dnnl::engine& engine, const dnnl::primitive_desc_base& desc, const Descs& descs,
           dnnl::primitive primitive, const Given& given, Piece piece);
  void run_piece(const StepBuffers& buffers, const Piece& piece, void* scratch) const;

  EpilogueFloat32 epilogue_;
  dnnl::memory::data_type type_;
  std::vector<Piece> pieces_;
  bool right_changes_ = false;
  size_t rounded_bytes_ = 0;  // of the largest piece's bf16 input
  size_t scratchpad_bytes_ = 0;
  size_t packed_bytes_ = 0;
  std::string kernel_;
};

}  // namespace tersor::runtime
