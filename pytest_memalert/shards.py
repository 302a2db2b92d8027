"""The shards of a suite: runs of its parts, joined into the run of the whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import (
    AlertSeverity,
    Environment,
    GateResult,
    Measurement,
    Note,
    Overhead,
    PerformanceAlert,
    Run,
)
from pytest_memalert.records import record
from pytest_memalert.speaking import group_alike
from pytest_memalert.units import listed

__all__ = ["join"]

# So many are named where a list of tests is told; the rest is counted.
_NAMED = 3
_NAME_LENGTH = 200


@record(frozen=True, slots=True, kw_only=True)
class Joined:
    """Hold the run of the whole, and what its maker should know: ``warnings``, one sentence each."""

    run: Run
    warnings: tuple[str, ...] = ()


def join(runs: Sequence[tuple[str, Run]]) -> Joined:
    """Return the shards' runs, each with the name of its report, as one run.

    A test that several shards ran counts as the one that started last saw it: its other
    measurements, and alerts about them, are dropped with a warning. Alerts of one fingerprint and
    severity become one. Times are summed. Raises MemalertError where the runs aren't parts of one: of
    different environments, or a report given twice.
    """
    if not runs:
        raise MemalertError("there is no report to join")
    _refuse_twice(runs)
    _refuse_unlike(runs)
    in_order = sorted(runs, key=lambda each: each[1].started_at)
    warnings = []
    last = {test.nodeid: at for at, (_, run) in enumerate(in_order) for test in run.tests}
    repeated = [
        nodeid
        for nodeid, count in Counter(test.nodeid for _, run in runs for test in run.tests).items()
        if count > 1
    ]
    if repeated:
        warnings.append(
            f"{_listed(repeated)} {'is' if len(repeated) == 1 else 'are'} in more than one report: "
            "the one that started last counts"
        )
    severities = {run.fail_on for _, run in runs}
    if len(severities) > 1:
        warnings.append("the reports differ in what failed a test (fail_on): the strictest counts")
    pythons = sorted({run.environment.python for _, run in runs})
    if len(pythons) > 1:
        warnings.append(f"the reports are of several releases of Python: {', '.join(pythons)}")
    gated = sum(run.gate is not None for _, run in runs)
    if 0 < gated < len(runs):
        warnings.append(
            f"only {gated} of {len(runs)} reports were held against a baseline when they ran: the tests "
            "of the others were not looked at again; run each shard with --memalert-gate"
        )
    # In the order given, which is that of the shards; the order in time only says which test counts.
    places = {name: at for at, (name, _) in enumerate(in_order)}
    kept = [
        _without(run, {nodeid for nodeid, at in last.items() if at != places[name]}) for name, run in runs
    ]
    named = len(runs) > 1
    parts = [_named(run, number) if named else run for number, run in enumerate(kept, start=1)]
    first = in_order[0][1]
    run = Run(
        run_id=_run_id(runs),
        started_at=first.started_at,
        duration_s=sum(run.duration_s for run in parts),
        environment=parts[0].environment,
        overhead=_sum(run.overhead for run in parts),
        reruns=sum(run.reruns for run in parts),
        tests=tuple(test for run in parts for test in run.tests),
        fixtures=tuple(fixture for run in parts for fixture in run.fixtures),
        alerts=group_alike((alert for run in parts for alert in run.alerts), _kind_of_alert),
        notes=(
            *(note for run in parts for note in run.notes),
            *(
                Note(kind="trouble", nodeid=None, text=f"when reports were joined: {text}")
                for text in warnings
            ),
        ),
        fail_on=_strictest(severities),
        gate=_join_gates([run.gate for run in parts if run.gate is not None], parts),
        commit=first.commit if len({run.commit for _, run in runs}) == 1 else None,
    )
    return Joined(run=run, warnings=tuple(warnings))


def _kind_of_alert(alert: PerformanceAlert) -> tuple[object, ...]:
    """Return what the alerts have in common that become one; a muted one never speaks for one that isn't."""
    return alert.fingerprint, alert.severity, alert.speaks


# ------------------------------------------------------------------- refusals


def _refuse_twice(runs: Sequence[tuple[str, Run]]) -> None:
    known: dict[str, str] = {}
    for name, run in runs:
        if run.run_id in known:
            raise MemalertError(
                f"{name}: is of the same run as {known[run.run_id]}; give each shard's report once"
            )
        known[run.run_id] = name


def _refuse_unlike(runs: Sequence[tuple[str, Run]]) -> None:
    """Refuse runs whose figures don't compare; releases of one Python version do."""
    first_name, first = runs[0]
    problems = []
    for name, run in runs[1:]:
        differences = [
            f"{word} is {there} there and {here} in {first_name}"
            for word, there, here in zip(
                _ENVIRONMENT_WORDS, _kind(run.environment), _kind(first.environment), strict=True
            )
            if there != here
        ]
        if differences:
            problems.append(f"{name}: {', '.join(differences)}")
    if problems:
        problems.append("only runs of like environments are one suite: merge those of each for itself")
        raise MemalertError("\n".join(problems))


