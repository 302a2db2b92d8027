"""Recommendations: what a person can do about a leak, from what was found. Pure.

Each names the user's own code: the module, the variable, the class, the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import NoReturn

from pytest_memalert.attribution.allocation.packages import Package
from pytest_memalert.attribution.holding.edges import MADE_OF
from pytest_memalert.attribution.holding.holder import C_STATE, IN_C, UNTRACKED, Holder
from pytest_memalert.records import record

__all__ = ["MOST_SUSPECTS", "TASKS", "Finding", "one_of", "recommend"]

_CLEARABLE = frozenset(
    {
        "dict",
        "list",
        "set",
        "collections.deque",
        "collections.OrderedDict",
        "collections.defaultdict",
        "bytearray",
    }
)
_REGISTRY = re.compile(
    r"callback|handler|listener|observer|subscri|hook|registr|receiver|signal|plugin", re.IGNORECASE
)
#: What a class keeps for itself, as an Enum the table of its values: not for others to clear.
_BOOKKEEPING = re.compile(r"_\w+_")
#: What is put in is to be got out.
_QUEUES = frozenset(
    {
        *(f"queue.{kind}" for kind in ("Queue", "LifoQueue", "PriorityQueue")),
        "_queue.SimpleQueue",
        *(f"asyncio.queues.{kind}" for kind in ("Queue", "LifoQueue", "PriorityQueue")),
    }
)
#: So many places are told for one recommendation, in the place of which this stands meanwhile.
_MOST_PLACES = 3
_PLACES = "\0"
#: So many C extensions are named.
MOST_SUSPECTS = 3
_MOCK_MODULE = "unittest.mock."
#: The class whose list holds the patches that were started.
_STARTED_PATCHES = "unittest.mock._patch"
#: What of pytest's undoes a change to a container of the standard library.
_UNDOING = {
    "os.environ": "monkeypatch.setenv",
    "sys.path": "monkeypatch.syspath_prepend",
    "sys.modules": "monkeypatch.setitem",
}
#: What two modules have, and which of them is asked to add to it.
_ADDED_TO_BY = {"copy.dispatch_table": "copyreg.dispatch_table"}
#: What tells of the function that was registered before.
_BEFORE = {
    "sys.settrace()": "what sys.gettrace() told before",
    "sys.setprofile()": "what sys.getprofile() told before",
    "threading._trace_hook": "what threading.gettrace() told before",
    "threading._profile_hook": "what threading.getprofile() told before",
}
_GENERATORS = frozenset({"generator", "coroutine", "async_generator"})
#: The types of asyncio's tasks.
TASKS = frozenset({"_asyncio.Task", "asyncio.tasks.Task", "asyncio.Task"})


@record(frozen=True, slots=True, kw_only=True)
class Finding:
    """Hold what is known of one kind of survivor.

    ``bases`` are the names of the type and of all it derives from. ``site`` is where it is made,
    ``entered_at`` where the entry is made of the container that keeps it, if another object is that.
    ``package`` is the package of the root that holds it, if installed; ``is_stdlib`` says that this root is
    of the standard library or the interpreter. ``extension`` is that of the compiled code which made it, or
    of the code that called it where that package has some. ``called`` are the packages, and modules of the
    user's own, whose functions in C the test calls, ``by_ctypes`` is where it does so by ctypes. ``owner``
    is the package of the instance that keeps it, where that is within a variable of the user's. ``is_over``
    says that all are threads or tasks that have ended: what keeps them is the matter. ``closing`` is the
    method of the type that ends what its objects do, where it wasn't called, and ``maker`` the package in
    whose code they are made, or the entry. ``registered`` has the functions that the test calls and that
    keep what they are given, as ``sys.addaudithook``, each with the place. ``opaque`` are variables
    that each run sets to a longer value, into which can't be looked.
    """

    type: str
    bases: frozenset[str] = frozenset()
    site: str | None = None
    entered_at: str | None = None
    holder: Holder | None = None
    package: Package | None = None
    is_stdlib: bool = False
    extension: Package | None = None
    called: tuple[Package, ...] = ()
    by_ctypes: str | None = None
    owner: Package | None = None
    is_over: bool = False
    at_exit: bool = False
    closing: str | None = None
    maker: Package | None = None
    registered: Mapping[str, str] = field(default_factory=dict)
    opaque: tuple[str, ...] = ()


def recommend(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return what to do about these survivors, the most specific first, the same for several places once."""
    texts: dict[str, str] = {}
    places: dict[str, dict[str, None]] = {}
    for finding in findings:
        for text in _for_one(finding):
            told = (site for site in (finding.entered_at, finding.site) if site and f" ({site})" in text)
            site = next(told, None)
            before, at, after = text.partition(f" ({site})")
            key = before + after
            sites = places.setdefault(key, {})
            if at and site:
                texts[key] = f"{before}{_PLACES}{after}"
                sites[site] = None
            texts.setdefault(key, key)
    return tuple(text.replace(_PLACES, _among(tuple(places[key]))) for key, text in texts.items())


