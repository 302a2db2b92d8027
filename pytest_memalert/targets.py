"""Where notifications go: an address as somebody wrote it, and how much of it may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pytest_memalert.errors import nearest
from pytest_memalert.escaping import escape_controls
from pytest_memalert.files import is_source
from pytest_memalert.records import record

__all__ = ["Target", "interpolate", "read_target", "redact"]

#: What takes the messages; ``other`` is a channel of a plugin's, or a service that apprise knows.
TargetKind = Literal["terminal", "jsonl", "logging", "webhook", "other"]

# What stands after "://" of these is a host. Of other schemes it may be the secret itself:
# slack://TOKEN/..., tgram://TOKEN/..., discord://ID/TOKEN.
_WITH_HOST = frozenset(
    {"http", "https", "webhook+http", "webhook+https", "mailto", "mailtos", "json", "jsons", "xml", "xmls"}
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_WORD = re.compile(r"[a-z]{1,20}(-[a-z]{1,20})?")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXAMPLES = "'https://example.com/hook', 'jsonl:alerts.jsonl', 'logging:memalert' or '${SLACK_URL}'"
# What can be written before ":" and isn't a service's: for the nearest known word.
_WORDS = ("terminal", "jsonl", "file", "logging", "webhook+https", "https")


@record(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold one place that takes notifications; only ``shown`` may be printed, sent on or stored.

    ``address`` is what the kind needs: a path, the name of a logger, a URL with all its secrets.
    """

    kind: TargetKind
    address: str = field(repr=False)
    shown: str


def redact(written: str) -> str:
    """Return the scheme of an address, and its host where the scheme has one: all that isn't secret.

    A path of ``jsonl:`` and a name of ``logging:`` are no secrets. ``${NAME}`` alone stays as it is.
    """
    text = written.strip()
    variable = _VARIABLE.fullmatch(text)
    if variable and _NAME.fullmatch(variable[1]):
        return text
    scheme = _SCHEME.match(text)
    if scheme is None:
        return text if text in ("terminal", "none") else "..."
    name = scheme[1].lower()
    if name in ("jsonl", "file", "logging") and "@" not in text and "?" not in text:
        return escape_controls(text)
    if not text[scheme.end() :].startswith("//"):
        # A token may have a colon in it: only what looks like a word is shown.
        return f"{name}:..." if _WORD.fullmatch(scheme[1]) else "..."
    host = _host_of(text) if name in _WITH_HOST else None
    return f"{name}://{host}/..." if host else f"{name}://..."


def interpolate(written: str, environ: Mapping[str, str]) -> str:
    """Return ``written`` with each ``${NAME}`` as the environment has it.

    Raises ValueError, naming the variable and never a value, for one that is missing or empty.
    """

    def value_of(found: re.Match[str]) -> str:
        name = found[1]
        if not _NAME.fullmatch(name):
            raise ValueError("'${...}' must hold the name of a variable; write it as '${SLACK_URL}'")
        value = environ.get(name, "").strip()
        if not value:
            raise ValueError(f"'${{{name}}}' is not set in the environment; export {name} before the run")
        return value

    return _VARIABLE.sub(value_of, written)


def read_target(written: str, environ: Mapping[str, str]) -> Target:
    """Return the target that an address means; raises ValueError, which never shows a secret."""
    shown = redact(written)
    url = interpolate(written.strip(), environ)
    if url == "terminal":
        return Target(kind="terminal", address="", shown="terminal")
    scheme = _SCHEME.match(url)
    if scheme is None:
        near = nearest(url.lower(), _WORDS, cutoff=0.7)
        advice = f"did you mean {near!r}?" if near else f"write one such as {_EXAMPLES}"
        raise ValueError(f"{shown!r} is not an address; {advice}")
    name, rest = scheme[1].lower(), url[scheme.end() :]
    shown = redact(url)
    if name in ("jsonl", "file"):
        # file:///tmp/a.jsonl has an empty host before its path.
        path = rest[2:] if rest.startswith("///") else rest
        if not path or path.startswith("//") or "\0" in path:
            raise ValueError(f"{shown!r} names no file; write it as 'jsonl:alerts.jsonl'")
        if is_source(Path(path)):
            what = "is the name of a source or configuration file, to which nothing is added"
            raise ValueError(f"{shown!r} {what}; write it as 'jsonl:alerts.jsonl'")
        return Target(kind="jsonl", address=path, shown=shown)
    if name == "logging":
        if not rest or rest.startswith("//"):
            raise ValueError(f"{shown!r} names no logger; write it as 'logging:memalert'")
        return Target(kind="logging", address=rest, shown=shown)
    if name in ("http", "https", "webhook+http", "webhook+https"):
        address = url[len("webhook+") :] if name.startswith("webhook+") else url
        if _host_of(address) is None:
            raise ValueError(f"{shown!r} {_why_no_host(address)}; write it as 'https://example.com/hook'")
        return Target(kind="webhook", address=address, shown=shown)
    return Target(kind="other", address=url, shown=shown)


def _why_no_host(url: str) -> str:
    try:
        urlsplit(url).port  # noqa: B018 - which is read only now
    except ValueError:  # whose text may quote a password
        return "has a host or port that can't be read (a port is a number up to 65535)"
    return "has no host"


def _host_of(url: str) -> str | None:
    """Return the host, and the port if there is one; None where it can't be told from a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # "https://user:pa/ss@host" is parsed as a host "user": what comes before a late @ is a password.
    if not host or not _HOST.fullmatch(host) or "@" in url.partition(parts.netloc)[2]:
        return None
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"
