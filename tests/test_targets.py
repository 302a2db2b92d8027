"""Holds addresses to what they mean, and to what of them may be shown."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_memalert.escaping import escape_controls
from pytest_memalert.routes import Route
from pytest_memalert.targets import Target, interpolate, read_target, redact

SECRET = st.text(st.sampled_from("ABCXYZ0123456789_-"), min_size=8, max_size=40)
SCHEMES = st.sampled_from(
    [
        "https",
        "http",
        "webhook+https",
        "slack",
        "tgram",
        "discord",
        "mailto",
        "mailtos",
        "msteams",
        "json",
        "x",
    ]
)


@given(scheme=SCHEMES, secret=SECRET, extra=st.text(max_size=30))
def test_law_a_secret_in_the_path_is_never_shown(scheme: str, secret: str, extra: str) -> None:
    """Wherever the rest of the address leads."""
    url = f"{scheme}://example.com/{secret}/{extra}?token={secret}#{secret}"
    assert secret not in redact(url)


@given(scheme=SCHEMES, secret=SECRET, other=SECRET)
def test_law_a_secret_before_the_host_is_never_shown(scheme: str, secret: str, other: str) -> None:
    """Neither the user's name nor a password, even one that holds a slash or an at sign."""
    assume(secret not in other)
    for password in (other, f"{other}/{other}", f"{other}@{other}", f"{other}?{other}", f"{other}#{other}"):
        shown = redact(f"{scheme}://{secret}:{password}@example.com/path")
        assert secret not in shown
        assert other not in shown


@given(scheme=st.sampled_from(["slack", "tgram", "discord", "msteams", "ntfy", "x"]), secret=SECRET)
def test_law_a_token_in_the_place_of_a_host_is_never_shown(scheme: str, secret: str) -> None:
    """Which is where most services have it."""
    assert redact(f"{scheme}://{secret}") == f"{scheme}://..."
    assert redact(f"{scheme}://{secret}/more") == f"{scheme}://..."


@given(secret=SECRET, rest=st.text(max_size=10))
def test_law_what_is_no_address_is_not_shown_at_all(secret: str, rest: str) -> None:
    """A token pasted by mistake is one."""
    assert secret not in redact(secret + rest)
    with pytest.raises(ValueError, match=r".") as refused:
        read_target(secret, {})
    assert secret not in str(refused.value)


@given(text=st.text(max_size=60))
def test_law_showing_never_fails(text: str) -> None:
    """Whatever somebody wrote; and what is shown steers no terminal."""
    assert escape_controls(redact(text)) == redact(text)
    assert escape_controls(redact(f"jsonl:{text}")) == redact(f"jsonl:{text}")


@given(secret=SECRET)
def test_law_a_secret_is_in_no_representation(secret: str) -> None:
    """Records are printed in tracebacks, by --showlocals too."""
    target = read_target(f"https://example.com/{secret}", {})
    assert secret not in repr(target)
    assert secret not in repr(Route(channel=f"https://example.com/{secret}"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com:8443/a/b", "https://hooks.example.com:8443/..."),
        ("webhook+https://hooks.example.com/a", "webhook+https://hooks.example.com/..."),
        ("http://[::1]:9000/x", "http://[::1]:9000/..."),
        ("mailto://me:word@example.com", "mailto://example.com/..."),
        ("jsonl:build/alerts.jsonl", "jsonl:build/alerts.jsonl"),
        ("logging:memalert", "logging:memalert"),
        ("terminal", "terminal"),
        ("${SLACK_URL}", "${SLACK_URL}"),
        ("https://example.com:port/x", "https://..."),
        ("team:whatever", "team:..."),
        ("bot123:AAAA", "..."),
    ],
)
def test_scheme_and_host_are_shown_and_no_more(url: str, shown: str) -> None:
    """Enough to tell which of several addresses is meant."""
    assert redact(url) == shown


def kind_and_address(target: Target) -> tuple[str, str]:
    return target.kind, target.address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("terminal", ("terminal", "")),
        ("jsonl:a/b.jsonl", ("jsonl", "a/b.jsonl")),
        ("file:b.jsonl", ("jsonl", "b.jsonl")),
        ("file:///tmp/b.jsonl", ("jsonl", "/tmp/b.jsonl")),
        ("logging:shop.memory", ("logging", "shop.memory")),
        ("https://example.com/x", ("webhook", "https://example.com/x")),
        ("webhook+http://localhost:1/x", ("webhook", "http://localhost:1/x")),
        ("slack://A/B/C", ("other", "slack://A/B/C")),
    ],
)
def test_address_says_what_takes_the_messages(url: str, expected: tuple[str, str]) -> None:
    assert kind_and_address(read_target(url, {})) == expected


UNREADABLE = (
    "'https://...' has a host or port that can't be read (a port is a number up to 65535); "
    "write it as 'https://example.com/hook'"
)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("terminl", "'...' is not an address; did you mean 'terminal'?"),
        ("jsonl:", "'jsonl:' names no file; write it as 'jsonl:alerts.jsonl'"),
        ("logging:", "'logging:' names no logger; write it as 'logging:memalert'"),
        ("https:///x", "'https://...' has no host; write it as 'https://example.com/hook'"),
        ("https://example.com:99999999/x", UNREADABLE),
        ("https://[host/x", UNREADABLE),
        ("${NOPE}", "'${NOPE}' is not set in the environment; export NOPE before the run"),
        ("${}", "'${...}' must hold the name of a variable; write it as '${SLACK_URL}'"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_with_the_remedy(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_target(url, {})
    assert str(refused.value) == problem


def test_variables_are_read_from_the_environment() -> None:
    """Whole addresses, and parts of them."""
    environ = {"SLACK_URL": "slack://A/B/C\n", "TOKEN": "t0k3n"}
    assert read_target("${SLACK_URL}", environ).address == "slack://A/B/C"
    target = read_target("https://example.com/${TOKEN}", environ)
    assert target.address == "https://example.com/t0k3n"
    assert target.shown == "https://example.com/..."


def test_value_of_a_variable_is_not_read_again() -> None:
    """What somebody put into the environment is no template."""
    assert interpolate("${A}", {"A": "${B}", "B": "secret"}) == "${B}"


def test_variable_without_an_address_in_it_is_refused_unseen() -> None:
    with pytest.raises(ValueError, match=r"'\$\{TOKEN\}' is not an address") as refused:
        read_target("${TOKEN}", {"TOKEN": "s3cr3t-t0k3n"})
    assert "s3cr3t" not in str(refused.value)