def _among(sites: tuple[str, ...]) -> str:
    """Return some places in brackets, the first few of them."""
    more = f" and {len(sites) - _MOST_PLACES} more" if len(sites) > _MOST_PLACES else ""
    return f" ({', '.join(sites[:_MOST_PLACES])}{more})" if sites else ""


def one_of(names: list[str]) -> str:
    """Return "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _for_one(finding: Finding) -> Iterable[str]:
    holder = finding.holder
    types = {finding.type, *(holder.types if holder else ())}
    thread = holder is not None and holder.root == "thread"
    if finding.at_exit:
        yield "call atexit.unregister(...) in teardown for what the test registers with atexit" + _at(finding)
        return
    if thread or ("threading.Thread" in finding.bases and not finding.is_over):
        target = holder.thread_target if holder is not None else None
        running = f" running `{target}`" if target else ""
        is_timer = "threading.Timer" in finding.bases or (holder is not None and holder.is_timer)
        end = f"cancel() and join() the timer{running}" if is_timer else f"end and join() the thread{running}"
        yield f"{end} in teardown, or make it a fixture that does{_at(finding)}"
        return
    is_named = holder is not None and holder.root in ("module", "class", "fixture")
    if (finding.bases & TASKS and not finding.is_over) or (types & TASKS and not is_named):
        yield f"cancel() and await the task before the test ends{_at(finding)}"
    elif types & _GENERATORS:
        yield f"close() the generator or await the coroutine that is kept{_at(finding)}"
    if "asyncio.events.TimerHandle" in finding.bases:
        yield f"cancel() the timer that call_later() or call_at() sets before the test ends{_at(finding)}"
        return
    if holder is not None and holder.root == "class" and holder.root_name == _STARTED_PATCHES:
        yield f"call stop() on the patch that is started, or mock.patch.stopall(), in teardown{_at(finding)}"
        return
    kept_by: tuple[str, ...] = ()
    if holder is not None and holder.lru_cache is None:
        # A mock among what is kept keeps nothing: its call was the test's.
        kept_by = holder.types[:-1] if holder.older_types is None else holder.older_types
    if any(name.startswith(_MOCK_MODULE) for name in kept_by):
        yield f"call reset_mock() on {_where(holder) or 'the mock'} in a fixture: a mock keeps every call"
        return
    if finding.bases & {"logging.Logger", "logging.PlaceHolder"}:
        yield f"use constant names with logging.getLogger(): each name is kept for ever{_at(finding)}"
    elif "logging.Handler" in finding.bases:
        yield f"call removeHandler() in teardown for the logging handler that the test adds{_at(finding)}"
    elif holder is not None:
        yield from _for_holder(replace(finding, site=finding.entered_at or finding.site), holder)


def _for_holder(finding: Finding, holder: Holder) -> Iterable[str]:
    name = _where(holder)
    if holder.is_raised_again:
        kept = f"the one that `{name}` keeps" if name else "one that is kept"
        yield f"make a new exception each time: {kept} gets longer by a traceback whenever it is raised"
        return
    if "itertools._tee_dataobject" in (finding.type, *holder.types):
        which = f", `{name}`," if name else ""
        yield (
            f"an iterator of itertools.tee(){which} keeps what another one has read: read from both, or drop "
            f"the one that isn't read from{_at(finding)}"
        )
        return
    if holder.keeps_weak_key:
        where = f" in `{name}`" if name else ""
        yield (
            f"an entry of a WeakKeyDictionary{where} leads to its own key, so that it never goes: "
            f"refer to the key by weakref.ref, or delete the entry{_at(finding)}"
        )
    if holder.default_of is not None:
        parameter, function = holder.default_of
        yield (
            f"the default value of `{parameter}` of `{function}` keeps it: let it be None, and make a new "
            f"one in each call{_at(finding)}"
        )
    elif holder.lru_cache is not None:
        yield _for_lru_cache(holder)
    elif holder.gets_names:
        such = f", such as `{holder.variable}`" if holder.variable else ""
        yield (
            f"the {holder.root} `{holder.root_name}` gets a new name in each run{such}: delete it "
            f"in teardown, or set it with pytest's monkeypatch.setattr(..., raising=False){_at(finding)}"
        )
    elif holder.is_set_anew and (holder.root == "hook" or name in _BEFORE):
        registered, _, which = (name or holder.root_name).partition(" for ")
        before = _BEFORE.get(registered, f"the handler that {registered} returned for {which}")
        yield f"restore in teardown {before}: what each run registers keeps the one before{_at(finding)}"
    elif holder.is_set_anew and name and (finding.package is None or finding.package != finding.maker):
        made = f" of {finding.maker}" if finding.maker else ""
        yield (
            f"restore `{name}` in teardown, or set it by pytest's monkeypatch or mock.patch: each run sets "
            f"it to a new function{made}, which keeps the one before{_at(finding)}"
        )
    elif holder.root == "none":
        yield _for_native_holder(finding)
    elif holder.root == "module":
        yield from _for_module(finding, holder, name or holder.root_name)
    elif holder.root == "class":
        yield _for_class(finding, holder, name)
    elif holder.root == "context":
        if holder.variable:
            yield (
                f"reset the context variable `{holder.variable}` when done, by the token that set() "
                f"returns{_at(finding)}"
            )
        else:
            yield (
                "reset the context variables that the test sets, by the tokens that set() returns, and make "
                f"each ContextVar once, at a module's level{_at(finding)}"
            )
    elif holder.root == "fixture":
        yield _for_fixture(finding, holder)
    elif holder.root == "frame":
        yield f"drop the reference `{holder.variable}` in {holder.root_name}, which is still running"
    elif holder.root == "function" or holder.root == "object" or holder.root == "hook":
        first = _way(holder)[: 3 if holder.root == "hook" else 2]
        yield f"clear what {' > '.join(first)} keeps between calls"
    elif holder.root == "pytest":
        yield f"{holder.root_name} of pytest keeps it: undo in teardown what the test registers{_at(finding)}"
    elif holder.root != "thread":  # of which all is said: end it
        _assert_never(holder.root)


def _assert_never(root: NoReturn) -> NoReturn:
    """Have mypy tell which root is left out: ``typing.assert_never``, which Python 3.10 lacks."""
    raise AssertionError(root)


def _for_module(finding: Finding, holder: Holder, name: str) -> Iterable[str]:
    module, variable = holder.root_name, holder.variable or ""
    if module == "gc" and variable == "garbage":
        yield f"gc.garbage keeps it: break the reference cycle, or turn off gc.DEBUG_SAVEALL{_at(finding)}"
    elif variable == "__warningregistry__":
        yield f"use a constant text in the warnings raised in `{module}`: each text is kept"
    elif module == "sys" and variable in ("modules", "path_importer_cache", "meta_path", "path_hooks"):
        how = _undoing(name)
        yield f"remove from `{name}` in teardown what the test imports or adds{how}{_at(finding)}"
    elif module.startswith("linecache"):
        yield "call linecache.clearcache() in a fixture: generated source is kept there"
    elif finding.is_stdlib:
        yield _for_stdlib(finding, holder, name)
    elif finding.package is not None:
        yield _for_package(finding, finding.package, name)
    elif finding.owner is not None and _is_private(holder):
        yield _for_owner(finding.owner, holder, name)
    elif "mappingproxy" in holder.types and holder.container == "function":
        yield (
            f"`{name}` is of functools.singledispatch, which lets go of no type: register each type once, or "
            f"make such a function in the test{_at(finding)}"
        )
    elif _REGISTRY.search(variable) or any(_REGISTRY.search(hop) for hop in holder.hops[1:]):
        yield f"unregister in teardown what the test registers in `{name}`{_at(finding)}"
    elif _is_clearable(holder):
        first = _closing_first(finding)
        yield f"{first}bound or clear `{name}` ({holder.container}), e.g. in a fixture: `{name}.clear()`"
    elif holder.container in _QUEUES:
        yield (
            f"take out what the test puts into `{name}` ({holder.container}), in teardown by get_nowait() "
            f"until it is empty, or make a new queue for each test{_at(finding)}"
        )
    else:
        yield f"{_closing_first(finding)}bound or clear what `{name}` keeps: {' > '.join(_way(holder)[1:])}"


def _for_class(finding: Finding, holder: Holder, name: str | None) -> str:
    if holder.root_name == "weakref.finalize":
        return f"call detach() on the weakref.finalize that is made, or drop what it watches{_at(finding)}"
    if finding.is_stdlib:
        return _for_stdlib(finding, holder, name)
    if finding.package is not None:
        return _for_package(finding, finding.package, name)
    if finding.owner is not None and _is_private(holder):
        return _for_owner(finding.owner, holder, name or holder.root_name)
    if holder.variable == MADE_OF or _BOOKKEEPING.fullmatch(holder.variable or ""):
        return f"undo in teardown what the test adds to the class `{holder.root_name}`{_at(finding)}"
    clear = f", e.g. in a fixture: `{name}.clear()`" if _is_clearable(holder) else ""
    first = _closing_first(finding)
    return f"{first}bound or clear `{name}` ({holder.container}), which the class keeps for every test{clear}"


def _closing_first(finding: Finding) -> str:
    """Return that what is kept is to be closed, where it is open; tasks and generators have been told of."""
    if finding.closing is None or finding.type in _GENERATORS:
        return ""
    return f"call {finding.closing}() on what is made, and "


def _is_private(holder: Holder) -> bool:
    """Return whether an instance keeps it where it is for the instance alone to let go of it."""
    return (holder.owner_keeps_in or "").startswith("_") and holder.owner_clears is None


def _for_owner(owner: Package, holder: Holder, name: str) -> str:
    return (
        f"`{name}` keeps it in `{holder.owner_keeps_in}`, which is for {owner} to clear: "
        f"upgrade {owner.name}, or report it; else make a new `{name}` for each test"
    )


def _for_stdlib(finding: Finding, holder: Holder, name: str | None) -> str:
    """Return what to do about what the interpreter's own containers keep: others need what is in them."""
    is_told = _is_clearable(holder) or not holder.hops[1:]
    way = "" if is_told else f": {' > '.join(_way(holder)[1:])}"
    undo = f"undo in teardown what the test adds to `{name}`{_undoing(name)}{way}{_at(finding)}"
    if finding.maker is None:
        return undo
    maker = finding.maker
    return (
        f"`{name}` keeps what {maker} makes: upgrade {maker.name}, or report it, if it adds that; else {undo}"
    )


