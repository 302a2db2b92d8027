"""A suite with one growing test, as a gate in CI would meet it."""

from __future__ import annotations

_RENDERED: list[bytearray] = []


def render(pages: int) -> bytearray:
    """Return a report; the mistake: every report is kept."""
    report = bytearray(b"page") * (pages * 2**18)
    _RENDERED.append(report)
    return report


def test_report_has_every_page():
    """Grows by 3 MiB in each run."""
    assert len(render(3)) == 3 * 2**20


def test_empty_report_is_empty():
    """Grows by nothing."""
    assert len(render(0)) == 0
