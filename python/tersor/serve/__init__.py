"""Deployed networks: cascades, tiers, batteries, a registry, a monitor."""

from .battery import Battery, DutyCycle, duty_cycle
from .cascade import Cascade, CascadeOutput
from .cascade_curve import CascadeCurve, CascadeFigures
from .confidence import confidence
from .drift import FeatureDrift, ks_distance, population_stability
from .link import Link
from .monitor import Alarm, Monitor
from .placement import Placement, Placements, compare_placements
from .registry import RegisteredVersion, Registry
from .select import Candidate, Selection, select

__all__ = [
    "Alarm",
    "Battery",
    "Candidate",
    "Cascade",
    "CascadeCurve",
    "CascadeFigures",
    "CascadeOutput",
    "DutyCycle",
    "FeatureDrift",
    "Link",
    "Monitor",
    "Placement",
    "Placements",
    "RegisteredVersion",
    "Registry",
    "Selection",
    "compare_placements",
    "confidence",
    "duty_cycle",
    "ks_distance",
    "population_stability",
    "select",
]
