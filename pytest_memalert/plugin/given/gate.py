"""The baseline that a session was given, to be held against or to be saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_memalert.errors import ConfigurationError, MemalertError
from pytest_memalert.files import explain_unfit, explain_unwritable
from pytest_memalert.gate.allowances import ALLOWANCES, Allowances
from pytest_memalert.gate.baseline import DEFAULT_NAME, Baseline, read_baseline
from pytest_memalert.plugin.given.environment import this_environment
from pytest_memalert.records import record
from pytest_memalert.settings import Settings

__all__ = ["GateGiven", "locate_baseline", "read_gate_given", "read_saved"]


@record(frozen=True, slots=True, kw_only=True)
class GateGiven:
    """Hold the baseline of a session that saves one or is held against one.

    ``name`` is the file as messages call it, ``key`` what this environment's entries are kept under.
    """

    path: Path
    name: str
    key: str
    baseline: Baseline
    allowances: Allowances
    saves: bool
    strict: bool


def read_gate_given(config: pytest.Config, settings: Settings) -> GateGiven:
    """Return the baseline in question; raise ConfigurationError where it can't be used.

    Whoever saves isn't judged meanwhile: with both options, the session saves.
    """
    option = "gate" if settings.save is None else "save"
    origin = settings.origins[option]
    path = locate_baseline(config, settings)
    name = _shown(path, config.invocation_params.dir)
    key = this_environment(traced=settings.trace).key
    # What is in it, and whose that is, is told where it is read.
    if problem := explain_unfit(path, example=DEFAULT_NAME, replaces=False):
        raise ConfigurationError([f"{origin}: {problem}"])
    try:
        baseline = read_saved(path, name)
    except MemalertError as wrong:
        raise ConfigurationError([str(wrong)]) from None
    if option == "gate":
        if baseline is None:
            where = "" if name == DEFAULT_NAME else f"={name}"
            save = f"pytest --memalert --memalert-save{where}"
            raise ConfigurationError([f"{origin}: there is no baseline {name}; save one with: {save}"])
        if not baseline.environments.get(key):
            others = ", ".join(sorted(baseline.environments)) or "none"
            problem = (
                f"{name}: has no entries for this environment, {key} (it has: {others}); save them "
                "here with: pytest --memalert --memalert-save, or run the gate where they were saved"
            )
            raise ConfigurationError([problem])
    elif not hasattr(config, "workerinput") and (why := explain_unwritable(path)):
        raise ConfigurationError([f"{origin}: {why}"])
    return GateGiven(
        path=path,
        name=name,
        key=key,
        baseline=baseline or Baseline(),
        allowances=settings.allowances or ALLOWANCES,
        saves=option == "save",
        strict=settings.strict,
    )


def locate_baseline(config: pytest.Config, settings: Settings) -> Path:
    """Return the file of the baseline; where none is saved or held against, the one by default.

    What was typed is relative to where, all else to the configuration file.
    """
    chosen = settings.save or settings.gate or Path(DEFAULT_NAME)
    typed = settings.origins["gate" if settings.save is None else "save"].startswith("--")
    if typed and chosen != Path(DEFAULT_NAME):
        return config.invocation_params.dir / chosen
    folder = config.inipath.parent if config.inipath is not None else config.rootpath
    return folder / chosen


def read_saved(path: Path, name: str) -> Baseline | None:
    """Return the baseline in a file; None where there is no file. Raises MemalertError."""
    try:
        return read_baseline(path.read_text(encoding="utf-8"), name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MemalertError(f"{name}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise MemalertError(
            f"{name}, line {line}: is not UTF-8 text; restore the file from version control or delete it "
            "and save again with: pytest --memalert --memalert-save"
        ) from None


def _shown(path: Path, folder: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return str(path)
