"""Execution of graphs and compressed models on this machine."""

from __future__ import annotations

from .profile import LayerProfile, Profile
from .session import Session, simulate
from .tuning import Tuning

__all__ = ["LayerProfile", "Profile", "Session", "Tuning", "simulate"]
