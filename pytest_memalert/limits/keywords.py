"""The keywords of the marker."""

from __future__ import annotations

__all__ = ["MARKER_KEYS"]

#: The keywords of the marker: the metric that each limits, None where it sets no limit.
MARKER_KEYS: dict[str, str | None] = {
    "rss": "rss_bytes",
    "peak": "peak_bytes",
    "growth": "growth_bytes",
    "growth_rate": "growth_rate_bytes_per_s",
    "efficiency": "efficiency_ratio",
    "leak": "leak_bytes_per_run",
    "traced_peak": "traced_peak_bytes",
    "duration": "duration_s",
    "cpu": "cpu_s",
    "severity": None,
    "leaks": None,
    "warmups": None,
    "runs": None,
    "reason": None,
}
