"""What to do about what the system lost: native memory, descriptors, threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_memalert.attribution.advising.advice import MOST_SUSPECTS, one_of
from pytest_memalert.attribution.allocation.packages import Package
from pytest_memalert.records import record

__all__ = ["Opening", "recommend_for_memory", "recommend_for_memory_beside", "recommend_for_system"]

_GROWING = "str, bytes, bytearray, int, array, io.BytesIO, an array of NumPy's"


@record(frozen=True, slots=True, kw_only=True)
class Opening:
    """Say where something is opened that stays open: in whose package, if installed, and who called it."""

    place: str
    caller: str | None = None
    package: Package | None = None


def recommend_for_system(
    *, descriptors: bool, threads: bool, targets: Iterable[str] = (), places: Sequence[Opening] = ()
) -> tuple[str, ...]:
    """Return what to do about descriptors and threads.

    ``targets`` is what the descriptors lead to, ``places`` where they are opened, as far as is known.
    """
    texts = []
    if descriptors:
        led = ", ".join(targets)
        whereto = f" (what stays open leads to {led})" if led else ""
        if not places:
            texts.append(f"close what the test opens, by a context manager or in teardown{whereto}")
        texts += [f"{_for_opening(opening)}{whereto}" for opening in places]
    if threads:
        texts.append("end and join() the thread that the test starts, or make it a fixture that does")
    return tuple(texts)


def _for_opening(opening: Opening) -> str:
    called = f", called at {opening.caller}" if opening.caller else ""
    if opening.package is None:
        return f"close what is opened at {opening.place}{called}, by a context manager or in teardown"
    return (
        f"{opening.package} opens it at {opening.place}{called}: close what is made there if it offers a "
        f"way, else upgrade {opening.package.name}, or report it"
    )


def recommend_for_memory(
    *,
    place: str | None = None,
    function: str | None = None,
    package: Package | None = None,
    caller: str | None = None,
    called: Sequence[Package] = (),
    environment_at: str | None = None,
) -> tuple[str, ...]:
    """Return what to do about memory that no new object accounts for; None is not known.

    An object that grows is none that is new. ``caller`` is where the user's code called the package,
    ``called`` are those with functions in C that the test calls, and ``environment_at`` is where it sets
    variables of the environment.
    """
    during = f"in {function} " if function else ""
    facts = f"it grew {during}at {place}" if place else None
    if package is not None:
        first = f"look at {caller}, whether what it makes there is kept; else " if caller else ""
        task = f"{first}upgrade {package}, or report it"
    else:
        task = "look there" if place else "look for what the test adds to"
        task += _extensions_in(called) or ("" if place else ", and for a C extension called by it")
    first = ": ".join(
        filter(None, (f"native memory, or one large object that grows ({_GROWING})", facts, task))
    )
    last = "if no object grows, run it under memray with --native to see the C stack"
    if environment_at is None or package is not None:
        return first, last
    environment = (
        "the C library keeps each name and value that os.environ was ever given: set the same ones in each "
        f"run ({environment_at})"
    )
    return environment, first, last


def _extensions_in(called: Sequence[Package]) -> str:
    """Return which C extensions may lose memory, and what to do about them; nothing where none is known."""
    suspects = called[:MOST_SUSPECTS]
    installed = [package.name for package in suspects if not package.is_users]
    if not suspects:
        return ""
    upgrade = f": upgrade {' and '.join(installed)}, or report it" if installed else ""
    return f"; C code of {one_of(list(map(str, suspects)))}, which the test calls, may lose it{upgrade}"


def recommend_for_memory_beside(*, place: str | None = None, function: str | None = None) -> str:
    """Return what to do about native memory that is lost with objects: what they own, or the leak itself."""
    during = f"in {function} " if function else ""
    facts = f" (it grew {during}at {place})" if place else ""
    return (
        f"native memory is lost, too, which these objects own, or which is lost beside them{facts}: "
        "if it stays when they go, run it under memray with --native to see the C stack"
    )
