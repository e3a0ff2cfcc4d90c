"""Distillation: losses that teach a student network what a teacher network knows."""

from .kd import kd_loss, kl_loss

__all__ = ["kd_loss", "kl_loss"]
