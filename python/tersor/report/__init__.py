"""Measurement of networks, and reports of several side by side."""

from .compare import compare
from .file_parts import FileParts, file_parts
from .intervals import Interval, bootstrap_accuracy, bootstrap_change
from .measure import Latency, measure_latency, peak_rss_bytes
from .on_emulator import EmulatedRun, run_on_emulator
from .report import Report, json_schema
from .variant import TargetFigures, Variant
from .weight_histograms import WeightHistogram, weight_histograms

__all__ = [
    "EmulatedRun",
    "FileParts",
    "Interval",
    "Latency",
    "Report",
    "TargetFigures",
    "Variant",
    "WeightHistogram",
    "bootstrap_accuracy",
    "bootstrap_change",
    "compare",
    "file_parts",
    "json_schema",
    "measure_latency",
    "peak_rss_bytes",
    "run_on_emulator",
    "weight_histograms",
]
