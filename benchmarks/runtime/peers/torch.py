"""PyTorch on the CPU, eager and compiled, fp32."""

import torch

PRECISIONS = ("eager", "compile")


def model_file(folder, precision):
    """See the package."""
    return folder / "module.pt"


def load(folder, precision, x, threads):
    """See the package."""
    torch.set_num_threads(threads)
    module = torch.load(model_file(folder, precision), weights_only=False).eval()
    run = torch.compile(module) if precision == "compile" else module
    batch = torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return run(batch)

    def predict(images):
        with torch.inference_mode():
            return module(torch.from_numpy(images)).numpy()

    return call, predict
