"""Holds what is recommended for what was found; scripted findings, no memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_memalert.attribution.advising.advice import Finding, recommend
from pytest_memalert.attribution.advising.system_advice import recommend_for_memory, recommend_for_system
from pytest_memalert.attribution.allocation.packages import Package
from pytest_memalert.attribution.holding.holder import C_STATE, Holder


def in_module(module: str, variable: str, container: str = "dict") -> Holder:
    return Holder(
        root="module", root_name=module, variable=variable, container=container, hops=(f"module {module}",)
    )


def only(finding: Finding) -> str:
    (text,) = recommend([finding])
    return text


def test_a_module_level_container_is_named_to_be_cleared() -> None:
    text = only(Finding(type="app.Entry", holder=in_module("app.cache", "ITEMS")))
    assert text == "bound or clear `app.cache.ITEMS` (dict), e.g. in a fixture: `app.cache.ITEMS.clear()`"


def test_a_container_of_an_installed_package_names_package_and_version() -> None:
    package = Package(name="lib", version="1.2")
    text = only(Finding(type="lib.Entry", holder=in_module("lib.core", "_cache"), package=package))
    assert "`lib.core._cache` of lib 1.2" in text
    assert "upgrade lib" in text


def test_a_timer_is_to_be_cancelled_whatever_fixture_has_the_loop() -> None:
    bases = frozenset({"asyncio.events.TimerHandle", "asyncio.events.Handle"})
    holder = Holder(root="fixture", root_name="_module_scoped_runner")
    text = only(Finding(type="asyncio.events.TimerHandle", bases=bases, holder=holder))
    assert text.startswith("cancel() the timer")


def test_a_fixture_of_wider_scope_is_named() -> None:
    """To clear it in its teardown was advised, where it would go anyway."""
    text = only(Finding(type="list", holder=Holder(root="fixture", root_name="database")))
    assert text == (
        "the fixture `database` outlives the test and collects: undo in the test what it adds, or give the "
        "fixture function scope"
    )


def test_a_c_extension_is_named_with_its_version() -> None:
    extension = Package(name="fastlib", version="3.0")
    text = only(Finding(type="dict", holder=Holder(root="none"), extension=extension))
    assert text == (
        "a C extension called here lacks a decref, or keeps what it is given: fastlib 3.0, which made it, "
        "the only one seen; upgrade it, or report it"
    )


def test_a_mock_among_what_is_kept_is_not_told_to_be_reset() -> None:
    """One that an error's traceback leads to keeps nothing: the list has the error."""
    holder = replace(
        in_module("app", "ERRORS", container="list"),
        types=("list", "ValueError", "traceback", "frame", "unittest.mock.MagicMock", "app.Job"),
        older_types=("list",),
    )
    assert only(Finding(type="app.Job", holder=holder)).startswith("bound or clear `app.ERRORS` (list)")


def test_several_c_extensions_are_named_with_the_one_that_made_it_last() -> None:
    made = Package(name="arrays", version="1.23.5")
    called = (Package(name="fast", version="1.3"), made, Package(name="own", version=None, is_users=True))
    text = only(
        Finding(type="dict", holder=Holder(root="none"), extension=made, called=called, site="a.py:1 in f")
    )
    assert text == (
        "a C extension called here lacks a decref, or keeps what it is given: fast 1.3, own or arrays "
        "1.23.5, which made it; look there, upgrade fast and arrays, or report it (a.py:1 in f)"
    )


def test_a_bounded_lru_cache_is_not_told_to_get_a_bound() -> None:
    text = only(Finding(type="list", holder=Holder(root="module", root_name="app", lru_cache="app.f")))
    assert "maxsize" not in text
    assert "`app.f.cache_clear()`" in text


def test_what_is_left_in_sys_modules_is_to_be_removed() -> None:
    text = only(Finding(type="module", holder=in_module("sys", "modules")))
    assert "remove from `sys.modules` in teardown" in text


def test_the_same_recommendation_is_given_once() -> None:
    finding = Finding(type="app.Entry", holder=in_module("app", "ITEMS"))
    assert len(recommend([finding, finding])) == 1


def test_the_same_recommendation_for_several_places_is_given_once_with_all_of_them() -> None:
    holder = Holder(root="context", root_name="context variables of the current thread")
    findings = [
        Finding(type="app.Entry", holder=holder, site=site)
        for site in ("a.py:1 in f", "a.py:1 in f", "b.py:2 in g", "c.py:3 in h", "d.py:4 in i")
    ]
    (text,) = recommend(findings)
    assert text.endswith("(a.py:1 in f, b.py:2 in g, c.py:3 in h and 1 more)")


def test_nothing_is_recommended_where_no_holder_is_known() -> None:
    assert recommend([Finding(type="app.Entry")]) == ()


# ------------------------------------------------ what others need is never to be cleared


@pytest.mark.parametrize(
    ("module", "variable", "how"),
    [
        ("os", "environ", "monkeypatch.setenv"),
        ("sys", "path", "monkeypatch.syspath_prepend"),
        ("sys", "modules", "monkeypatch.setitem"),
    ],
)
def test_a_container_of_the_interpreter_is_to_be_restored_and_never_cleared(
    module: str, variable: str, how: str
) -> None:
    text = only(
        Finding(type="str", holder=in_module(module, variable), is_stdlib=True, site="t.py:3 in test")
    )
    assert "in teardown what the test" in text
    assert f"`{module}.{variable}`" in text
    assert f"e.g. with pytest's {how} (t.py:3 in test)" in text
    assert "clear" not in text
    assert "bound" not in text


def test_a_class_of_the_standard_library_is_to_be_restored_and_never_cleared() -> None:
    holder = Holder(root="class", root_name="string.Formatter", variable="known", container="list")
    text = only(Finding(type="str", holder=holder, is_stdlib=True))
    assert text == "undo in teardown what the test adds to `string.Formatter.known`"


