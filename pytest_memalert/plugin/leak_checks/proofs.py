"""What leaks were proven to be, kept in pytest's cache: the next session knows each again by two runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.codec import decode_survivor, encode_environment, encode_survivor
from pytest_memalert.errors import MemalertError
from pytest_memalert.json_fields import (
    read_each,
    read_number,
    read_number_or_none,
    read_object,
    read_text,
    read_text_or_none,
    read_texts,
    read_time,
    read_whole,
)
from pytest_memalert.model import Environment, LeakAnalysis
from pytest_memalert.plugin.leak_checks.cached import read_cached, write_cached

if TYPE_CHECKING:
    from pytest_memalert.hunting.recognition import Proof

__all__ = ["Proofs", "decode_proof", "encode_proof", "write_proofs"]

_KEY = "memalert/leaks"
#: 1: {"format", "environment", "tests": {node id: {"proven_at", "proof"}}}
_FORMAT = 1
# Nothing is believed for ever, such as that an outside service is what it was.
_HOLDS_FOR = timedelta(days=14)
# A suite with more leaking tests than these has another trouble; the latest are kept.
_MOST = 1000


class Proofs:
    """Hold what leaks of tests were proven to be in earlier sessions of this environment.

    They are read when the first is asked for: most sessions know of no test that leaks.
    """

    def __init__(self, config: pytest.Config, environment: Environment) -> None:
        self._config, self._environment = config, environment

    @cached_property
    def _tests(self) -> Mapping[str, Any]:
        return _read(self._config, self._environment)

    def find(self, nodeid: str, *, changed_at: datetime) -> Proof | None:
        """Return what a test was proven to leak; None where the code has changed since, or it is long ago."""
        try:
            entry = read_object(self._tests[nodeid])
            proven_at = read_time(entry, "proven_at")
            if not max(changed_at, utc_now() - _HOLDS_FOR) < proven_at <= utc_now():
                return None
            return decode_proof(entry["proof"])
        except (KeyError, MemalertError):  # a cache is no contract: the leak is proven anew
            return None


def write_proofs(
    config: pytest.Config,
    proofs: Mapping[str, Mapping[str, object]],
    environment: Environment,
    *,
    proven_at: datetime,
) -> None:
    """Keep the proofs of a session, by node id, beside those of earlier ones; nothing without a cache.

    ``proven_at`` is when the session began: of what was changed meanwhile, nobody knows which code it ran.
    """
    tests = {nodeid: entry for nodeid, entry in _read(config, environment).items() if nodeid not in proofs}
    for nodeid, proof in proofs.items():
        tests[nodeid] = {"proven_at": proven_at.isoformat(), "proof": proof}
    kept = dict(list(tests.items())[-_MOST:])
    entry = {"format": _FORMAT, "environment": encode_environment(environment), "tests": kept}
    write_cached(config, _KEY, entry)


def encode_proof(proof: Proof) -> dict[str, object]:
    """Return a proof as a dict of JSON types."""
    left, analysis = proof.left, proof.analysis
    return {
        "kinds": sorted(map(list, left.kinds)),
        "times": left.times,
        "blocks": left.blocks,
        "heap_bytes": left.heap_bytes,
        "bytes_per_run": analysis.bytes_per_run,
        "survivors": [encode_survivor(survivor) for survivor in analysis.survivors],
        "component": analysis.component,
        "confidence": analysis.confidence,
        "signature": analysis.signature,
        "grown_at": list(analysis.grown_at),
        "recommendations": list(analysis.recommendations),
    }


def decode_proof(entry: object) -> Proof:
    """Return the proof of such a dict; raises MemalertError."""
    from pytest_memalert.hunting.questions import Left
    from pytest_memalert.hunting.recognition import Proof

    known = read_object(entry)
    left = Left(
        kinds=frozenset(read_each(known, "kinds", _decode_kind)),
        times=read_whole(known, "times"),
        blocks=read_number(known, "blocks"),
        heap_bytes=read_number(known, "heap_bytes"),
    )
    analysis = LeakAnalysis(
        status="leaking",
        bytes_per_run=read_number_or_none(known, "bytes_per_run"),
        survivors=read_each(known, "survivors", decode_survivor),
        component=read_text(known, "component"),
        confidence=read_number_or_none(known, "confidence"),
        signature=read_text_or_none(known, "signature"),
        grown_at=read_texts(known, "grown_at"),
        recommendations=read_texts(known, "recommendations"),
    )
    return Proof(left=left, analysis=analysis)


def _decode_kind(entry: object) -> tuple[str, int]:
    if isinstance(entry, list) and len(entry) == 2:
        name, count = entry
        if isinstance(name, str) and type(count) is int:
            return name, count
    raise MemalertError(f"{entry!r} is no type with a count")


def _read(config: pytest.Config, environment: Environment) -> dict[str, Any]:
    """Return the entries by node id, those of this environment alone."""
    entry = read_cached(config, _KEY)
    if not isinstance(entry, dict) or entry.get("format") != _FORMAT:
        return {}
    tests = entry.get("tests")
    is_alike = entry.get("environment") == encode_environment(environment)
    return tests if is_alike and isinstance(tests, dict) else {}
