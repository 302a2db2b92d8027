"""Holds each example to the output that it promises; run as a script, it writes that output anew.

``expected_output.txt`` is a transcript: commands after ``$``, what each prints with its numbers left
out, and its exit status. ``python tests/test_examples.py [NAME...]`` writes the transcripts.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if (path / "README.md").exists())

#: What an example's transcript is made of, in the order in which it is typed.
COMMANDS = {
    "alert_life": (
        "cp versions/1_leaks.py journal.py",
        "pytest --memalert",
        "pytest --memalert",
        "memalert ack FINGERPRINT --reason 'the journal is replaced in May' --author Ada",
        "pytest --memalert",
        "cp versions/2_leaks_more.py journal.py",
        "pytest --memalert",
        "cp versions/3_is_fixed.py journal.py",
        "pytest --memalert",
        "memalert unack FINGERPRINT",
        "memalert history",
    ),
    "ci": (
        "pytest --memalert --memalert-json=memalert.json examples/ci",
        "memalert report memalert.json",
        "pytest --memalert --memalert-fail-on=never examples/ci",
    ),
    "alert_manager": ("python examples/alert_manager/shop.py",),
    "hooks": ("pytest --memalert examples/hooks", "cat memory.md"),
}

#: The examples whose commands are typed in their own folder.
IN_PLACE = frozenset({"alert_life"})

#: Each number that differs from run to run or from machine to machine, and what stands for it.
HEADER = (r"(?m)^(platform|cachedir|rootdir|configfile|plugins)\b.*\n", "")
NUMBERS = (
    HEADER,
    # How often a leak was seen again depends on how quick the machine is.
    (
        r"\+[\d.,]+\s+blocks?(\s+and\s+\+[\d.,]+\s+bytes\s+of\s+heap)?\s+(in\s+each\s+of|per\s+run,\s+over)\s+[\d,]+",
        "+<n> in <n>",
    ),
    (r"\b\d[\d,.]*\s*(B|KiB|MiB|GiB|kB|MB|GB|TiB)\b", "<size>"),
    (r"\b\d[\d,.]*\s+(us|ms|s|min)\b(\s+\d+\s+s\b)?", "<time>"),
    (r"\bin \d[\d.]*s\b( \(\d+:\d+:\d+\))?", "in <time>"),
    (r"\b\d[\d,.]*\s+(block|re-run|further run)s?\b", r"<n> \1s"),
    # Where one further run was enough.
    (r"\bin\s+the\s+further\s+run\b", "in each of <n> further runs"),
    (r"\b(dict|list|set|deque)\s+of\s+\d+(,\d{3})*", r"\1 of <n>"),
    (r"\balert [0-9a-f]{12}\b", "alert <id>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"\(\d+ inhibited\)", "(<n> inhibited)"),
    (r"resident\s+peak\s+<size>(\s+\(\w+\))?", "resident peak <size>"),
    # The line of source that pytest shows under a warning is looked up by a relative path.
    (r"(?m)(: MemoryAlertWarning: .*)\n    .*", r"\1"),
    # pytest cuts the reason where the line ends.
    (r"(?m)^(FAILED \S+) - .*", r"\1"),
    (r"(?m)^run of \d.*", "run of <time and place>"),
    (r"\b\d{4}-\d{2}-\d{2}\b( \d{2}:\d{2}\b)?", "<date>"),
)


#: Where what failed begins to be told.
FAILURES = "=================================== FAILURES"


def without_numbers(text: str) -> str:
    """Return output with everything left out that may differ from run to run."""
    for pattern, replacement in NUMBERS:
        text = re.sub(pattern, replacement, text)
    return text


def words(transcript: str) -> list[str]:
    """Return the words of a transcript: where lines break depends on the lengths of the numbers."""
    return re.sub(r"([=_])\1{2,}", "", transcript).split()


def difference(expected: str, transcript: str) -> str:
    """Return which lines of a transcript are not as expected, in few lines: CI may keep only the last."""
    lines = difflib.unified_diff(expected.splitlines(), transcript.splitlines(), "expected", "got", "", "", 0)
    return "\n".join(line for line in lines if line.strip())


def run(command: str, folder: Path) -> str:
    """Return what a command prints in ``folder``, with its exit status if that isn't 0."""
    program, *arguments = shlex.split(command)
    if program == "cp":
        shutil.copy(folder / arguments[0], folder / arguments[1])
        return ""
    if "FINGERPRINT" in arguments:
        arguments[arguments.index("FINGERPRINT")] = latest_alert(folder)
    if program == "cat":
        return (folder / arguments[0]).read_text(encoding="utf-8")
    beginning = {
        "pytest": ["pytest", "-p", "memalert", "-p", "no:cacheprovider"],
        "memalert": ["pytest_memalert.cli"],
        "python": [],
    }[program]
    done = subprocess.run(
        [sys.executable, *(["-m"] if beginning else []), *beginning, *arguments],
        cwd=folder,
        # No plugins but ours, so that the output is the same in every environment.
        env={
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PYTEST_", "COV_", "GITHUB_"))
            },
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    # pytest names the file of a warning by its whole path.
    said = done.stdout.replace(f"{folder}{os.sep}", "")
    return said + (f"exit status {done.returncode}\n" if done.returncode else "")


def latest_alert(folder: Path) -> str:
    """Return the fingerprint that a user would copy: that of the alert seen last."""
    alerts = json.loads(run("memalert history --json", folder))["alerts"]
    return str(alerts[0]["fingerprint"])


def transcribe(name: str, folder: Path) -> str:
    """Return the transcript of an example, run in a copy so that nothing is written among its files."""
    # Not under a folder of ours: pytest looks for a configuration in the folders above.
    shutil.copytree(
        ROOT / "examples" / name,
        folder / "examples" / name,
        ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".memalert", "memalert.acks.toml"),
    )
    commands = COMMANDS.get(name, (f"pytest --memalert examples/{name}",))
    place = folder / "examples" / name if name in IN_PLACE else folder
    return "\n".join(f"$ {command}\n{run(command, place)}" for command in commands)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    expected = (ROOT / "examples" / name / "expected_output.txt").read_text(encoding="utf-8")
    transcript = without_numbers(transcribe(name, tmp_path))
    assert words(transcript) == words(expected), difference(expected, transcript)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_says_in_its_readme_how_it_is_run(name: str) -> None:
    readme = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
    expected = (ROOT / "examples" / name / "expected_output.txt").read_text(encoding="utf-8")
    assert f"\n    {expected.splitlines()[0].removeprefix('$ ')}\n" in readme


