"""PyTorch modules, through torch.export and the ONNX importer."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..base.error import UnsupportedError
from ..graph.graph import Graph
from .onnx import NEWEST_OPSET, from_onnx

if TYPE_CHECKING:
    import torch


def from_torch(
    module: torch.nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    *,
    dynamic_batch: bool = True,
    canonicalize: bool = True,
) -> Graph:
    """Convert a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module
        It is captured in eval mode; its mode is restored. It is not changed.
    example : torch.Tensor or sequence of torch.Tensor
        Positional arguments of a call, batch first. Values do not matter, shapes and dtypes do.
    dynamic_batch : bool
        Leave the leading dimension of every input open; else the graph has the example's batch.
    canonicalize : bool
        Fold batch norm, fuse activations and so on.

    Returns
    -------
    Graph
        Weights have the module's parameter names as ``origin``; inputs are named like the
        arguments of ``forward``, outputs like the keys where it returns a dict.

    Raises
    ------
    UnsupportedError
        torch.export cannot capture the module, an operator is not supported, or the module mixes
        the samples of a batch.
    TypeError
        `module` is no module, or `example` no tensors.
    ImportError
        torch, onnx or onnxscript is missing.

    Examples
    --------
    >>> import tersor, torch                                              # doctest: +SKIP
    >>> graph = tersor.from_torch(torch.nn.Linear(4, 2), torch.ones(1, 4))  # doctest: +SKIP
    """
    torch = _require()
    if not isinstance(module, torch.nn.Module):
        got = type(module).__name__
        raise TypeError(f"from_torch: module must be a torch.nn.Module, got {got}")
    trained = getattr(getattr(module, "_orig_mod", module), "meta", None)
    trained = trained.get("tersor_qat") if isinstance(trained, dict) else None
    if trained is not None:
        if not canonicalize:
            raise ValueError("from_torch: canonicalize must be True for a prepared module")
        graph: Graph = trained.to_graph(module, dynamic_batch=dynamic_batch)
        return graph
    if any(getattr(part, "rounds_activations", False) for part in module.modules()):
        raise UnsupportedError(
            f"from_torch: {type(module).__name__} must have float activations, got a quantized "
            f"network that rounds them: convert the compressed network itself, or set "
            f"rounds_activations = False"
        )
    if not isinstance(example, (torch.Tensor, Sequence)):
        got = type(example).__name__
        raise TypeError(f"from_torch: example must be a tensor or a sequence of tensors, got {got}")
    examples = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    if not examples or not all(isinstance(e, torch.Tensor) for e in examples):
        raise TypeError(
            "from_torch: example must be a tensor or a sequence of tensors, got "
            f"{[type(e).__name__ for e in examples]}"
        )
    if dynamic_batch:
        flat = [i for i, e in enumerate(examples) if e.dim() == 0]
        if flat:
            raise ValueError(
                f"from_torch: example {flat[0]} must have a leading batch dimension, got a scalar"
            )
        # A batch of one would be specialised by torch.export.
        examples = tuple(torch.cat([e, e]) if e.shape[0] == 1 else e for e in examples)
    program = _export(torch, module, examples, dynamic_batch)
    opset = program.model.opset_imports.get("", 0)
    if not 18 <= int(opset) <= NEWEST_OPSET:  # the exporter silently keeps its own choice
        raise UnsupportedError(
            f"from_torch: this torch exports opset {opset}; 18 to {NEWEST_OPSET} are supported"
        )
    fixed = [value.name for value in program.model.graph.inputs if _is_fixed(value)]
    if dynamic_batch and fixed:  # the exporter drops the request where a module contradicts it
        raise UnsupportedError(
            f"from_torch: {type(module).__name__} does not leave the batch of input {fixed[0]!r} "
            f"open: it mixes the samples of a batch, or turns its size into a fixed number; "
            f"dynamic_batch=False imports it for the example's batch alone"
        )
    return from_onnx(
        program.model,
        canonicalize=canonicalize,
        description=type(module).__name__,
        output_names=_output_names(program),
    )


def _require() -> Any:
    try:
        import onnx_ir  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "from_torch needs onnx, onnx-ir and onnxscript: pip install tersor[torch]"
        ) from error
    try:
        import torch
    except ImportError as error:
        raise ImportError("from_torch needs PyTorch: pip install tersor[torch]") from error
    return torch


def _export(
    torch: Any, module: torch.nn.Module, examples: tuple[torch.Tensor, ...], dynamic_batch: bool
) -> Any:
    names = _argument_names(module, len(examples))
    shapes = open_batch(module, len(examples)) if dynamic_batch else None
    with _eval_mode(torch, module), _quiet():
        try:
            return torch.onnx.export(
                module,
                examples,
                dynamo=True,
                dynamic_shapes=shapes,
                optimize=False,
                verbose=False,
                input_names=names,
            )
        except Exception as error:
            raise UnsupportedError(
                f"from_torch: torch.export cannot capture {type(module).__name__}: "
                f"{_root_cause(error)}"
            ) from error


def open_batch(module: torch.nn.Module, count: int) -> tuple[Any, ...]:
    """Return what torch.export is told where the batch of every input stays open.

    Parameters
    ----------
    module : torch.nn.Module
    count : int
        Number of positional arguments.

    Returns
    -------
    tuple
        A dictionary for each argument; those that ``*arguments`` takes in a tuple of their own.
    """
    import torch

    batch = torch.export.Dim("batch")
    shapes: list[Any] = [{0: batch} for _ in range(count)]
    for i, parameter in enumerate(_parameters(module)[:count]):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return (*shapes[:i], tuple(shapes[i:]))
    return tuple(shapes)


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _is_fixed(value: Any) -> bool:
    return value.shape is not None and len(value.shape) > 0 and isinstance(value.shape[0], int)


def _argument_names(module: torch.nn.Module, count: int) -> list[str] | None:
    known = getattr(module, "input_names", None)  # of a network that compress() or a graph gave
    if isinstance(known, list) and len(known) == count:
        return [str(name) for name in known]
    parameters = _parameters(module)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters[:count]) or len(parameters) < count:
        return None
    return [p.name for p in parameters[:count]]


def _output_names(program: Any) -> list[str] | None:
    """Return the keys that lead to the outputs, joined by dots; "" where there are none."""
    from torch.export.graph_signature import ConstantArgument, OutputKind
    from torch.utils import _pytree

    captured = program.exported_program
    kinds = captured.graph_signature.output_specs
    results = [spec.arg for spec in kinds if spec.kind is OutputKind.USER_OUTPUT]
    tree = captured.call_spec.out_spec
    if tree is None or tree.num_leaves != len(results):
        return None
    paths, _ = _pytree.tree_flatten_with_path(_pytree.tree_unflatten(results, tree))
    names = [
        _dotted(path) for path, argument in paths if not isinstance(argument, ConstantArgument)
    ]
    return names if len(names) == len(program.model.graph.outputs) else None


def _dotted(path: Sequence[Any]) -> str:
    keys = [getattr(k, "key", getattr(k, "name", getattr(k, "idx", None))) for k in path]
    return ".".join(map(str, keys)) if any(isinstance(key, str) for key in keys) else ""


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _eval_mode(torch: Any, module: torch.nn.Module) -> Iterator[None]:
    """Eval mode of every submodule, and attention written out rather than fused."""
    modes = [(m, m.training) for m in module.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for m, training in modes:
            m.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without notes that do not concern the caller, and without dumps of half-captured graphs."""
    loggers = [logging.getLogger(f"torch.{part}") for part in ("onnx", "export", "fx", "_dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


__all__ = ["from_torch", "open_batch"]