def test_the_way_within_an_object_of_the_standard_library_is_told() -> None:
    hops = ("module logging", "root: logging.RootLogger", ".filters: list of 9")
    holder = Holder(
        root="module", root_name="logging", variable="root", container="logging.RootLogger", hops=hops
    )
    text = only(Finding(type="function", holder=holder, is_stdlib=True))
    assert text.endswith("adds to `logging.root`: root: logging.RootLogger > .filters: list of 9")


def test_the_state_that_a_module_keeps_in_c_has_no_name_to_be_cleared_by() -> None:
    text = only(Finding(type="str", holder=in_module("app._native", C_STATE)))
    assert "clear()" not in text
    assert "`app._native`" in text


def test_started_patches_are_to_be_stopped_and_not_reset() -> None:
    holder = Holder(
        root="class",
        root_name="unittest.mock._patch",
        variable="_active_patches",
        container="list",
        types=("list", "unittest.mock._patch"),
    )
    text = only(Finding(type="unittest.mock._patch", holder=holder, is_stdlib=True))
    assert text == "call stop() on the patch that is started, or mock.patch.stopall(), in teardown"


# --------------------------------------------------------------- names, memory, the system


def test_a_namespace_that_gets_names_is_to_lose_them_in_teardown() -> None:
    holder = Holder(
        root="class", root_name="app.Settings", variable="option_7", container="list", gets_names=True
    )
    text = only(Finding(type="list", holder=holder))
    assert "the class `app.Settings` gets a new name in each run, such as `option_7`: delete it" in text
    assert "clear" not in text


def test_what_is_opened_is_to_be_closed_and_what_is_started_to_be_joined() -> None:
    opened, started = recommend_for_system(descriptors=True, threads=True, targets=("/dev/null", "socket"))
    assert opened.startswith("close what the test opens")
    assert "leads to /dev/null, socket" in opened
    assert "join() the thread" in started


def test_memory_of_no_new_object_is_not_said_to_be_native_for_sure() -> None:
    text, _ = recommend_for_memory(place="t.py:3 in test")
    assert text.startswith("native memory, or one large object that grows (str, ")
    assert text.endswith(": it grew at t.py:3 in test: look there")


def test_no_place_is_referred_to_where_none_is_known() -> None:
    text, _ = recommend_for_memory()
    assert "there" not in text


def test_of_native_memory_the_c_extensions_that_the_test_calls_are_named() -> None:
    fast = Package(name="fast", version="1.3")
    own = Package(name="own", version=None, is_users=True)
    text, _ = recommend_for_memory(place="t.py:3 in test", called=(fast, own))
    assert text.endswith(
        "look there; C code of fast 1.3 or own, which the test calls, may lose it: upgrade fast, or report it"
    )


def test_what_is_given_to_the_environment_is_told_to_be_kept_by_the_c_library() -> None:
    text, *_ = recommend_for_memory(environment_at="t.py:3 in test")
    assert text.startswith("the C library keeps each name and value that os.environ was ever given")
    assert text.endswith("(t.py:3 in test)")


def test_the_bookkeeping_of_a_class_is_not_to_be_cleared() -> None:
    """An Enum without its table of values finds no member by value."""
    holder = Holder(root="class", root_name="app.Flag", variable="_value2member_map_", container="dict")
    text = only(Finding(type="app.Flag", holder=holder))
    assert text.startswith("undo in teardown what the test adds to the class `app.Flag`")
    assert "clear" not in text


def test_what_a_class_of_a_library_keeps_is_for_the_library_to_mend() -> None:
    holder = Holder(root="class", root_name="lib.Map", variable="_cache", container="dict")
    text = only(Finding(type="lib.Row", holder=holder, package=Package(name="lib", version="1.2")))
    assert "of lib 1.2 keeps it" in text
    assert "upgrade lib, or report it" in text


def test_of_native_memory_the_users_own_line_is_told_before_the_package() -> None:
    """What the package made may be the user's to let go of, as an array that they make longer."""
    lib = Package(name="lib", version=None)
    text, _ = recommend_for_memory(place="lib/core.py:3 in make", package=lib, caller="t.py:5 in test")
    assert text.endswith(
        "it grew at lib/core.py:3 in make: look at t.py:5 in test, whether what it makes there is kept; "
        "else upgrade lib, or report it"
    )


def test_what_a_package_keeps_is_to_be_closed_where_it_can_be() -> None:
    tornado = Package(name="tornado", version="6.5.10")
    loop = Finding(
        type="tornado.IOLoop",
        site="test_auth.py:420 in test_auth",
        holder=in_module("tornado.ioloop", "LOOPS"),
        package=tornado,
    )
    kept = "`tornado.ioloop.LOOPS` of tornado 6.5.10 keeps it: "
    ways = "clear it in a fixture if it offers a way, upgrade tornado, or report it"
    assert only(loop) == kept + ways
    closing = "call close() on what is made (test_auth.py:420 in test_auth); else "
    assert only(replace(loop, closing="close")) == kept + closing + ways


def test_what_a_package_adds_to_a_fixture_may_be_the_packages_fault() -> None:
    holder = Holder(root="fixture", root_name="jar", hops=("fixture jar",))
    assert only(Finding(type="dict", holder=holder)).endswith("or give the fixture function scope")
    aiohttp = Package(name="aiohttp", version="3.12.2")
    text = only(Finding(type="dict", holder=holder, maker=aiohttp, site="x.py:1 in f"))
    assert text.endswith(
        "if nothing was to be kept there, upgrade aiohttp 3.12.2, or report it (x.py:1 in f)"
    )
