"""PyTorch 2 export quantization (torchao), with the quantizer for x86."""

import time

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)


def quantize(folder, x, target, threads):
    """See the package."""
    torch.set_num_threads(threads)
    module = torch.load(folder / "module.pt", weights_only=False).eval()
    images = torch.from_numpy(x)
    start = time.perf_counter()
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},)
    exported = torch.export.export(module, (images[:2],), dynamic_shapes=shapes).module()
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    for first in range(0, len(images), 32):
        prepared(images[first : first + 32])
    converted = convert_pt2e(prepared)
    seconds = time.perf_counter() - start
    saved = torch.export.export(converted, (images[:2],), dynamic_shapes=shapes)
    torch.export.save(saved, target / "pt2e.pt2")

    def predict(batch):
        with torch.no_grad():
            return converted(torch.from_numpy(batch)).numpy()

    return seconds, (target / "pt2e.pt2").stat().st_size, predict
