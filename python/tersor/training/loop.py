"""The training loop, the only one of the package."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..data.counter import keyed_bits
from .batches import Batch, Batches, Inputs
from .callback import Callback, Shared
from .checkpoint import NAME, check_fingerprint, load_checkpoint, save_checkpoint
from .ema import Ema
from .evaluate import check_outputs, evaluation_sums, means
from .history import History
from .memory_format import channels_last, contiguous
from .optimizer import make_optimizer
from .precision import Precision
from .processes import broadcast_buffers, largest, reduce_shared, summed
from .schedule import learning_rate_factor
from .state import TrainingState

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .options import Options

_DROPOUT = 3  # the random stream of the network itself
# Reading a loss waits for a GPU; on a CPU it is free.
_READ_EVERY = 20


class Loop:
    """One run of training.

    Parameters
    ----------
    model : torch.nn.Module
    batches : Batches
    validation : Inputs or None
    options : Options
    accelerator : accelerate.Accelerator
    callbacks : sequence of Callback
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        validation: Inputs | None,
        options: Options,
        accelerator: Accelerator,
        callbacks: Sequence[Callback],
    ) -> None:
        self._batches = batches
        self._validation = validation
        self._options = options
        self._callbacks = list(callbacks)
        self._begun: list[Callback] = []
        self._accelerator = accelerator
        self._device: torch.device = accelerator.device
        self._largest_label = int(batches.inputs.y.max())
        self._wrapped = model
        # Sums over the epoch: loss x rows, right answers, rows.
        self._sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        self._earlier_seconds = 0.0
        self._channels_last = True
        self._state = TrainingState(
            model=model,
            options=options,
            accelerator=accelerator,
            precision=Precision(options.precision, self._device),
            inputs=batches.inputs,
            steps_per_epoch=batches.steps_per_epoch,
        )

    def run(self) -> History:
        """Train.

        Returns
        -------
        History
            The model has the final weights and is in evaluation mode.
        """
        state = self._state
        with _own_randomness(self._device):
            try:
                self._begin()
                while state.epoch < self._options.epochs and state.stop_reason is None:
                    self._run_epoch()
                if state.ema is not None:
                    state.ema.copy_to(state.model)
            finally:
                for callback in self._begun:
                    callback.on_fit_end(state)
                contiguous(state.model)
                state.model.eval()
        state.history.stop_reason = state.stop_reason
        return state.history

    def _begin(self) -> None:
        """Let callbacks change the model, then build what depends on it, then resume."""
        state, options = self._state, self._options
        for callback in self._callbacks:
            callback.on_fit_begin(state)
            self._begun.append(callback)
        # Convolutions on a CPU are 1.3 to 1.6 times as fast with the channels last.
        state.model.to(self._device)
        self._channels_last = channels_last(state.model)
        optimizer = make_optimizer(
            options.optimizer,
            state.model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            # A fused step would take the scaler's place in looking for overflow.
            fused=options.precision != "fp16",
        )
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        with warnings.catch_warnings():
            # Its new name for broadcast_buffers is unknown to older PyTorch.
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            self._wrapped, prepared = self._accelerator.prepare(state.model, optimizer)
        state.optimizer = prepared.optimizer
        if options.ema is not None:
            state.ema = Ema(state.model, options.ema)
        self._resume()

    def _run_epoch(self) -> None:
        state = self._state
        start = time.perf_counter() - self._earlier_seconds
        for callback in self._callbacks:
            callback.on_epoch_begin(state)
        self._wrapped.train()
        for parts in self._batches.epoch(state.epoch, state.step, self._prepare_batch):
            self._run_step(parts)
            state.step += 1
            state.seconds = time.perf_counter() - start
            self._read_sums()
            for callback in self._callbacks:
                callback.on_step_end(state)
            every = self._options.checkpoint_steps
            if every and state.global_step % every == 0 and state.step < state.steps_per_epoch:
                self._save(state.epoch, state.step)
        self._end_epoch()

    def _prepare_batch(self, batch: Batch) -> None:
        for callback in self._callbacks:
            callback.prepare_batch(batch)

    def _run_step(self, parts: Sequence[Batch]) -> None:
        state, optimizer = self._state, self._optimizer
        self._set_learning_rate()
        for callback in self._callbacks:
            callback.on_step_begin(state)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self._accelerator.no_sync(self._wrapped):
                part = part.to(self._device)
                if not self._channels_last:
                    part = replace(part, inputs=part.inputs.contiguous())
                self._run_part(part, number, len(parts))
        state.precision.unscale(optimizer)
        for callback in self._callbacks:
            callback.after_backward(state)
        if self._options.clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            self._accelerator.clip_grad_norm_(parameters, self._options.clip)
        stepped = state.precision.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        state.skipped_steps += not stepped
        if stepped:
            for callback in self._callbacks:
                callback.after_step(state)
        # Each process has seen other images: what they counted and averaged becomes one truth,
        # observers that are buffers by their own rule first.
        reduce_shared(self._shared(), "step")
        broadcast_buffers(state.model)
        if stepped and state.ema is not None:
            state.ema.update(state.model)

    def _run_part(self, batch: Batch, number: int, parts: int) -> None:
        """Forward and backward of one part of the batch."""
        state = self._state
        key = (self._options.seed, _DROPOUT, state.global_step, number, self._batches.process)
        torch.manual_seed(int(keyed_bits(*key)[0] >> 1))
        with state.precision.autocast():
            outputs = self._wrapped(batch.inputs)
        if state.step == 0:
            check_outputs(outputs, len(batch), self._largest_label, "fit")
        loss = self._loss(batch, outputs)
        for callback in self._callbacks:
            loss = callback.modify_loss(state, batch, outputs, loss)
        state.precision.scaled(loss / parts).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            rows = len(batch)
            right = (outputs.argmax(1) == batch.dominant_labels()).sum()
            self._sums[0] += loss.detach().double() * rows
            self._sums[1] += right
            self._sums[2] += rows

    def _loss(self, batch: Batch, outputs: torch.Tensor) -> torch.Tensor:
        given = [
            loss
            for callback in self._callbacks
            if (loss := callback.compute_loss(self._state, batch, outputs)) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"fit: callbacks must compute at most one loss, got {len(given)}")
        if given and self._options.loss is not None:
            raise ValueError("fit: loss must be None where a callback computes the loss")
        if given:
            return given[0]
        if self._options.loss is not None:
            function = self._options.loss
            return batch.mixed(lambda labels: function(outputs, labels))
        smoothing = self._options.label_smoothing
        logits = outputs.float()
        return batch.mixed(lambda y: F.cross_entropy(logits, y, label_smoothing=smoothing))

    def _set_learning_rate(self) -> None:
        state, options = self._state, self._options
        factor = learning_rate_factor(
            options.schedule,
            state.global_step,
            state.total_steps,
            round(options.warmup * state.steps_per_epoch),
        )
        for group in self._optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
        state.learning_rate = self._optimizer.param_groups[0]["lr"]

    def _read_sums(self) -> None:
        state = self._state
        state.seen = state.step * self._batches.step_size
        if self._device.type != "cpu" and state.step % _READ_EVERY:
            return
        figures = means(self._sums)
        state.loss, state.accuracy = figures["loss"], figures["accuracy"]
        if not math.isfinite(state.loss):
            raise ValueError(
                f"fit: loss must be finite, got {state.loss} in epoch {state.epoch + 1}, "
                f"step {state.step} (a smaller learning_rate, warmup or clip may help)"
            )

    def _end_epoch(self) -> None:
        state = self._state
        reduce_shared(self._shared(), "epoch")
        row: dict[str, float] = {"epoch": state.epoch + 1, **means(summed(self._sums))}
        row["learning_rate"] = state.learning_rate
        if self._options.precision == "fp16":
            row["skipped_steps"] = state.skipped_steps
            row["loss_scale"] = state.precision.loss_scale
        row |= self._validate()
        row["seconds"] = state.seconds
        row["images_per_second"] = state.seen / max(state.seconds, 1e-9)
        state.history.append(row)
        for callback in self._callbacks:
            callback.on_epoch_end(state, state.history.rows[-1])
        # A process that stopped alone would leave the others waiting for its gradients.
        if largest(state.stop_reason is not None, self._device) and state.stop_reason is None:
            state.stop("another process asked for it")
        self._sums.zero_()
        state.skipped_steps = 0
        self._earlier_seconds = 0.0
        state.seconds = 0.0
        self._save(state.epoch + 1, 0)
        state.epoch, state.step = state.epoch + 1, 0

    def _validate(self) -> dict[str, float]:
        if self._validation is None:
            return {}
        state = self._state
        with state.ema.applied(state.model) if state.ema is not None else nullcontext():
            sums = evaluation_sums(
                state.model,
                self._validation,
                state.precision,
                max(self._options.batch_size, 64),
                self._device,
                process=self._batches.process,
                processes=self._batches.processes,
            )
        return {f"validation_{name}": value for name, value in means(summed(sums)).items()}

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        assert self._state.optimizer is not None
        return self._state.optimizer

    def _shared(self) -> Iterator[Shared]:
        for callback in self._callbacks:
            yield from callback.shared()

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        """Yield a name per callback that does not depend on the others' kinds."""
        seen: Counter[str] = Counter()
        for callback in self._callbacks:
            kind = type(callback).__name__
            yield f"{kind}.{seen[kind]}", callback
            seen[kind] += 1

    def _fingerprint(self) -> dict[str, Any]:
        return self._options.fingerprint(
            samples=self._state.samples,
            data=self._state.data,
            step_size=self._batches.step_size,
            **{
                f"{name}.{key}": value
                for name, callback in self._named_callbacks()
                for key, value in callback.fingerprint().items()
            },
        )

    def _save(self, epoch: int, step: int) -> None:
        """Write a checkpoint that continues at a step; every process takes part."""
        folder = self._options.checkpoint_dir
        if folder is None:
            return
        state = self._state
        if step:
            reduce_shared(self._shared(), "epoch")
        sums = summed(self._sums)
        if not state.is_main:
            return
        content = {
            "settings": self._fingerprint(),
            "epoch": epoch,
            "step": step,
            "sums": sums.cpu(),
            "seconds": state.seconds,
            "skipped_steps": state.skipped_steps,
            "stop_reason": state.stop_reason,
            "history": state.history.rows,
            "model": dict(state.model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "precision": state.precision.state_dict(),
            "callbacks": {
                name: saved
                for name, callback in self._named_callbacks()
                if (saved := callback.state_dict())
            },
        }
        if state.ema is not None:
            content["ema"] = {"values": state.ema.values, "updates": state.ema.updates}
        save_checkpoint(folder, content)

    def _resume(self) -> None:
        options = self._options
        path = options.resume if isinstance(options.resume, Path) else options.checkpoint_dir
        if options.resume is False or path is None:
            return
        if options.resume is True and not (path / NAME).exists():
            return
        content = load_checkpoint(path)
        check_fingerprint(content["settings"], self._fingerprint(), path)
        state = self._state
        try:
            state.model.load_state_dict(content["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"fit: model must be that of the checkpoint {path}, got {reason}"
            ) from None
        self._optimizer.load_state_dict(content["optimizer"])
        state.precision.load_state_dict(content["precision"])
        if state.ema is not None:
            state.ema.updates = content["ema"]["updates"]
            for name, value in content["ema"]["values"].items():
                state.ema.values[name].copy_(value)
        named = dict(self._named_callbacks())
        if lost := [name for name in content["callbacks"] if name not in named]:
            raise ValueError(
                f"fit: callbacks must be those of the checkpoint {path}, got no {', '.join(lost)}"
            )
        for name, saved in content["callbacks"].items():
            named[name].load_state_dict(saved)
        self._restore_position(content)

    def _restore_position(self, content: Mapping[str, Any]) -> None:
        state = self._state
        state.epoch, state.step = content["epoch"], content["step"]
        state.history = History(content["history"])
        state.stop_reason = content["stop_reason"]
        state.skipped_steps = content["skipped_steps"]
        self._earlier_seconds = content["seconds"]
        # The sums are those of all processes.
        if state.is_main:
            self._sums.copy_(content["sums"])


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state alone, and choose convolutions that repeat on a GPU."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    with torch.random.fork_rng(devices=devices):
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = before


__all__ = ["Loop"]
