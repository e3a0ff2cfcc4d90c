"""Pruning: which weights to keep, and when."""

from .layers import select_layers
from .masks import (
    block_mask,
    channel_mask,
    global_masks,
    magnitude_mask,
    mask_from_scores,
    nm_mask,
)
from .network_masks import network_masks
from .schedules import ConstantSchedule, IterativeSchedule, PolynomialSchedule
from .scores import (
    lamp_scores,
    movement_scores,
    random_scores,
    taylor_scores,
    weight_activation_scores,
)

__all__ = [
    "ConstantSchedule",
    "IterativeSchedule",
    "PolynomialSchedule",
    "block_mask",
    "channel_mask",
    "global_masks",
    "lamp_scores",
    "magnitude_mask",
    "mask_from_scores",
    "movement_scores",
    "network_masks",
    "nm_mask",
    "random_scores",
    "select_layers",
    "taylor_scores",
    "weight_activation_scores",
]
