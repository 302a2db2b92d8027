"""Tests whose id changed: which of those that came may be one of those that went."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["match_renamed"]


def match_renamed(known: Collection[str], collected: Collection[str]) -> dict[str, str]:
    """Return candidates for parametrized tests whose id changed: new id -> old id.

    Only where exactly one id of a function went and exactly one came; whether it is the same test, its
    figures must tell.
    """
    gone, came = _by_function(set(known) - set(collected)), _by_function(set(collected) - set(known))
    return {
        new[0]: gone[function][0]
        for function, new in came.items()
        if len(new) == 1 and len(gone.get(function, ())) == 1
    }


def _by_function(nodeids: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for nodeid in nodeids:
        function, bracket, _ = nodeid.partition("[")
        if bracket:
            found.setdefault(function, []).append(nodeid)
    return found