def _undoing(name: str | None) -> str:
    """Return what of pytest's does it, where there is something."""
    return f", e.g. with pytest's {_UNDOING[name]}" if name in _UNDOING else ""


def _for_package(finding: Finding, package: Package, name: str | None) -> str:
    keeps = f"`{name}` of {package} keeps it" if name else f"{package} keeps it"
    ways = f"clear it in a fixture if it offers a way, upgrade {package.name}, or report it"
    if finding.closing is not None:
        ways = f"call {finding.closing}() on what is made{_at(finding)}; else {ways}"
    return f"{keeps}: {ways}"


def _for_fixture(finding: Finding, holder: Holder) -> str:
    text = (
        f"the fixture `{holder.root_name}` outlives the test and collects: {_closing_first(finding)}undo in "
        "the test what it adds, or give the fixture function scope"
    )
    if finding.maker is None:
        return text
    maker = finding.maker
    return f"{text}; if nothing was to be kept there, upgrade {maker}, or report it{_at(finding)}"


def _for_lru_cache(holder: Holder) -> str:
    if holder.lru_cache_on_method:
        return (
            f"lru_cache on the method `{holder.lru_cache}` keeps every `self`: use a cache per instance "
            "(functools.cached_property, or a dict in __init__)"
        )
    advice = "give it a maxsize, or " if holder.lru_cache_unbounded else ""
    cache = holder.lru_cache
    return f"lru_cache of `{cache}` keeps it: {advice}call `{cache}.cache_clear()` in a fixture"


