"""GitLab's code quality report: a list of violations, which a merge request shows at their lines.

The format is https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
import json

from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import AlertSeverity, PerformanceAlert, Run
from pytest_memalert.reports.words import cut, headline, speaking_alerts, split_location, subject

__all__ = ["render"]

_DESCRIPTION_LENGTH = 1_000
_PATH_LENGTH = 1_000
_NAME_LENGTH = 200
# GitLab's words run from info to blocker. A blocker would claim more than a failed test does.
_SEVERITIES = {
    AlertSeverity.INFO: "info",
    AlertSeverity.WARNING: "minor",
    AlertSeverity.CRITICAL: "critical",
}


def render(run: Run) -> str:
    """Return the report in ASCII, ended by a newline: the alerts that speak, the worst first.

    GitLab tells new from known violations by their fingerprint, which has neither line nor figure in it.
    """
    entries: dict[str, dict[str, object]] = {}
    for alert in speaking_alerts(run):
        entry = _entry(alert)
        # Two entries of one fingerprint are one violation to GitLab; the worse speaks.
        entries.setdefault(_fingerprint(alert), entry)
    return json.dumps(list(entries.values()), indent=1, ensure_ascii=True) + "\n"


def _entry(alert: PerformanceAlert) -> dict[str, object]:
    path, line = split_location(alert) or (".", 1)
    told = f"{subject(alert)}: {headline(alert)}"
    return {
        "description": cut(escape_controls(told), _DESCRIPTION_LENGTH),
        "check_name": cut(escape_controls(f"memalert:{alert.rule}"), _NAME_LENGTH),
        "fingerprint": _fingerprint(alert),
        "severity": _SEVERITIES[alert.severity],
        "location": {"path": cut(path, _PATH_LENGTH), "lines": {"begin": line}},
    }


def _fingerprint(alert: PerformanceAlert) -> str:
    """Return the alert's fingerprint in the form that GitLab stores, whatever it was made of."""
    content = alert.fingerprint.encode("utf-8", errors="backslashreplace")
    return hashlib.sha256(content).hexdigest()[:32]
