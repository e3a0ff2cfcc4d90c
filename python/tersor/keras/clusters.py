"""Training a Keras model through codebooks, with an unchanged ``model.fit``, on any backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from ..codebook import Codebook, kmeans
from ..pruning import select_layers
from ..pruning.network_masks import is_pruned
from .pruning import _layers
from .quantizers import as_array


class _Clustered:
    """Mixed into the class of a layer: the kernel is what the table holds at the indices."""

    cluster_centroids: Any
    cluster_indices: Any
    cluster_kept: Any

    @property
    def kernel(self) -> Any:
        """``centroids[indices]``, computed wherever the layer asks for it."""
        table = ops.cast(self.cluster_centroids, self.compute_dtype)  # type: ignore[attr-defined]
        table = table * ops.cast(self.cluster_kept, table.dtype)
        return ops.take(table, ops.cast(self.cluster_indices, "int32"), axis=0)


class WeightClusters:
    """What :func:`cluster_weights` returns: the tables of a model while they are trained.

    Attributes
    ----------
    layers : list of str
        Names of the clustered layers.

    Examples
    --------
    See :func:`cluster_weights`.
    """

    def __init__(self, model: Any, found: dict[str, tuple[Any, type, bool]]) -> None:
        self._model, self._found = model, found

    @property
    def layers(self) -> list[str]:
        """Names of the clustered layers."""
        return list(self._found)

    def codebooks(self) -> dict[str, Codebook]:
        """Return the table and indices of every layer as they are now.

        Returns
        -------
        dict of str to Codebook
            In the layout of the kernel.
        """
        return {name: _codebook(layer) for name, (layer, _, _) in self._found.items()}

    def finalize(self) -> Any:
        """Write the decoded kernels into the model and make it a plain one again.

        Returns
        -------
        keras.Model
            The model; its kernels have k values each. Compile it before it is trained again.
        """
        for layer, kind, trained in self._found.values():
            decoded = _codebook(layer).decode()
            layer.__class__ = kind
            layer._tracker.unlock()
            for name in ("cluster_centroids", "cluster_indices", "cluster_kept"):
                variable = getattr(layer, name)
                layer._untrack_variable(variable)
                delattr(layer, name)
            layer._tracker.lock()
            layer._kernel.assign(decoded)
            layer._kernel.trainable = trained
        self._found = {}
        return self._model


def cluster_weights(
    model: Any,
    k: int | Mapping[str, int] = 16,
    *,
    exclude: Sequence[str] = (),
    algorithm: str = "exact",
    init: str = "linear",
    weights: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
) -> WeightClusters:
    """Make the kernels of a model entries of a table, and the tables its parameters.

    The kernels of convolutions (not depthwise ones) and dense layers become
    ``centroids[indices]``; optimizers move the centroids, whose gradient is the sum over their
    members [1]_. Zeros of a pruned kernel stay exactly 0. Compile the model afterwards.

    Parameters
    ----------
    model : keras.Model
        Built; changed in place until :meth:`WeightClusters.finalize`.
    k : int or mapping of str to int, default 16
        Centroids, 1 to 256; or by pattern (``*``, ``?``) of layer names, the first that matches,
        where layers without a match stay as they are.
    exclude : sequence of str
        Patterns of layers that stay as they are.
    algorithm, init, seed
        Of :func:`tersor.codebook.kmeans`.
    weights : mapping of str to array-like, optional
        By layer, of the kernel's shape: how much each squared error counts.

    Returns
    -------
    WeightClusters

    Raises
    ------
    ValueError
        If there is no layer to cluster, one is clustered already, or an argument is out of range.

    References
    ----------
    .. [1] Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.3.

    Examples
    --------
    >>> clusters = cluster_weights(model, 16)                                  # doctest: +SKIP
    >>> model.compile("sgd", "sparse_categorical_crossentropy")                # doctest: +SKIP
    >>> model.fit(x, y)                                                        # doctest: +SKIP
    >>> model = clusters.finalize()                                            # doctest: +SKIP
    """
    layers = {layer.name: layer for layer in _layers(model)}
    names = select_layers(layers, exclude=exclude) if layers else []
    counts = dict.fromkeys(names, k) if not isinstance(k, Mapping) else {}
    if isinstance(k, Mapping):
        for pattern, count in k.items():
            for name in select_layers(layers, include=[pattern]):
                if name in names:
                    counts.setdefault(name, count)
    if not counts:
        raise ValueError("cluster_weights: model must have Conv or Dense layers, got none")
    for name in counts:
        if isinstance(layers[name], _Clustered):
            raise ValueError(
                f"cluster_weights: model must have plain kernels, got clustered {name!r}"
            )
    for name in weights or {}:
        if name not in counts:
            raise ValueError(f"cluster_weights: weights must be of clustered layers, got {name!r}")
    found = {}
    for name, count in counts.items():
        kernel = as_array(layers[name].kernel)
        book = kmeans(
            kernel,
            count,
            algorithm=algorithm,
            init=init,
            weights=None if weights is None or name not in weights else weights[name],
            keep_zero=True if is_pruned(kernel) and count > 1 else None,
            seed=seed,
        )
        found[name] = _install(layers[name], book)
    return WeightClusters(model, found)


def _install(layer: Any, book: Codebook) -> tuple[Any, type, bool]:
    kind, trained = type(layer), bool(layer._kernel.trainable)
    layer._tracker.unlock()
    for name, values, moves in (
        ("cluster_centroids", book.centroids, trained),
        ("cluster_indices", book.indices.astype(np.int32), False),
        ("cluster_kept", (book.centroids != 0).astype(np.float32), False),
    ):
        variable = layer.add_weight(
            name=name,
            shape=values.shape,
            dtype="int32" if values.dtype == np.int32 else layer.variable_dtype,
            initializer="zeros",
            trainable=moves,
        )
        variable.assign(values)
        setattr(layer, name, variable)
    layer._tracker.lock()
    layer._kernel.trainable = False
    layer.__class__ = type(f"Clustered{kind.__name__}", (_Clustered, kind), {})
    return layer, kind, trained


def _codebook(layer: Any) -> Codebook:
    table = as_array(layer.cluster_centroids) * as_array(layer.cluster_kept)
    indices = np.asarray(keras.ops.convert_to_numpy(layer.cluster_indices))
    return Codebook(table.astype(np.float32), indices.astype(np.uint8), 0.0)


__all__ = ["WeightClusters", "cluster_weights"]
