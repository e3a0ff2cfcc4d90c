"""The training loop: fine-tuning, distillation and what callbacks add; data parallel, resumable."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("tersor.training needs PyTorch: pip install 'tersor[train]'") from None

from .batches import Batch
from .callback import Callback, Shared
from .distill import DistillationCallback, distill
from .early_stopping import EarlyStopping
from .evaluate import evaluate
from .fit import fit
from .history import History
from .logs import CsvLog, TensorBoardLog, WandbLog
from .progress import ProgressBar
from .pruning_schedule import NetworkSlimming, PruningSchedule
from .quantization_schedule import QuantizationSchedule
from .state import TrainingState
from .sweep import sweep
from .sweep_result import SweepResult, SweepTrial
from .sweep_space import SweepSpace

__all__ = [
    "Batch",
    "Callback",
    "CsvLog",
    "DistillationCallback",
    "EarlyStopping",
    "History",
    "NetworkSlimming",
    "ProgressBar",
    "PruningSchedule",
    "QuantizationSchedule",
    "Shared",
    "SweepResult",
    "SweepSpace",
    "SweepTrial",
    "TensorBoardLog",
    "TrainingState",
    "WandbLog",
    "distill",
    "evaluate",
    "fit",
    "sweep",
]