def _for_native_holder(finding: Finding) -> str:
    if (place := finding.registered.get("sys.addaudithook")) is not None:
        return f"sys.addaudithook() lets go of nothing: add the hook once per session ({place})"
    if (place := finding.registered.get("sqlite3.Connection")) is not None:
        return (
            "the sqlite3.Connection keeps the functions that it is given: close it in teardown, or give it "
            f"None for each of these names ({place})"
        )
    if finding.opaque:
        named = one_of(list(finding.opaque[:MOST_SUSPECTS]))
        return (
            f"{named} may keep it, which each run sets to a longer value that can't be looked into: bound or "
            f"reset it; else a C extension called here may lack a decref{_at(finding)}"
        )
    lacks = _lacking(finding)
    if finding.holder is not None and finding.holder.root_name == UNTRACKED:
        keeps = "find what keeps what is made here: bytes, strings, tuples of such"
        if lacks is None:
            return f"{keeps}; a C extension that lacks a decref may, too{_at(finding)}"
        first, second = (lacks, keeps) if finding.extension is not None else (keeps, lacks)
        return f"{first}; or {second}{_at(finding)}"
    if finding.holder is not None and finding.holder.root_name == IN_C:
        return _for_list_in_c(finding, finding.holder.types[0])
    if lacks is None:
        return (
            f"look for a C extension called here that lacks a decref, or keeps what it is given{_at(finding)}"
        )
    return f"{lacks}{_at(finding)}"


