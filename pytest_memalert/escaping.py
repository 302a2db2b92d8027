"""Text from anywhere made safe to show: what would steer a terminal, or a CI, becomes visible text."""

from __future__ import annotations

import os
import re

__all__ = ["disarm", "escape_controls", "is_on_github"]

# C0 and C1 controls (ESC and CSI are among them), DEL, the marks that reorder or hide text
# (CVE-2021-42574), the line and paragraph separators, and lone surrogates, which an output
# in UTF-8 refuses. U+200C and U+200D stay: several scripts and emoji can't be written without.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)

_COMMAND = re.compile(r"^([^\S\n]*)::", re.MULTILINE)


def escape_controls(text: str) -> str:
    r"""Return ``text`` on one line, each control character as Python writes it: ``\x1b``, ``\n``, ``\u202e``.

    Split a text of several lines first. Backslashes stay single: this is for eyes, not for reading back.
    """
    return _CONTROLS.sub(lambda match: repr(match.group())[1:-1], text)


def is_on_github() -> bool:
    """Return whether this is a job of GitHub Actions, which reads commands from the output."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def disarm(text: str) -> str:
    """Return lines of output so that GitHub's runner, if it is there, takes no part of them for a command.

    The runner reads ``::`` at a line's beginning, spaces aside, and the older ``##[`` anywhere.
    """
    return _COMMAND.sub(r"\1\\::", text.replace("##[", "##\\[")) if is_on_github() else text
