"""Measurement of networks, and reports of several side by side."""

from .compare import compare
from .measure import Latency, measure_latency, peak_rss_bytes
from .report import Report, json_schema
from .variant import TargetFigures, Variant

__all__ = [
    "Latency",
    "Report",
    "TargetFigures",
    "Variant",
    "compare",
    "json_schema",
    "measure_latency",
    "peak_rss_bytes",
]
