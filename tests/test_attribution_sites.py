"""Holds how allocation sites are cut, named and told apart by whose code they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import _pytest.runner
import pluggy
import pytest

from pytest_memalert.attribution.allocation import sites

USER = (__file__, 1)
STDLIB = (json.__file__, 10)
PYTEST = (_pytest.runner.__file__, 20)
PLUGGY = (pluggy.__file__, 30)
LIBRARY = ("/venv/lib/python3.12/site-packages/library/core.py", 40)
PLUGIN = ("/venv/lib/python3.12/site-packages/pytest_something.py", 50)
GENERATED = ("<attrs generated init>", 1)


def test_files_are_told_apart_by_whose_code_they_are() -> None:
    assert sites.origin_of(USER[0]) == "user"
    assert sites.origin_of(STDLIB[0]) == "stdlib"
    assert sites.origin_of(PYTEST[0]) == "framework"
    assert sites.origin_of(PLUGGY[0]) == "framework"
    assert sites.origin_of(PLUGIN[0]) == "framework"
    assert sites.origin_of("<doctest app.f[0]>") == "user"
    assert sites.origin_of(LIBRARY[0]) == "library"
    assert sites.origin_of(GENERATED[0]) == "generated"
    assert sites.origin_of(sites.__file__) == "own"


def test_the_users_frames_are_kept_and_the_rest_is_cut() -> None:
    assert sites.useful((STDLIB, USER, PLUGGY, PYTEST)) == (USER,)


def test_a_line_that_calls_itself_is_named_once() -> None:
    """Up to 3.11 a comprehension is a function, called from its own line."""
    other = (__file__, 2)
    assert sites.useful((USER, USER, other)) == (USER, other)


def test_a_file_is_named_though_the_test_patches_the_current_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with mock.patch("os.getcwd"), of which ``Path.cwd`` makes a TypeError from 3.12 on."""
    monkeypatch.setattr(Path, "cwd", lambda: object())
    assert sites.place(USER).startswith(USER[0])


def test_the_library_that_the_user_called_comes_first() -> None:
    assert sites.useful((STDLIB, LIBRARY, STDLIB, USER, PYTEST)) == (LIBRARY, USER)


def test_a_library_that_called_the_user_is_cut() -> None:
    assert sites.useful((USER, LIBRARY, PYTEST)) == (USER,)


def test_without_a_user_the_library_is_shown() -> None:
    assert sites.useful((STDLIB, LIBRARY, PYTEST)) == (LIBRARY,)


def test_without_either_the_standard_library_is_shown() -> None:
    assert sites.useful((STDLIB,)) == (STDLIB,)


def test_what_pytest_and_its_plugins_allocate_is_the_frameworks() -> None:
    assert sites.is_framework((PYTEST, PLUGGY))
    assert sites.is_framework((STDLIB, PLUGIN, PYTEST))


def test_what_pytest_allocates_for_the_user_is_the_users() -> None:
    assert not sites.is_framework((PYTEST, USER, PYTEST))
    assert not sites.is_framework((LIBRARY, PYTEST))


def test_the_standard_library_alone_is_nobodys() -> None:
    assert not sites.is_framework((STDLIB,))
    assert not sites.is_framework(())


def test_a_site_is_told_with_line_and_function(tmp_path: Path) -> None:
    source = tmp_path / "app.py"
    source.write_text("class Cache:\n    def put(self):\n        return []\n\nITEMS = []\n")
    assert sites.describe((str(source), 3)) == f"{source}:3 in Cache.put"
    assert sites.describe((str(source), 5)) == f"{source}:5 in <module>"


def test_a_place_has_no_line(tmp_path: Path) -> None:
    source = tmp_path / "app.py"
    source.write_text("def put():\n    return []\n")
    assert sites.place((str(source), 2)) == f"{source} in put"


def test_an_edited_file_is_told_by_its_new_functions(tmp_path: Path) -> None:
    source = tmp_path / "app.py"
    source.write_text("def put():\n    return []\n")
    os.utime(source, (1, 1))
    assert sites.place((str(source), 2)) == f"{source} in put"
    source.write_text("def fill():\n    return []\n")
    assert sites.place((str(source), 2)) == f"{source} in fill"


def test_a_site_without_its_source_is_told_by_line() -> None:
    assert sites.describe(LIBRARY) == "library/core.py:40"


def test_a_component_is_the_package_of_the_site() -> None:
    assert sites.component_of((LIBRARY, USER)) == "library"
    assert sites.component_of(()) == ""


def test_the_function_around_a_line_is_named_with_what_it_is_defined_in(tmp_path: Path) -> None:
    source = """\
LINE_1 = 1
class Shop:
    NAME = "line 3"
    @property
    def shelf(self):
        def inner():
            return [x
                    for x in (8,)]
        return inner
async def serve():
    return lambda: (
        12
    )
"""
    file = tmp_path / "shop.py"
    file.write_text(source, encoding="utf-8")
    named = {line: sites.place((str(file), line)).rpartition(" in ")[2] for line in (1, 3, 5, 8, 9, 11, 12)}
    assert named == {
        1: "<module>",
        3: "<module>",
        5: "Shop.shelf",
        8: "Shop.shelf.inner",
        9: "Shop.shelf",
        11: "serve",
        12: "serve",
    }
