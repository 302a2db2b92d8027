"""Holds the writing of files to its promise: the old file or the whole new one, and nothing beside it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.files import explain_unwritable, locked, replace_text

# Files are limited in a process of its own: a limit can't be raised again by everyone.
WRITE_INTO_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from pytest_memalert.files import replace_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_text(Path(sys.argv[1]), "new" * 1000)
except OSError as error:
    print(type(error).__name__)
"""

WRITE_MANY_TIMES = """
import sys
from pathlib import Path
from pytest_memalert.files import replace_text
for _ in range(100):
    replace_text(Path(sys.argv[1]), sys.argv[2] * 50_000)
"""


def make_unwritable(directory: Path) -> Path:
    """Return a directory that takes no files, even from root where that is known how."""
    if sys.platform == "linux" and os.geteuid() == 0:
        return Path("/proc/self")
    directory.mkdir()
    directory.chmod(0o555)
    return directory


def test_new_file_is_written_with_the_directories_it_needs(tmp_path: Path) -> None:
    replace_text(tmp_path / "a" / "b" / "report.json", "{}\n")
    assert (tmp_path / "a" / "b" / "report.json").read_bytes() == b"{}\n"


def test_old_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("a longer old text", encoding="utf-8")
    replace_text(path, "new")
    assert [(each.name, each.read_text(encoding="utf-8")) for each in tmp_path.iterdir()] == [
        ("report.json", "new")
    ]


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_law_any_text_is_written_and_what_utf_8_has_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-text"
    replace_text(path, text)
    assert path.read_bytes() == text.encode("utf-8", errors="backslashreplace")


def test_failure_in_the_middle_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WRITE_INTO_A_FULL_DISK, path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "OSError\n"
    assert {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()} == {
        "report.json": "old"
    }


def test_failed_replacement_leaves_nothing_beside_the_target(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    (path / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="reports"):
        replace_text(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["reports"]


def test_two_processes_writing_one_file_leave_one_whole_version(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    replace_text(path, "a" * 50_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITE_MANY_TIMES, path, letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_text(encoding="utf-8")
        seen.add((len(content), len(set(content))))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen == {(50_000, 1)}
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.touch()
    path.chmod(0o640)
    before = path.stat().st_mode
    replace_text(path, "new")
    assert path.stat().st_mode == before


def test_new_file_has_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    replace_text(tmp_path / "report.json", "new")
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_symbolic_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    replace_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"


def test_device_is_written_to_and_not_replaced() -> None:
    assert explain_unwritable(Path(os.devnull)) is None
    replace_text(Path(os.devnull), "new")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("name", ["report.json", "a/b/report.json", "old", "link"])
def test_path_that_can_be_written_is_so_called_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    (tmp_path / "old").write_text("{}", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "real")
    assert explain_unwritable(tmp_path / name) is None
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "old"]
    assert (tmp_path / "old").read_text(encoding="utf-8") == "{}"
    replace_text(tmp_path / name, "new")
    assert (tmp_path / name).read_text(encoding="utf-8") == "new"


def test_relative_path_is_judged_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert explain_unwritable(Path("report.json")) is None


def test_directory_is_refused_with_a_name_to_write() -> None:
    assert (
        explain_unwritable(Path(os.curdir))
        == "'.' is a directory; write a file name, such as 'memalert.json'"
    )


def test_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    path = tmp_path / "old" / "below" / "report.json"
    assert explain_unwritable(path) == (
        f"'{path}' can't be written: '{tmp_path / 'old'}' is not a directory; name a path in a directory"
    )


def test_directory_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    directory = make_unwritable(tmp_path / "closed")
    problem = explain_unwritable(directory / "report.json")
    assert problem is not None
    assert "takes no new file" in problem
    assert "name a file in a directory you can write to" in problem


@pytest.mark.parametrize(
    ("name", "content"),
    [("README.md", b"# Ours\n"), ("Makefile", b"all:\n"), ("a.db", b"SQLite format 3\0...")],
)
def test_a_file_that_holds_nothing_of_ours_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert explain_unwritable(tmp_path / name) == (
        f"'{tmp_path / name}' is there, and is nothing that memalert wrote: it is never overwritten; "
        "name another file, or remove that one"
    )


@pytest.mark.parametrize("content", [b"", b" \n", b"{}", b"\n[]", b"<!-- memalert -->\n"])
def test_an_empty_file_or_a_former_report_may_be_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report").write_bytes(content)
    assert explain_unwritable(tmp_path / "report") is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert explain_unwritable(tmp_path / "pipe") == (
        f"'{tmp_path / 'pipe'}' is a device or pipe; name a file instead"
    )


@pytest.mark.parametrize("name", ["x" * 300, "missing/" + "x" * 300, "nul\0", "loop"])
def test_name_that_the_file_system_refuses_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    problem = explain_unwritable(tmp_path / name)
    assert problem is not None
    assert "can't be written" in problem
    assert [each.name for each in tmp_path.iterdir()] == ["loop"]


COUNTING = """
import sys
from pathlib import Path
from pytest_memalert.files import locked, replace_text

path = Path(sys.argv[1])
for _ in range(50):
    with locked(path):
        replace_text(path, str(int(path.read_text(encoding="utf-8")) + 1))
"""


def test_processes_that_change_a_file_under_its_lock_lose_nothing(tmp_path: Path) -> None:
    """Each reads what the other has written; nothing is left beside the file."""
    path = tmp_path / "count"
    path.write_text("0", encoding="utf-8")
    processes = [subprocess.Popen([sys.executable, "-c", COUNTING, str(path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert path.read_text(encoding="utf-8") == "150"
    assert list(tmp_path.iterdir()) == [path]


def test_lock_is_given_back_when_the_block_raises(tmp_path: Path) -> None:
    """The next one gets it."""
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "file"):
            raise KeyError
