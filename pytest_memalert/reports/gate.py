"""What a gate found, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_memalert.comparisons import tell
from pytest_memalert.model import GateResult
from pytest_memalert.reports.words import gate_counts
from pytest_memalert.units import listed

__all__ = ["render"]

_NAMED = 5


def render(gate: GateResult, *, verbosity: int = 0) -> Iterator[str]:
    """Yield the lines: what got better and how to keep it, new and missing tests, and the counts.

    What got worse is an alert each, and told as such.
    """
    if gate.refusal is not None:
        yield f"gate: nothing compared: {gate.path}: {gate.refusal}"
        return
    named = len(gate.comparisons) if verbosity >= 1 else _NAMED
    better = [each for each in gate.comparisons if each.status == "improvement"]
    for comparison in better[:named]:
        yield f"better than the baseline: {comparison.nodeid}: {tell(comparison)}"
    if better:
        more = f"and {len(better) - named:,} more; " if len(better) > named else ""
        yield f"  {more}keep it, so that it can't get lost again: pytest --memalert --memalert-save"
    for old, new in gate.renamed:
        yield f"renamed: {old} is now {new}"
    yield from _names("not in the baseline", gate.new, verbosity)
    yield from _names("in the baseline, but not collected", gate.missing, verbosity)
    tests, *others = gate_counts(gate)
    yield f"gate: {', '.join([f'{tests} compared with {gate.path}', *others])}"


def _names(title: str, nodeids: Sequence[str], verbosity: int) -> Iterator[str]:
    shown = nodeids if verbosity >= 1 else nodeids[:_NAMED]
    if shown:
        how = " (-v names them)" if len(nodeids) > len(shown) else ""
        yield f"{title}: {listed(shown, len(nodeids))}{how}"
