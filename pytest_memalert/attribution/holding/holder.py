"""What is said of a holder: by which root, and over which objects, something is kept."""

from __future__ import annotations

from typing import Literal

from pytest_memalert.attribution.bounding.bounds import Bound
from pytest_memalert.records import record

__all__ = [
    "AT_EXIT",
    "AUDITED",
    "C_STATE",
    "IN_C",
    "NO_REFERRER",
    "UNREFERRED",
    "UNTRACKED",
    "Holder",
    "Root",
]

RootKind = Literal[
    "module", "class", "hook", "context", "thread", "frame", "fixture", "pytest", "none", "function", "object"
]


NO_REFERRER = "no Python referrer: a missing decref, or held from C"
#: Where functions are registered for the exit, what nothing refers to is most likely theirs.
AT_EXIT = "atexit, which calls it when the interpreter ends"
#: Where audit hooks are added, what nothing refers to is most likely theirs.
AUDITED = "sys.addaudithook(), which lets go of nothing"
#: What is older than the runs was meant to be there: the interpreter's lists of codecs, of what a fork calls.
IN_C = "C code, without a Python referrer"
#: Of strings, bytes and tuples of such only the place is known, not the objects.
UNTRACKED = "something that can't be told: the collector doesn't track such objects"

#: Stands for the variable where a module keeps something in C alone.
C_STATE = "its C state"


@record(frozen=True, slots=True, kw_only=True)
class Holder:
    """Say what holds a survivor: text and types only, no object.

    ``hops`` is for people, from the root to the survivor, ``way`` the same without numbers, which differ from
    run to run. ``variable`` is the root's name for
    the first holder, ``container`` that holder's type, ``types`` all types on the way.
    ``identity`` names the root without numbers or keys. ``keeper`` is the last object on the way that
    was there before the runs, its identity and its length (0 if it has none); None where there is none.
    ``by_way_of`` has the same of what comes before it.
    ``gets_names`` says that a module or class gets new names in each run, ``variable`` being one of them or
    not known. ``full`` is the bound of a holder that evicts and is full, ``full_by`` has its identity and
    those of its parts: another one keeps what stays. ``keeps_weak_key`` says that what a
    WeakKeyDictionary has for a key leads to that key, so that neither ever goes, ``is_raised_again`` that an
    exception of before the runs keeps their tracebacks. ``default_of`` is the parameter whose default value
    it is, and the function. ``is_set_anew`` says that each run sets the root's variable to another function,
    which leads to the one before. ``owner`` is the type of the last instance on the way that was there before
    and is no built-in container, ``owner_keeps_in`` its attribute, ``owner_clears`` its method that lets go.
    ``older_types`` are the types of all on the way that were there before.
    ``is_timer`` says that the thread at the root is a ``threading.Timer``.
    ``bounded`` is set where a holder on the way evicts and is not yet full; ``bounded_by`` is its
    identity, for a search without it.
    """

    root: RootKind
    root_name: str = ""
    variable: str | None = None
    container: str | None = None
    types: tuple[str, ...] = ()
    hops: tuple[str, ...] = ()
    way: tuple[str, ...] = ()
    identity: str = ""
    keeper: tuple[int, int] | None = None
    by_way_of: tuple[tuple[int, int], ...] = ()
    gets_names: bool = False
    bounded: Bound | None = None
    full: Bound | None = None
    full_by: frozenset[int] = frozenset()
    keeps_weak_key: bool = False
    is_raised_again: bool = False
    default_of: tuple[str, str] | None = None
    is_set_anew: bool = False
    owner: str | None = None
    owner_keeps_in: str | None = None
    owner_clears: str | None = None
    older_types: tuple[str, ...] | None = None
    bounded_by: frozenset[int] = frozenset()
    lru_cache: str | None = None
    lru_cache_on_method: bool = False
    lru_cache_unbounded: bool = False
    thread_target: str | None = None
    is_timer: bool = False


#: Of what nothing visible refers to.
UNREFERRED = Holder(root="none", root_name=NO_REFERRER, hops=(NO_REFERRER,), identity="none")


@record(slots=True)
class Root:
    """Hold what a path begins at; ``local`` is the name of a variable that refers to what comes first.

    ``identity`` is what stays of the name when lines are added, or threads counted, if that isn't all of it.
    """

    kind: RootKind
    name: str
    local: str | None = None
    identity: str | None = None
