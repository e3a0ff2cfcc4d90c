"""Distillation: losses that teach a student network what a teacher network knows."""

from .attention import attention_loss
from .dkd import dkd_loss
from .jsd import jsd_loss
from .kd import kd_loss, kl_loss
from .mse import feature_loss, mse_logits_loss
from .relational import relational_loss

__all__ = [
    "attention_loss",
    "dkd_loss",
    "feature_loss",
    "jsd_loss",
    "kd_loss",
    "kl_loss",
    "mse_logits_loss",
    "relational_loss",
]
