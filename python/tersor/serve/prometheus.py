"""The figures of a monitor as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .monitor import Monitor


class MonitorCollector:
    """Metrics of a monitor, read when they are asked for.

    Parameters
    ----------
    monitor : Monitor
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Any]:
        """Give each metric with its values now.

        Yields
        ------
        prometheus_client.Metric
        """
        from prometheus_client import Metric
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        now = self._monitor.to_dict()
        for name, key, text in (
            ("tersor_samples", "samples", "Samples seen."),
            ("tersor_windows", "windows", "Windows judged."),
            ("tersor_non_finite_samples", "non_finite", "Samples with NaN or infinity."),
        ):
            yield CounterMetricFamily(name, text, value=now[key])
        alarms = CounterMetricFamily("tersor_alarms", "Alarms raised.", labels=["kind"])
        for kind, count in now["alarm_counts"].items():
            alarms.add_metric([kind], count)
        yield alarms
        for name, key, text in (
            ("tersor_drift_ks", "ks", "Kolmogorov-Smirnov distance of the last window."),
            ("tersor_drift_psi", "psi", "Population stability index of the last window."),
            ("tersor_drift_p_value", "p_value", "Chance of the last window on clean data."),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["feature"])
            for feature in now["drift"]:
                gauge.add_metric([feature["name"]], feature[key])
            yield gauge
        agreement = now["agreement"]
        if agreement is not None and agreement["recent"] is not None:
            yield GaugeMetricFamily(
                "tersor_parent_agreement",
                "Share of the last compared samples with the parent's class.",
                value=agreement["recent"],
            )
        if now["latency_s"] is not None:
            latency = Metric("tersor_latency_seconds", "Time of a call.", "summary")
            for quantile, key in (("0.5", "p50"), ("0.95", "p95")):
                latency.add_sample(
                    "tersor_latency_seconds", {"quantile": quantile}, now["latency_s"][key]
                )
            latency.add_sample("tersor_latency_seconds_count", {}, now["calls"])
            latency.add_sample("tersor_latency_seconds_sum", {}, now["seconds"])
            yield latency


def collector(monitor: Monitor) -> MonitorCollector:
    """Return a collector for a registry.

    Parameters
    ----------
    monitor : Monitor

    Returns
    -------
    MonitorCollector

    Raises
    ------
    ImportError
        If prometheus_client is not installed.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ImportError(
            "Monitor: Prometheus' format needs prometheus_client: pip install 'tersor[serve]'"
        ) from None
    return MonitorCollector(monitor)


def exposition(monitor: Monitor) -> str:
    """Return the figures in Prometheus' text format.

    Parameters
    ----------
    monitor : Monitor

    Returns
    -------
    str

    Raises
    ------
    ImportError
        If prometheus_client is not installed.
    """
    found = collector(monitor)
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(found)
    return generate_latest(registry).decode()


__all__ = ["MonitorCollector", "collector", "exposition"]