_ENVIRONMENT_WORDS = ("the implementation", "Python", "the system", "the machine", "tracing")


def _kind(environment: Environment) -> tuple[str, ...]:
    minor = ".".join(environment.python.split(".")[:2])
    traced = "on" if environment.traced else "off"
    return (environment.implementation, minor, environment.platform, environment.machine, traced)


# -------------------------------------------------------------------- parts


def _without(run: Run, nodeids: set[str]) -> Run:
    """Return a run without what it says of these tests."""
    if not nodeids.intersection(test.nodeid for test in run.tests):
        return run
    alerts = []
    for alert in run.alerts:
        left = tuple(nodeid for nodeid in alert.nodeids if nodeid not in nodeids)
        if left == alert.nodeids:
            alerts.append(alert)
        elif left:
            # Of its tests the rest still shows it; whether as much, nobody knows.
            alerts.append(replace(alert, nodeids=left))
    gate = run.gate
    if gate is not None:
        gate = replace(
            gate,
            compared=gate.compared - len(nodeids & _compared(run, gate)),
            comparisons=tuple(each for each in gate.comparisons if each.nodeid not in nodeids),
            new=tuple(nodeid for nodeid in gate.new if nodeid not in nodeids),
            uncompared=tuple(nodeid for nodeid in gate.uncompared if nodeid not in nodeids),
        )
    return replace(
        run,
        tests=tuple(test for test in run.tests if test.nodeid not in nodeids),
        notes=tuple(note for note in run.notes if note.nodeid not in nodeids),
        alerts=tuple(alerts),
        gate=gate,
    )


def _compared(run: Run, gate: GateResult) -> set[str]:
    """Return the tests of a run that its gate has held against the baseline."""
    if gate.refusal is not None:
        return set()
    # One that failed by itself and isn't in the baseline is neither new nor uncompared.
    failed_by_us = {nodeid for alert in run.alerts if run.fails(alert) for nodeid in alert.nodeids}
    found = {test.nodeid for test in run.tests if test.outcome == "passed" or test.nodeid in failed_by_us}
    return found.difference(gate.new, gate.uncompared)


def _named(run: Run, number: int) -> Run:
    """Return a run whose workers can't be taken for those of another shard."""

    def named(test: Measurement) -> Measurement:
        return replace(test, worker=f"shard {number} {test.worker}")

    return replace(
        run,
        tests=tuple(named(test) for test in run.tests),
        fixtures=tuple(replace(each, worker=f"shard {number} {each.worker}") for each in run.fixtures),
    )


def _run_id(runs: Sequence[tuple[str, Run]]) -> str:
    """Return an id made of the shards': the same shards joined again are the same run."""
    ids = "\n".join(sorted(run.run_id for _, run in runs))
    return hashlib.sha256(ids.encode("utf-8", errors="backslashreplace")).hexdigest()[:32]


def _sum(overheads: Iterable[Overhead]) -> Overhead:
    total = Overhead()
    for each in overheads:
        total = Overhead(
            tests_s=total.tests_s + each.tests_s,
            screening_s=total.screening_s + each.screening_s,
            reruns_s=total.reruns_s + each.reruns_s,
            reporting_s=total.reporting_s + each.reporting_s,
        )
    return total


def _strictest(severities: Iterable[AlertSeverity | None]) -> AlertSeverity | None:
    return min((each for each in severities if each is not None), default=None)


def _join_gates(gates: Sequence[GateResult], runs: Sequence[Run]) -> GateResult | None:
    """Return what the shards' own gates found, as one.

    A test is missing where no shard has it, and new where none has it in its baseline.
    """
    if not gates:
        return None
    first = gates[0]
    ran = {test.nodeid for run in runs for test in run.tests}
    missing = set.intersection(*(set(gate.missing) for gate in gates)) - ran
    return replace(
        first,
        compared=sum(gate.compared for gate in gates),
        comparisons=tuple(comparison for gate in gates for comparison in gate.comparisons),
        new=tuple(sorted({nodeid for gate in gates for nodeid in gate.new})),
        missing=tuple(sorted(missing)),
        renamed=tuple(sorted({pair for gate in gates for pair in gate.renamed})),
        uncompared=tuple(sorted({nodeid for gate in gates for nodeid in gate.uncompared})),
        strict=any(gate.strict for gate in gates),
        # What the other shards ran, only the baseline can tell: `memalert gate` says what is missing.
        partial=all(gate.partial for gate in gates),
        refusal=next((gate.refusal for gate in gates if gate.refusal is not None), None),
    )


def _listed(nodeids: Sequence[str]) -> str:
    named = (escape_controls(nodeid)[:_NAME_LENGTH] for nodeid in nodeids[:_NAMED])
    return listed(named, len(nodeids))
