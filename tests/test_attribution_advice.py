"""Holds what is recommended for what was found; scripted findings, no memory."""

from __future__ import annotations

from pytest_memalert.attribution.advice import Finding, Package, recommend
from pytest_memalert.attribution.holders import Holder


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


def test_a_fixture_of_wider_scope_is_named() -> None:
    text = only(Finding(type="list", holder=Holder(root="fixture", root_name="database")))
    assert "the fixture `database` outlives the test" in text


def test_a_c_extension_is_named_with_its_version() -> None:
    extension = Package(name="fastlib", version="3.0")
    text = only(Finding(type="dict", holder=Holder(root="none"), extension=extension))
    assert "fastlib 3.0 (a C extension)" in text
    assert "upgrade fastlib" in text


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


def test_nothing_is_recommended_where_no_holder_is_known() -> None:
    assert recommend([Finding(type="app.Entry")]) == ()
