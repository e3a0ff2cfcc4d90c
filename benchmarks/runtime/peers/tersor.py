"""tersor itself: fp32, bf16 and int8 sessions."""

import tersor

PRECISIONS = ("fp32", "bf16", "int8")


def load(folder, precision, x, threads):
    """See the package."""
    model = tersor.load(folder / ("int8.tersor" if precision == "int8" else "fp32.tersor"))
    session = tersor.Session(
        model, threads=threads, precision="bf16" if precision == "bf16" else "fp32"
    )
    return lambda: session(x), session
