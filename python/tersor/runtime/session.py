"""An executable network. Native half: ``cpp/tersor/runtime/session.h``."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..base.schema import check_integer
from .profile import LayerProfile, Profile
from .tuning import FORMS, Tuning, machine

if TYPE_CHECKING:
    from ..data.preprocess import Preprocess

Array = NDArray[Any]


class Session:
    """A network that runs on this machine.

    Plans are made on first use for each batch size and kept. A batch is cut into micro-batches that
    the threads take in turn, so outputs do not depend on `threads`. Calls from several Python
    threads run at the same time; the interpreter lock is released meanwhile. A forked child (a
    data-loader worker) may use its parent's session and runs one thread. A session is not pickled:
    a process that is started anew gets the model and builds its own.

    Parameters
    ----------
    model : Graph or CompressedModel
        What to run. The session keeps its own copy: later changes to `model` do not reach it.
    threads : int, default 1
        Threads of one call, in [0, 1024]; 0 follows `tersor.set_threads`.
    arithmetic : {"fast", "exact"}, default "fast"
        How int8 layers rescale their sums. "exact" is integer arithmetic, equal to the generated C
        and to the microcontroller to the last bit; "fast" differs by one code on few values.
    precision : {"fp32", "bf16"}, default "fp32"
        Arithmetic of float layers. "bf16" computes in float32 where the processor has no bfloat16.
    provider : str, default ""
        "" for the fastest kernels; "native" or "onednn" for one family of them, with the reference
        for what it lacks; "dense" and "sparse" for the native ones that multiply the zeros of
        pruned weights, or leave them out wherever they can; "reference" for the plain ones that
        define the operators.
    micro_batch : int, default 0
        Rows of a micro-batch; 0 chooses 1 to 8 so that a layer's activations fit the L2 cache, up
        to 64 for a network without convolutions.
    check_finite : bool, default False
        Refuse inputs that hold NaN or infinity, at the cost of a pass over them.
    tuning : Tuning, mapping, str or Path, optional
        What `tune` measured on this machine, or the file that it was saved to.

    Attributes
    ----------
    tuning : Tuning or None
    preprocess : Preprocess or None
        What the model says of raw samples. Bytes (uint8) for a float input go through it, as in
        `tersor.compress`; floats are what the network takes.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> graph.set_outputs([graph.add_node("relu", [x])])
    >>> session = tersor.Session(graph)
    >>> session(np.array([[-1, 0, 1, 2]], dtype=np.float32))
    array([[0., 0., 1., 2.]], dtype=float32)
    """

    def __init__(
        self,
        model: Any,
        threads: int = 1,
        *,
        arithmetic: Literal["fast", "exact"] = "fast",
        precision: Literal["fp32", "bf16"] = "fp32",
        provider: str = "",
        micro_batch: int = 0,
        check_finite: bool = False,
        tuning: Tuning | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        graph = model if isinstance(model, _core.graph.Graph) else getattr(model, "graph", None)
        if not isinstance(graph, _core.graph.Graph):
            raise TypeError(
                "Session: model must be a tersor.Graph or a compressed model, got "
                f"{type(model).__name__}"
            )
        for name, value in (("threads", threads), ("micro_batch", micro_batch)):
            check_integer(value, what=f"Session: {name}")
        options = {"arithmetic": arithmetic, "precision": precision, "provider": provider}
        for name, text in options.items():
            if not isinstance(text, str):
                raise TypeError(f"Session: {name} must be a string, got {text!r}")
        if not isinstance(check_finite, (bool, np.bool_)):
            raise TypeError(f"Session: check_finite must be True or False, got {check_finite!r}")
        self.tuning = None if tuning is None else Tuning.load(tuning)
        self._arguments = (threads, arithmetic, precision, provider, micro_batch, check_finite)
        choices = {} if self.tuning is None else self.tuning.choices
        self._native = _core.runtime.Session(graph, *self._arguments, choices)
        self.threads = threads
        self.arithmetic = arithmetic
        self.precision = precision
        edges = graph.edges
        inputs = [edges[i] for i in graph.input_ids]
        self._dtypes = [_dtype(edge.dtype) for edge in inputs]
        self._codes = [edge.dtype == "int8" and edge.qparams is not None for edge in inputs]
        self._only_dtype = self._dtypes[0] if len(self._dtypes) == 1 else None
        self._edge_dtypes = {edge.name: _dtype(edge.dtype) for edge in edges}
        stored = getattr(graph, "preprocess", None)
        self.preprocess = _preprocess(stored) if stored and len(inputs) == 1 else None
        self.input_names: tuple[str, ...] = tuple(edge.name for edge in inputs)
        self.output_names: tuple[str, ...] = tuple(edges[i].name for i in graph.output_ids)

    def __call__(
        self,
        *inputs: ArrayLike | Mapping[str, ArrayLike],
        out: Array | Sequence[Array] | None = None,
    ) -> Any:
        """Run the network on a batch.

        Parameters
        ----------
        *inputs : array-like, or one mapping from input names to array-likes
            In the order of `input_names`, batch first. An array of the declared dtype is read in
            place, whatever its strides. Other floats (float64, float16, bfloat16) and integers are
            converted to a float32 input; integers to an integer input only if every value fits.
            Bytes (uint8) are raw samples and go through `preprocess` first, if the model has one;
            for an input of int8 codes they are the same codes, 128 higher.
        out : ndarray or sequence of ndarray, optional
            C-contiguous arrays to write, in the order of `output_names`.

        Returns
        -------
        ndarray or tuple of ndarray
            One array, or a tuple if the network has several outputs.

        Raises
        ------
        ValueError
            If a shape does not fit or an integer is out of range.
        TypeError
            If an input cannot be converted to the declared dtype.
        """
        outs = None
        if out is not None:
            if not isinstance(out, (np.ndarray, Sequence)):
                raise TypeError(f"session: out must be an array or a sequence of them, got {out!r}")
            outs = [out] if isinstance(out, np.ndarray) else list(out)
            for array in outs:
                if isinstance(array, np.ndarray) and not array.flags.aligned:
                    raise ValueError("session: out must be aligned, got an array at an odd address")
        first = inputs[0] if len(inputs) == 1 else None
        if self._only_dtype is not None and _is_ready(first, self._only_dtype):
            results = self._native.run(inputs, outs)  # type: ignore[arg-type]  # nothing to convert
        else:
            results = self._native.run(self._arrays(inputs), outs)
        return results[0] if len(results) == 1 else results

    def _arrays(self, inputs: Sequence[Any]) -> list[Array]:
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            given = inputs[0]
            if set(given) != set(self.input_names):
                raise ValueError(
                    f"session: inputs must be named {', '.join(self.input_names)}, got "
                    f"{', '.join(map(str, given)) or 'none'}"
                )
            inputs = [given[name] for name in self.input_names]
        if len(inputs) != len(self._dtypes):
            raise ValueError(
                f"session: inputs must be {len(self._dtypes)} ({', '.join(self.input_names)}), "
                f"got {len(inputs)}"
            )
        if self.preprocess is not None and self._dtypes[0].kind == "f" and _is_raw(inputs[0]):
            inputs = [self.preprocess(_as_array(inputs[0]))]
        inputs = [
            _signed(x) if coded and _is_raw(x) else x
            for x, coded in zip(inputs, self._codes, strict=True)
        ]
        return [
            x if _is_ready(x, dtype) else _converted(name, x, dtype)
            for name, x, dtype in zip(self.input_names, inputs, self._dtypes, strict=True)
        ]

    def run_edges(
        self, inputs: Mapping[str, ArrayLike], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run a part of the network: feed any edges, get any edges.

        Parameters
        ----------
        inputs : mapping of str to array-like
            Values of edges by name, in logical order (channels first), batch first.
        outputs : sequence of str
            Names of the edges wanted.

        Returns
        -------
        dict of str to ndarray
            Values in logical order; codes where an edge is quantized.

        Raises
        ------
        ValueError
            If a name is no edge, or an output needs an edge that is neither fed nor computable.
        """
        if not isinstance(inputs, Mapping):
            got = type(inputs).__name__
            raise TypeError(f"session: inputs must be a mapping of edge to array, got {got}")
        arrays = [_converted(name, x, self._edge_dtypes.get(name)) for name, x in inputs.items()]
        values = self._native.run_edges(list(inputs), arrays, list(outputs))
        return dict(zip(outputs, values, strict=True))

    def run_tapped(
        self,
        *inputs: ArrayLike | Mapping[str, ArrayLike],
        edges: Sequence[str],
        tap: Callable[[str, Array], None],
    ) -> None:
        """Show values inside the network to a function, in batch order.

        Parameters
        ----------
        *inputs : array-like, or one mapping from input names to array-likes
            As in a call. Must be finite.
        edges : sequence of str
            Names of the edges to observe.
        tap : callable
            Called as ``tap(name, value)`` once per edge and micro-batch; `value` is a new array in
            logical order, of codes where the edge is quantized.

        Raises
        ------
        ValueError
            If an input holds NaN or infinity, or a name is no edge.
        """
        self._native.run_tapped(self._arrays(inputs), list(edges), tap)

    def taps(
        self, *inputs: ArrayLike | Mapping[str, ArrayLike], edges: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Return values inside the network for a whole batch.

        Parameters
        ----------
        *inputs : array-like, or one mapping from input names to array-likes
            As in a call. Must be finite.
        edges : sequence of str, optional
            Names of the edges; every activation by default.

        Returns
        -------
        dict of str to ndarray
            In logical order; codes where an edge is quantized.
        """
        if edges is None:
            edges = [edge.name for edge in self._native.graph.edges if not edge.is_constant]
        seen: dict[str, list[Array]] = {name: [] for name in edges}
        self.run_tapped(*inputs, edges=edges, tap=lambda name, value: seen[name].append(value))
        return {name: np.concatenate(values) for name, values in seen.items()}

    def profile(self, *inputs: ArrayLike | Mapping[str, ArrayLike], repeats: int = 20) -> Profile:
        """Measure every step.

        Parameters
        ----------
        *inputs : array-like, or one mapping from input names to array-likes
            As in a call.
        repeats : int, default 20
            Counted runs, >= 1, after one that warms up.

        Returns
        -------
        Profile
            Per step: kernel, median time, multiply-accumulates, bytes. Prints as a table.
        """
        check_integer(repeats, what="session: repeats")
        arrays = self._arrays(inputs)
        layers = [
            LayerProfile(p.node, p.op, p.kernel, p.time_us, p.macs, p.bytes, p.output_shape)
            for p in self._native.profile(arrays, repeats)
        ]
        batch = int(arrays[0].shape[0]) if arrays and arrays[0].ndim else 1
        return Profile(layers, batch=batch, threads=self.threads)

    def tune(self, *inputs: ArrayLike | Mapping[str, ArrayLike], repeats: int = 30) -> Tuning:
        """Measure the forms of every convolution and dense layer here, and keep the fastest.

        Without it the session goes by a table of rates that were measured on one machine. What
        leads by less than 3 % is not taken. int8 results stay the same; those of float layers may
        differ in the last bits. Nothing else should run on the machine meanwhile.

        Parameters
        ----------
        *inputs : array-like, or one mapping from input names to array-likes
            As in a call; of the batch size that counts.
        repeats : int, default 30
            Counted runs of every form, >= 1.

        Returns
        -------
        Tuning
            In use from now on. `Tuning.save` keeps it for ``Session(model, tuning=path)``.

        Examples
        --------
        >>> session.tune(x).save("model.tuning.json")                          # doctest: +SKIP
        """
        check_integer(repeats, least=1, what="session: repeats")
        arrays = self._arrays(inputs)
        graph = self._native.graph
        threads, arithmetic, precision, _, micro_batch, check_finite = self._arguments
        forms = {
            form: _core.runtime.Session(
                graph, threads, arithmetic, precision, form, micro_batch, check_finite, {}
            )
            for form in FORMS
            if form != "onednn" or _core.base.onednn_version()
        }
        usual = _core.runtime.Session(graph, *self._arguments, {})
        times: dict[str, dict[str, list[float]]] = {}
        kernels: dict[str, dict[str, str]] = {}
        layers = {n.name for n in graph.nodes if n.op in ("conv", "dense", "conv_transpose")}
        rounds = -(-repeats // 10)
        for _ in range(rounds):  # in turn, so that a change of clock meets all of them
            for form, session in {"": usual, **forms}.items():
                for p in session.profile(arrays, min(10, repeats)):
                    name = p.node.partition(" + ")[0]  # of a fused group the first
                    if name in layers:
                        times.setdefault(name, {}).setdefault(form, []).append(p.time_us)
                        kernels.setdefault(name, {})[form] = p.kernel
        best: dict[str, dict[str, float]] = {}
        choices = {}
        for name, found in times.items():
            own = {
                form: statistics.median(taken)
                for form, taken in found.items()
                if form and _is_own(form, kernels[name][form])
            }
            if len(own) < 2:
                continue
            best[name] = own
            fastest = min(own, key=own.__getitem__)
            now = statistics.median(found[""])
            if kernels[name][fastest] != kernels[name].get("") and own[fastest] < 0.97 * now:
                choices[name] = fastest
        batch = int(arrays[0].shape[0]) if arrays and arrays[0].ndim else 1
        self.tuning = Tuning(machine(), threads, batch, choices, best)
        self._native = _core.runtime.Session(graph, *self._arguments, choices)
        return self.tuning

    def update_weights(self, name: str, value: ArrayLike) -> None:
        """Replace one weight without planning the network anew.

        Parameters
        ----------
        name : str
            Name of the weight's edge, or its name in the framework it came from.
        value : array-like
            Of the weight's dtype and shape.

        Raises
        ------
        ValueError
            If there is no such weight or the shape differs.
        """
        if not isinstance(name, str):
            raise TypeError(f"session: name must be text, got {name!r}")
        dtype = self._edge_dtypes.get(name)
        if dtype is None:
            dtype = _dtype(self._native.graph.edge(name).dtype)
        self._native.update_weights(name, _converted(name, value, dtype))

    @property
    def graph(self) -> Any:
        """A copy of the graph that runs, with the present weights."""
        return self._native.graph

    @property
    def micro_batch(self) -> int:
        """Rows of a micro-batch."""
        return int(self._native.micro_batch)

    @property
    def peak_memory_bytes(self) -> int:
        """Most bytes held so far by packed weights, activations and scratch memory."""
        return int(self._native.peak_memory_bytes)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Session: a session cannot be copied or pickled (its plans belong to this process): "
            "send the model, and build a new Session from it"
        )

    def __repr__(self) -> str:
        return (
            f"Session({', '.join(self.input_names)} -> {', '.join(self.output_names)}, "
            f"threads={self.threads}, arithmetic={self.arithmetic!r}, precision={self.precision!r})"
        )


def simulate(model: Any, *inputs: ArrayLike | Mapping[str, ArrayLike]) -> Any:
    """Run a network once in exact integer arithmetic, as a microcontroller would.

    Parameters
    ----------
    model : Graph or CompressedModel
        What to run.
    *inputs : array-like, or one mapping from input names to array-likes
        As in a call of `Session`.

    Returns
    -------
    ndarray or tuple of ndarray
        Equal to the generated C code to the last bit, for quantized networks.
    """
    return Session(model, arithmetic="exact")(*inputs)


def _is_own(form: str, kernel: str) -> bool:
    """Whether a kernel is of that form, and no stand-in for one that is missing."""
    if form == "sparse":
        return " sparse" in kernel
    return kernel.startswith("onednn" if form == "onednn" else "native")


def _preprocess(stored: Mapping[str, Any]) -> Preprocess:
    from ..data.preprocess import Preprocess

    return Preprocess(**stored)


def _is_raw(x: Any) -> bool:
    return str(getattr(x, "dtype", "")) in ("uint8", "torch.uint8")


def _signed(x: Any) -> Array:
    """The int8 codes of uint8 ones, 128 lower."""
    codes: Array = np.bitwise_xor(_as_array(x), np.uint8(128)).view(np.int8)
    return codes


def _is_ready(x: Any, dtype: np.dtype[Any]) -> bool:
    return type(x) is np.ndarray and x.dtype is dtype and x.flags.aligned


def _as_array(x: Any) -> Array:
    if hasattr(x, "detach"):  # a torch tensor
        x = x.detach().cpu().numpy()
    array = np.asarray(x)
    return array if array.flags.aligned else array.copy()


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return cast("np.dtype[Any]", np.dtype(getattr(ml_dtypes, name)))


def _converted(name: str, x: Any, dtype: np.dtype[Any] | None) -> Array:
    """Return `x` as an array of `dtype`, if no value is changed beyond float32 rounding."""
    if dtype is None:
        raise ValueError(f"session: edge must be one of the graph, got '{name}'")
    try:
        array = _as_array(x)
    except ValueError:
        raise ValueError(
            f"session: input '{name}' must be an array of numbers, got lists of different lengths"
        ) from None
    if array.dtype == dtype:
        return array.astype(dtype, copy=False)
    if (dtype.kind == "f" and array.dtype.kind in "fiub") or (
        dtype.kind == "f" and _is_bfloat16(array)
    ):
        return array.astype(dtype)
    if dtype.kind in "iu" and array.dtype.kind in "iub":
        limits = np.iinfo(dtype)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(
                f"session: input '{name}' must hold {dtype.name} values in [{limits.min}, "
                f"{limits.max}], got {array.min()} to {array.max()}"
            )
        return array.astype(dtype)
    if array.dtype.kind in "OSU" and not isinstance(x, np.ndarray):
        got = type(x).__name__ if array.ndim == 0 else f"a {type(x).__name__} of other things"
        raise TypeError(f"session: input '{name}' must be an array of numbers, got {got}")
    raise TypeError(f"session: input '{name}' must be {dtype.name}, got {array.dtype.name}")


def _is_bfloat16(array: Array) -> bool:
    return str(array.dtype) == "bfloat16"


__all__ = ["Session", "simulate"]
