"""``tersor.compress``: from a network to a compressed model that meets its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core, artifact
from ..base.schema import check_path
from ..data.dataset import Dataset
from ..data.preprocess import Preprocess
from ..graph import Graph
from ..targets.budget import Budget
from ..targets.target import Target
from .advice import what_helps
from .agreement import check_agreement
from .calibrate import Progress
from .evaluation import accuracy_of, check_evaluate
from .limits import check_askable, check_limits
from .merged_blocks import without_blocks
from .model import CompressedModel
from .post_training import quantize_post_training
from .progress import reporter
from .prune import prune
from .pruning_recipe import Pruning
from .rate_size import asks_for_bits, fit_size
from .recipe import Recipe
from .removed_channels import without_units
from .search.search import SearchTask, search
from .weight_noise import weight_agreement
from .weight_only import quantize_weights


def compress(
    graph: Graph,
    target: str | Path | Target | None = None,
    budget: Budget | Mapping[str, Any] | str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    calibration: Any = None,
    evaluate: Dataset | tuple[NDArray[Any], NDArray[Any]] | Callable[[Any], float] | None = None,
    preprocess: Preprocess | Mapping[str, Any] | str | Path | None = None,
    seed: int = 0,
    time_budget: float | None = None,
    progress: bool | Progress = False,
    cache: str | Path | None = None,
) -> CompressedModel:
    """Compress a network.

    Without a recipe and under a budget, the network is searched for: what keeps every line and
    stays nearest to the float network on the calibration samples. A network that int8 brings under
    the budget becomes int8; else bits of every layer, channels and number formats are chosen
    (:mod:`tersor.compress.search`).

    Parameters
    ----------
    graph : Graph
        From :func:`tersor.load`, :func:`tersor.from_torch` or :func:`tersor.from_keras`. It is not
        changed.
    target : str, Path or Target, optional
        Name of a device profile (``"cloud"``, ``"edge"``, ``"mcu"``), path of a YAML profile, or
        Target. Its constraints must hold.
    budget : mapping, str, Path or Budget, optional
        What must hold, such as ``{"size": "128 KB", "accuracy_drop": 0.01}``; size is that of the
        saved file. Goes before the target's constraints.
    recipe : str, mapping, Path or Recipe, optional
        By default searched under the budget, and ``"int8"`` without one. Or ``"int8"``, ``"w4a8"``,
        ``"int8-dynamic"``, ``"w8a32"``, ``"w4a32"``, ``"w3a32"``, ``"fp16"``, ``"bf16"``,
        ``"fp32"``, ``"codebook4"``, ``"codebook2"``, ``"codebook4a8"``, ``"deep-compression"``,
        ``"rate-distortion"`` (as many bits as a budget of size leaves), ``"keep"``, or a Recipe.
    calibration : array, path, mapping of arrays, or iterable of batches
        Unlabeled samples: needed for "int8", "w4a8" and "codebook4a8", used by every recipe that
        changes values, to round weights of few bits and to say what is lost. Bytes (uint8) are raw
        samples and go through `preprocess`; floats are what the network takes.
    evaluate : (x, y), Dataset or callable, optional
        Labeled samples for top-1 accuracy, or a function of a session that returns a score (higher
        is better). Measured before and after.
    preprocess : Preprocess, mapping or path, optional
        How raw samples become the network's input; saved with the model. By default what the graph
        carries.
    seed : int, default 0
        Draws the calibration samples. The same input, seed and version give the same content.
    time_budget : float, optional
        Seconds; calibration stops early where they run out, and a search takes the best that it
        found by then. Ctrl-C does so too.
    progress : bool or callable, default False
        True shows a progress bar; a callable gets ``(stage, done, total or None)``.
    cache : str or Path, optional
        Folder where a search keeps what it measures of each layer, by the hash of network and
        samples: the next search begins there, an interrupted one goes on.

    Returns
    -------
    CompressedModel

    Raises
    ------
    BudgetError
        If the budget is not met; the message says by how much, and after a search what binds and
        what would fit.
    ValueError
        If an argument is out of range, calibration samples are missing, empty or not finite
        (DataError), or the network is quantized already.
    TypeError
        If an argument is of a wrong type.

    Warns
    -----
    UserWarning
        If the compressed network disagrees with the float one on the calibration samples, with the
        layers that lose most.

    Examples
    --------
    >>> import numpy as np, tersor
    >>> graph = tersor.Graph()
    >>> x = graph.add_input("x", "float32", (None, 4))
    >>> w = graph.add_constant("w", np.eye(4, dtype=np.float32))
    >>> graph.set_outputs([graph.add_node("dense", [x, w], {}, "dense")])
    >>> samples = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    >>> tersor.compress(graph, calibration=samples).recipe.name
    'int8'
    """
    started = time.perf_counter()
    _check_arguments(graph, seed, time_budget)
    folder = None if cache is None else Path(check_path(cache, what="compress: cache"))
    chosen = Recipe.parse(recipe)
    limits = Budget.parse(budget)
    device = None if target is None else Target.load(target)
    all_limits = limits if device is None else device.constraints.merge(limits)
    quantized = any(edge.qparams is not None for edge in graph.edges)
    searched = recipe is None and bool(all_limits) and calibration is not None and not quantized
    check_askable(device, limits, evaluated=evaluate is not None or searched)
    if evaluate is not None:
        evaluate = check_evaluate(evaluate)
    prepare = Preprocess.parse(preprocess if preprocess is not None else graph.preprocess or None)
    with reporter(progress) as report:
        size = all_limits.size
        several = asks_for_bits(chosen) and size is not None
        fitted = chosen.pruning is not None or chosen.merged or chosen.channels is not None
        again = fitted or several or searched
        if again and calibration is not None and not hasattr(calibration, "__len__"):
            calibration = list(calibration)  # every step must see the same samples
        memo: dict[str, Any] = {}

        def finished(wanted: Recipe) -> CompressedModel:
            # Every trial of a search is another network; what channels and blocks leave is shared.
            known = {"smaller": memo.setdefault("smaller", {})} if searched else memo
            done = apply_recipe(
                graph, wanted, calibration, prepare, seed, report, known, time_budget
            )
            done.lineage["target"] = None if device is None else device.name
            return done

        if searched:
            task = SearchTask(
                graph,
                device,
                all_limits,
                calibration,
                prepare,
                seed,
                report,
                finished,
                cache=folder,
                deadline=math.inf if time_budget is None else time.monotonic() + time_budget,
            )
            model = search(task)
        elif several and size is not None:
            model = fit_size(chosen, float(size), finished)
        else:
            model = finished(chosen)
        model.provenance["seconds"] = round(time.perf_counter() - started, 3)
        figures: dict[str, float] = {}
        if evaluate is not None:
            report("evaluate", 0, 2)
            figures["accuracy_before"] = accuracy_of(graph, evaluate, prepare)
            report("evaluate", 1, 2)
            figures["accuracy"] = accuracy_of(model, evaluate, prepare)
            report("evaluate", 2, 2)
        elif searched and all_limits.accuracy_drop is not None:
            figures["accuracy_drop"] = model.provenance["search"]["expected_drop"]
        model.provenance["figures"] = figures
        check_limits(model, device, limits, figures)
    return model


def apply_recipe(
    graph: Graph,
    recipe: Recipe,
    calibration: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
    memo: dict[str, Any],
    time_budget: float | None = None,
) -> CompressedModel:
    """Prune and choose values, without budgets and evaluation.

    Parameters
    ----------
    graph, recipe, calibration, preprocess, seed, time_budget
        As for `compress`, checked. Calibration samples that can be read once only do for one step.
    report : callable
        Of progress.
    memo : dict
        Of calls with the same network, samples and pruning: what is the same is done once.

    Returns
    -------
    CompressedModel
    """
    plain, dropped = graph, dict[str, Any]()
    if recipe.merged or recipe.channels is not None:
        known, place = memo.setdefault("smaller", {}), (recipe.merged, recipe.channels)
        if place not in known:
            known[place] = _smaller(graph, recipe, calibration, preprocess, seed, report)
        plain = known[place]
    if recipe.pruning is not None:
        if "pruned" not in memo:
            memo["pruned"] = _pruned(plain, recipe.pruning, calibration, preprocess, seed, report)
        plain, dropped = memo["pruned"]
    model = _apply(plain, recipe, calibration, preprocess, seed, time_budget, report, memo)
    model.notes |= dropped
    model.lineage |= {
        "parent": artifact.content_hash(graph),
        "tersor": _core.base.version(),
        "seed": seed,
        "target": None,
    }
    if preprocess is not None:
        model.graph.preprocess = preprocess.to_dict()
    return model


def _smaller(
    graph: Graph,
    recipe: Recipe,
    calibration: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
) -> Graph:
    """The float network with fewer layers and channels, fitted to the whole one."""
    if recipe.merged and calibration is None:
        raise ValueError(
            "compress: calibration must be given for merged blocks, which are fitted to samples: "
            "an array of about 1,000 unlabeled samples, got None"
        )
    if recipe.channels is None:
        return without_blocks(graph, recipe.merged, calibration, preprocess, seed, report)
    return without_units(
        graph, recipe.channels, calibration, preprocess, seed, report, recipe.merged
    )


def _pruned(
    graph: Graph,
    pruning: Pruning,
    calibration: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
) -> tuple[Graph, dict[str, Any]]:
    """The float network without some of its weights, and a note about it."""
    if pruning.needs_samples and calibration is None:
        raise ValueError(
            "compress: calibration must be given for pruning: an array of about 1,000 unlabeled "
            "samples, got None"
        )
    done = prune(
        graph,
        calibration,
        pruning.sparsity,
        structure=pruning.structure,
        exclude=pruning.exclude,
        method=pruning.method,
        reestimate=pruning.reestimate,
        samples=pruning.samples,
        layers=pruning.layers or None,
        preprocess=preprocess,
        seed=seed,
        progress=report,
    )
    note = {"sparsity": round(done.sparsity, 6), "samples": done.samples}
    return done.graph, {"pruning": note}


def _apply(
    graph: Graph,
    recipe: Recipe,
    calibration: Any,
    preprocess: Preprocess | None,
    seed: int,
    time_budget: float | None,
    report: Progress,
    memo: dict[str, Any],
) -> CompressedModel:
    quantized = [e.name for e in graph.edges if e.qparams is not None]
    if quantized and recipe.values != "keep":
        raise ValueError(
            f"compress: the network is quantized already (edge {quantized[0]}): use recipe='keep'"
        )
    if recipe.values == "keep" and not any(e.qparams is not None for e in graph.edges):
        raise ValueError(
            "compress: recipe 'keep' is for a network that is quantized already, got a float one: "
            "use 'int8' to quantize it, 'fp32' or 'bf16' to leave it in float"
        )
    if recipe.needs_calibration:
        if calibration is None:
            raise ValueError(
                f"compress: calibration must be given for recipe {recipe.name!r}, which has int8 "
                "activations: an array of about 128 unlabeled samples, got None"
            )
        done = quantize_post_training(
            graph,
            calibration,
            recipe,
            preprocess=preprocess,
            seed=seed,
            time_budget=time_budget,
            progress=report,
        )
        notes: dict[str, Any] = {"samples": done.samples, "float_layers": done.float_layers}
        if done.nearest_layers:
            notes["nearest_layers"] = done.nearest_layers
        if done.absorbed:
            notes["absorbed_biases"] = done.absorbed
        if done.relu6_db is not None:
            before, after = done.relu6_db
            notes["equalize_relu6"] = {"kept": after >= before, "db": [before, after]}
        tips = what_helps(recipe, done.not_equalized)
        found = check_agreement(
            graph, done.graph, done.first_batch, equalized=done.equalized_graph, advice=tips
        )
        provenance = {"agreement": found.to_dict() | {"advice": tips}}
        return CompressedModel(done.graph, recipe, {}, notes, provenance)
    if recipe.values == "keep":
        return CompressedModel(graph.clone(), recipe, {})
    return _apply_to_weights(graph, recipe, calibration, preprocess, seed, report, memo)


def _apply_to_weights(
    graph: Graph,
    recipe: Recipe,
    calibration: Any,
    preprocess: Preprocess | None,
    seed: int,
    report: Progress,
    memo: dict[str, Any],
) -> CompressedModel:
    """Activations stay in float."""
    done = quantize_weights(
        graph, calibration, recipe, preprocess=preprocess, seed=seed, progress=report, memo=memo
    )
    notes: dict[str, Any] = {}
    if done.bits:
        notes["code_bytes"] = round(done.bits / 8)
    if done.samples:
        notes["samples"] = done.samples
    if done.float_layers:
        notes["float_layers"] = done.float_layers
    if done.nearest_layers:
        notes["nearest_layers"] = done.nearest_layers
    model = CompressedModel(done.graph, recipe, {}, notes)
    tips = what_helps(recipe, samples=bool(done.first_batch))
    noted: dict[str, Any] = {}
    if done.first_batch and _changes_values(recipe):
        found = check_agreement(
            graph,
            done.graph,
            done.first_batch,
            equalized=done.float_graph,
            precision=model.precision,
            advice=tips,
        )
        noted = found.to_dict()
    elif not done.first_batch:
        noted = weight_agreement(done.float_graph, done.graph)
    if noted:
        model.provenance["agreement"] = noted | {"advice": tips}
    return model


def _changes_values(recipe: Recipe) -> bool:
    return any(f.values != "fp32" for f in (recipe.format, *recipe.layers.values()))


def _check_arguments(graph: object, seed: object, time_budget: object) -> None:
    if not isinstance(graph, _core.graph.Graph):
        raise TypeError(f"compress: graph must be a tersor.Graph, got {type(graph).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"compress: seed must be an integer >= 0, got {seed!r}")
    if seed < 0:
        raise ValueError(f"compress: seed must be an integer >= 0, got {seed!r}")
    if time_budget is None:
        return
    if isinstance(time_budget, bool) or not isinstance(time_budget, Real):
        raise TypeError(f"compress: time_budget must be seconds > 0, got {time_budget!r}")
    if not float(time_budget) > 0:
        raise ValueError(f"compress: time_budget must be seconds > 0, got {time_budget!r}")


__all__ = ["apply_recipe", "compress"]
