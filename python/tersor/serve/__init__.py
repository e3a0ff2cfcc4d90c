"""Deployed networks: cascades, tiers, batteries."""

from .battery import Battery, DutyCycle, duty_cycle
from .cascade import Cascade, CascadeOutput
from .cascade_curve import CascadeCurve, CascadeFigures
from .confidence import confidence
from .link import Link
from .placement import Placement, Placements, compare_placements
from .select import Candidate, Selection, select

__all__ = [
    "Battery",
    "Candidate",
    "Cascade",
    "CascadeCurve",
    "CascadeFigures",
    "CascadeOutput",
    "DutyCycle",
    "Link",
    "Placement",
    "Placements",
    "Selection",
    "compare_placements",
    "confidence",
    "duty_cycle",
    "select",
]