def _for_list_in_c(finding: Finding, kind: str) -> str:
    """Return what to do about a list of the interpreter's: by which function it grew can't be asked."""
    ways = {
        "codecs.register": "call codecs.unregister() in teardown for what codecs.register() is given",
        "os.register_at_fork": "call os.register_at_fork() once per session, which lets go of nothing",
    }
    called = finding.registered
    known = [f"{way} ({called[name]})" for name, way in ways.items() if name in called and kind == "list"]
    how = " or ".join(known) or "undo in teardown what is registered"
    return f"C code keeps it in a {kind}: {how}"


def _lacking(finding: Finding) -> str | None:
    """Return which C extensions may keep something, as far as is known, and what to do; None of none.

    Who made it needn't be who keeps it: any that is called may be given it.
    """
    maker = finding.extension
    suspects = [package for package in finding.called if package != maker][:MOST_SUSPECTS]
    named = [str(package) for package in suspects]
    if finding.by_ctypes is not None:
        named.append(f"what is called by ctypes ({finding.by_ctypes})")
    installed = [package for package in suspects if not package.is_users]
    if maker is not None:
        named.append(f"{maker}, which made it")
        installed += [] if maker.is_users else [maker]
    if not named:
        return None
    is_all = len(installed) == len(named)
    them = "it" if len(installed) == 1 and is_all else " and ".join(package.name for package in installed)
    tasks = [] if is_all else ["look there"]
    tasks += [f"upgrade {them}, or report it"] if installed else []
    told = one_of(named) if len(named) > 1 else f"{named[0]}, the only one seen"
    return f"a C extension called here lacks a decref, or keeps what it is given: {told}; {', '.join(tasks)}"


def _where(holder: Holder | None) -> str | None:
    if holder is None or holder.root not in ("module", "class"):
        return None
    if not holder.variable or holder.variable == C_STATE:
        return holder.root_name
    joint = "" if holder.variable.startswith("[") else "."
    name = f"{holder.root_name}{joint}{holder.variable}"
    return _ADDED_TO_BY.get(name, name)


def _way(holder: Holder) -> tuple[str, ...]:
    """Return the hops, without the numbers that are others in each run."""
    return holder.way or holder.hops


def _is_clearable(holder: Holder) -> bool:
    return holder.container in _CLEARABLE and holder.variable != C_STATE


def _at(finding: Finding) -> str:
    return f" ({finding.site})" if finding.site else ""