def test_readme_of_the_project_shows_the_output_of_the_quickstart() -> None:
    """With its numbers, from the failures on, and without the summary, which tells the alert again."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    expected = (ROOT / "examples" / "quickstart" / "expected_output.txt").read_text(encoding="utf-8")
    match = re.search(r"<!-- example output -->\n```console\n(.*?)```\n<!-- end -->", readme, re.DOTALL)
    assert match is not None
    command, failure, end = match[1].split("\n...\n")
    assert command == expected.splitlines()[0]
    failures = expected.index(FAILURES)
    summary, closing = expected.index("=" * 20 + " memory alerts"), expected.index("memalert: ")
    told = expected[failures : expected.rindex("\n", 0, summary)]
    assert words(without_numbers(failure)) == words(told)
    assert words(without_numbers(end)) == words(expected[closing:].removesuffix("exit status 1\n"))


#: The page that tells a story by what an example prints, numbers included.
STORY = ROOT / "docs" / "concepts" / "life-of-an-alert.md"
SHOWN = re.compile(r"(?<=<!-- example: alert_life -->\n```console\n)(.*?)(?=```\n<!-- end -->)", re.DOTALL)


def test_docs_show_what_the_life_of_an_alert_prints() -> None:
    """With its numbers; word for word the rest."""
    expected = (ROOT / "examples" / "alert_life" / "expected_output.txt").read_text(encoding="utf-8")
    match = SHOWN.search(STORY.read_text(encoding="utf-8"))
    assert match is not None
    assert words(without_numbers(match[1])) == words(expected)


def show_in_docs(transcript: str) -> None:
    """Write a transcript into the page that tells the story."""
    page = STORY.read_text(encoding="utf-8")
    STORY.write_text(SHOWN.sub(lambda _: transcript, page), encoding="utf-8")


def write_transcripts(names: list[str]) -> None:
    """Write the transcripts of these examples, or of all, where they differ by more than line breaks."""
    for name in names or EXAMPLES:
        path = ROOT / "examples" / name / "expected_output.txt"
        with tempfile.TemporaryDirectory() as folder:
            transcript = transcribe(name, Path(folder))
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        if words(known) == words(without_numbers(transcript)):
            continue
        path.write_text(without_numbers(transcript), encoding="utf-8")
        if name == "alert_life":
            show_in_docs(re.sub(*HEADER, transcript))
        if name == "quickstart":
            sys.stdout.write(f"README.md shows this, between its marks:\n\n{transcript}")


if __name__ == "__main__":
    write_transcripts(sys.argv[1:])
