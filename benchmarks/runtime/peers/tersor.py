"""tersor itself: fp32, bf16 and int8 sessions."""

import tersor

PRECISIONS = ("fp32", "bf16", "int8")


def model_file(folder, precision):
    """See the package."""
    return folder / ("int8.tersor" if precision == "int8" else "fp32.tersor")


def load(folder, precision, x, threads):
    """See the package."""
    model = tersor.load(model_file(folder, precision))
    session = tersor.Session(
        model, threads=threads, precision="bf16" if precision == "bf16" else "fp32"
    )
    return lambda: session(x), session
