"""Execution of graphs and compressed models on this machine."""

from __future__ import annotations

from .profile import LayerProfile, Profile
from .session import Session, simulate

__all__ = ["LayerProfile", "Profile", "Session", "simulate"]
