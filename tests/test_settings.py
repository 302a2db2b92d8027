"""The layers of the settings, the rules of a file, the limits of markers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.limits.defaults import DEFAULT_RULES, category_of
from pytest_memalert.limits.keywords import MARKER_KEYS
from pytest_memalert.limits.marker import MarkerLimits, parse_marker
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import AlertCategory, AlertCondition, AlertRule, AlertSeverity
from pytest_memalert.options import OPTIONS, Option
from pytest_memalert.routes import Notify, Route
from pytest_memalert.settings import Budget, Settings, read_pyproject, read_settings
from pytest_memalert.units import format_quantity

MB = 10**6
RULES = "pyproject.toml: tool.memalert.rules"
CUSTOM = replace(METRICS["blocks_growth"], name="queue_length")


def load(
    table: Mapping[str, object] | None = None,
    ini: Mapping[str, str] | None = None,
    command_line: Mapping[str, object] | None = None,
    metrics: Mapping[str, Metric] = METRICS,
) -> Settings:
    settings, problems = read_settings(
        pyproject=table,
        pyproject_name="pyproject.toml",
        ini=ini or {},
        ini_name="pytest.ini",
        command_line=command_line or {},
        metrics=metrics,
    )
    if problems:
        raise ConfigurationError(problems)
    return settings


def problems_of(
    table: Mapping[str, object] | None = None,
    ini: Mapping[str, str] | None = None,
    command_line: Mapping[str, object] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(table, ini, command_line)
    return caught.value.problems


def rules_from(
    *tables: Mapping[str, object], metrics: Mapping[str, Metric] = METRICS
) -> dict[str, AlertRule]:
    """Return the rules in force by "name severity"."""
    rules = load({"rules": list(tables)}, metrics=metrics).rules
    return {f"{rule.name} {rule.severity.value}": rule for rule in rules}


def rule_problem(*tables: object) -> str:
    (problem,) = problems_of({"rules": list(tables)})
    return problem


def marker(*layers: Mapping[str, object]) -> MarkerLimits:
    return parse_marker([(f"layer {number}", keywords, ()) for number, keywords in enumerate(layers)])


def marker_problems(keywords: Mapping[str, object], positional: Sequence[object] = ()) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_marker([("tests/test_a.py::test_b", keywords, positional)])
    return caught.value.problems


# -------------------------------------------------------------------- options


def test_nothing_written_gives_the_defaults() -> None:
    assert load() == Settings(
        leaks="suspects",
        budget=None,
        trace=False,
        fail_on=AlertSeverity.CRITICAL,
        json=None,
        history=Path(".memalert/history.sqlite3"),
        history_max_age_s=180 * 24 * 3600,
        history_max_runs=500,
        history_max_bytes=200 * 2**20,
        notify=None,
        sample_interval_s=0.01,
        rules=DEFAULT_RULES,
        origins={option.name: "default" for option in OPTIONS},
    )


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_names_of_an_option_follow_from_one_another(option: Option) -> None:
    assert option.flag == "--memalert-" + option.name.replace("_", "-")
    assert option.ini == "memalert_" + option.name


# Each option with values as each layer writes them, and as the settings then hold them.
WRITTEN: dict[str, list[tuple[object, str, object]]] = {
    "leaks": [("off", "off", "off"), ("all", "all", "all")],
    "budget": [("30s", "30s", Budget(seconds=30)), ("10%", " 10 % ", Budget(share=0.1))],
    "trace": [(True, "yes", True), (False, "off", False)],
    "fail_on": [("never", "never", None), ("warning", "warning", AlertSeverity.WARNING)],
    "save": [("a.json", "a.json", Path("a.json")), (True, "true", Path("memalert.lock.json"))],
    "gate": [("b/a.json", "b/a.json", Path("b/a.json")), (False, "no", None)],
    "strict": [(True, "yes", True), (False, "off", False)],
    "json": [("out/a.json", "out/a.json", Path("out/a.json"))],
    "html": [("out/page", "out/page", Path("out/page"))],
    "markdown": [("out/a.md", "out/a.md", Path("out/a.md"))],
    "gitlab": [("out/a.json", "out/a.json", Path("out/a.json"))],
    "history": [("none", "None", None), ("ci/h.db", "ci/h.db", Path("ci/h.db"))],
    "history_max_age": [("2 days", "2d", 172800.0), ("60 s", "60s", 60.0)],
    "history_max_runs": [(30, "30", 30), ("7", " 7 ", 7)],
    "history_max_size": [("1 MiB", "1MiB", 2**20), (5, "5 B", 5)],
    "notify": [({"urls": ["terminal"]}, " terminal ", Notify(routes=(Route(channel="terminal"),)))],
    "sample_interval": [("5 ms", "5ms", 0.005), ("1 s", "1s", 1.0)],
}
# Where a field of the settings ends in its unit, and the option does not.
FIELDS = {
    "history_max_age": "history_max_age_s",
    "history_max_size": "history_max_bytes",
    "sample_interval": "sample_interval_s",
}


def without_places(value: object) -> object:
    """Return the value of an option; routes without where they were written."""
    if not isinstance(value, Notify):
        return value
    return replace(value, routes=tuple(replace(route, origin="") for route in value.routes))


values_of_options = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in WRITTEN.items()}
)


@given(values_of_options, values_of_options, values_of_options)
def test_law_of_every_option_the_latest_layer_that_writes_it_wins(
    table: dict[str, tuple[object, str, object]],
    ini: dict[str, tuple[object, str, object]],
    command_line: dict[str, tuple[object, str, object]],
) -> None:
    settings = load(
        {name: typed for name, (typed, _, _) in table.items()},
        {f"memalert_{name}": text for name, (_, text, _) in ini.items()},
        {
            name: (["terminal"] if name == "notify" else command_line[name][0])
            if name in command_line
            else None
            for name in WRITTEN
        },
    )
    for option in OPTIONS:
        field = FIELDS.get(option.name, option.name)
        for layer, origin in (
            (command_line, option.flag),
            (ini, f"pytest.ini: {option.ini}"),
            (table, f"pyproject.toml: tool.memalert.{option.name}"),
        ):
            if option.name in layer:
                assert without_places(getattr(settings, field)) == layer[option.name][2]
                assert settings.origins[option.name] == origin
                break
        else:
            assert getattr(settings, field) == getattr(load(), field)
            assert settings.origins[option.name] == "default"


def test_every_option_is_covered_by_the_law_of_layers() -> None:
    assert list(WRITTEN) == [option.name for option in OPTIONS]


def test_a_blank_ini_value_is_as_good_as_none() -> None:
    assert load({"leaks": "all"}, {"memalert_leaks": " "}).leaks == "all"


def test_a_wrong_value_is_told_even_where_a_later_layer_wins() -> None:
    (line,) = problems_of({"leaks": "al"}, {}, {"leaks": "all"})
    told = "'al' is not one of 'off', 'suspects', 'all'; did you mean 'all'?"
    assert line == f"pyproject.toml: tool.memalert.leaks: {told}"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"fail-on": "never"}, "unknown key 'fail-on'; did you mean 'fail_on'?"),
        ({"xyzzy": 1}, "unknown key 'xyzzy'; write one of 'leaks', 'budget', "),
        ({"trace": "yes"}, "'yes' is neither true nor false; write it as true or false"),
        ({"leaks": False}, "false is not one of 'off', 'suspects', 'all'"),
        ({"sample_interval": True}, "true is not a duration"),
        ({"leaks": [{"a": True, "b": date(2027, 1, 31)}]}, "[{a = true, b = 2027-01-31}] is not one of"),
        ({"json": 3}, "3 is not a text"),
        ({"json": ""}, "a file is missing; write its path"),
        ({"budget": 30}, "30 is neither a duration nor a share; write it as '30s' or '10%'"),
        ({"budget": "30"}, "'30' is neither a duration nor a share; write it as '30s' or '10%'"),
        ({"budget": "much"}, "'much' is neither a duration nor a share; write it as '30s' or '10%'"),
        ({"budget": ""}, "'' is neither a duration nor a share; write it as '30s' or '10%'"),
        ({"sample_interval": "0 s"}, "'0 s' leaves no time between two readings; write it as '10ms'"),
        ({"sample_interval": 10}, "10 has no unit; write it as '10ms' or '10s'"),
        ({"sample_interval": "1.5"}, "'1.5' has no unit; write it as '1.5ms' or '1.5s'"),
        ({"history_max_age": 90}, "90 has no unit; write it as '90 days' or '90 hours'"),
        ({"history_max_age": " 90 "}, "' 90 ' has no unit; write it as '90 days' or '90 hours'"),
        ({"sample_interval": "soon"}, "'soon' is not a duration; write it as '10ms'"),
        (
            {"rules": {"name": "rss"}},
            "is not a list of tables; write [[tool.memalert.rules]] above each rule",
        ),
    ],
)
def test_a_wrong_option_is_told_with_place_and_remedy(table: dict[str, object], problem: str) -> None:
    (line,) = problems_of(table)
    assert line.startswith("pyproject.toml: tool.memalert")
    assert problem in line


def test_a_wrong_ini_value_names_file_and_key() -> None:
    assert problems_of(ini={"memalert_leaks": "some", "memalert_failon": "never"}) == (
        "pytest.ini: unknown key 'memalert_failon'; did you mean 'memalert_fail_on'?",
        "pytest.ini: memalert_leaks: 'some' is not one of 'off', 'suspects', 'all'",
    )


def test_an_ini_key_is_like_another_by_more_than_the_prefix_of_all() -> None:
    (line,) = problems_of({}, {"memalert_unknown": "x"})
    assert line.startswith("pytest.ini: unknown key 'memalert_unknown'; write one of 'memalert_leaks', ")


def test_a_wrong_argument_names_its_flag() -> None:
    (line,) = problems_of(command_line={"budget": "10"})
    assert line.startswith("--memalert-budget: '10' is neither")


MISTAKES: dict[str, object] = {
    "trace": 1,
    "leaks": "alll",
    "budget": "x",
    "sample_interval": "-1 s",
    "jsn": "a.json",
    "fail_on": "info",
}
RULE_MISTAKES: tuple[dict[str, object], ...] = (
    {"name": "a", "metric": "rss_bytes", "threshold": "2 megs"},
    {"name": "b", "metric": "rss", "threshold": "2 MB"},
    {"name": "c", "metric": "rss_bytes", "threshold": "2 MB", "tests": "tests/*"},
    {"name": "leak", "enabled": "no"},
    {"name": "rss", "threshold": "1 GB"},
    {"name": "efficiency", "threshold": "5 MB"},
    {"name": "growth-rate", "min_growth": "lots"},
    {"metric": "rss_bytes", "threshold": "1 GB"},
)


@given(st.sets(st.sampled_from(sorted(MISTAKES))), st.lists(st.sampled_from(RULE_MISTAKES), unique_by=id))
def test_law_as_many_mistakes_as_many_lines(options: set[str], rules: list[dict[str, object]]) -> None:
    table = {**{name: MISTAKES[name] for name in options}, "rules": rules}
    if not options and not rules:
        assert load(table).rules == DEFAULT_RULES
        return
    problems = problems_of(table)
    assert len(problems) == len(options) + len(rules)
    assert len(set(problems)) == len(problems)
    assert all(line.startswith("pyproject.toml: tool.memalert") and "\n" not in line for line in problems)


def test_several_mistakes_in_one_rule_are_all_told() -> None:
    table = {"name": "a", "metric": "rss_bytes", "threshold": "x", "scope": "all", "severty": "info"}
    assert [
        line.partition(": tool.memalert.rules[0]")[2].partition(":")[0]
        for line in problems_of({"rules": [table]})
    ] == [
        "",
        ".scope",
        ".threshold",
    ]


# ------------------------------------------------------------- rules of a file


def test_default_rules_are_those_of_the_documentation() -> None:
    told = [
        f"{rule.name} {rule.category.value} {rule.severity.value}: {rule.metric} {rule.condition.value} "
        f"{rule.threshold:g} ({rule.min_growth})"
        for rule in DEFAULT_RULES
    ]
    assert told == [
        "leak-handles memory_leak warning: leak_handles_per_run > 0 (None)",
        "leak memory_leak warning: leak_bytes_per_run > 0 (None)",
        "leak-rate memory_leak critical: leak_rate_bytes_per_hour > 5e+07 (None)",
        "growth-rate memory_growth warning: growth_rate_bytes_per_s > 1e+06 (1000000)",
        "growth-rate memory_growth critical: growth_rate_bytes_per_s > 5e+06 (1000000)",
        "efficiency memory_efficiency warning: efficiency_ratio < 0.5 (50000000)",
        "rss memory_threshold warning: rss_bytes > 6.5e+08 (1000000)",
        "rss memory_threshold critical: rss_bytes > 7e+08 (1000000)",
    ]


@pytest.mark.parametrize("rule", DEFAULT_RULES, ids=lambda rule: f"{rule.name}-{rule.severity.value}")
def test_every_default_rule_recommends_something(rule: AlertRule) -> None:
    assert rule.recommendations
    assert all(text.endswith(".") for text in rule.recommendations)


@pytest.mark.parametrize("metric", METRICS)
def test_every_built_in_metric_has_a_category_of_its_own(metric: str) -> None:
    assert category_of(metric) is not AlertCategory.GENERAL


def test_a_new_rule_takes_what_it_leaves_out_from_its_metric() -> None:
    rule = rules_from({"name": "slow", "metric": "duration_s", "threshold": "2 min"})["slow critical"]
    assert rule.threshold == 120
    assert rule.category is AlertCategory.APPLICATION_LATENCY
    assert rule.condition is AlertCondition.GREATER_THAN
    assert rule.scope == "test"
    assert rule.recommendations
    assert rule.origin == f"{RULES}[0]"


@pytest.mark.parametrize(
    "table",
    [
        {"name": "fds", "metric": "open_fds_growth", "threshold": 20, "scope": "session"},
        {"name": "grown", "metric": "growth_bytes", "threshold": "20 MiB", "scope": "session"},
        {"name": "cpu", "metric": "cpu_s", "threshold": "2 min", "scope": "session"},
        {"name": "slow", "metric": "duration_s", "threshold": "2 min", "scope": "session"},
        {"name": "rss", "severity": "critical", "threshold": "1 GB", "scope": "session"},
    ],
)
def test_advice_of_a_rule_on_the_session_is_for_no_single_test(table: dict[str, object]) -> None:
    """That of a default rule which is made one as well."""
    (rule,) = (rule for name, rule in rules_from(table).items() if rule.scope == "session")
    assert rule.recommendations
    assert not [
        text for text in rule.recommendations if re.search(r"marker|mark\.|th(is|e) (one|test)\b", text)
    ]


@pytest.mark.parametrize(("metric", "threshold"), [("open_fds_growth", 2), ("uss_bytes", "1 GiB")])
def test_advice_names_the_marker_only_for_what_it_can_limit(metric: str, threshold: object) -> None:
    """It has no keyword for most metrics, and 'growth' is in bytes."""
    rule = rules_from({"name": "new", "metric": metric, "threshold": threshold})["new critical"]
    assert rule.recommendations[-1].endswith("raise the rule's limit.")
    assert not [text for text in rule.recommendations if re.search(r"marker|mark\.", text)]


def test_a_new_rule_has_everything_that_is_written() -> None:
    written = rules_from(
        {
            "name": "io",
            "category": "general",
            "severity": "info",
            "metric": "peak_bytes",
            "condition": "greater_than",
            "threshold": "2 MiB",
            "scope": "session",
            "tests": ["tests/io/*"],
            "component": "io",
            "min_growth": "1 MB",
            "message": "too much",
            "recommendations": ["read less"],
            "enabled": False,
        }
    )
    assert written["io info"] == AlertRule(
        name="io",
        category=AlertCategory.GENERAL,
        severity=AlertSeverity.INFO,
        metric="peak_bytes",
        condition=AlertCondition.GREATER_THAN,
        threshold=2 * 2**20,
        scope="session",
        tests=("tests/io/*",),
        component="io",
        min_growth=MB,
        message="too much",
        recommendations=("read less",),
        enabled=False,
        origin=f"{RULES}[0]",
    )


def test_a_rule_on_efficiency_fires_below_its_threshold() -> None:
    rule = rules_from({"name": "e", "metric": "efficiency_ratio", "threshold": "70 %"})["e critical"]
    assert (rule.condition, rule.threshold) == (AlertCondition.LESS_THAN, 0.7)


def test_a_rule_on_a_metric_of_a_plugin_is_general() -> None:
    written = {"name": "q", "metric": "queue_length", "threshold": 3}
    rule = rules_from(written, metrics={CUSTOM.name: CUSTOM})["q critical"]
    assert rule.category is AlertCategory.GENERAL


@given(st.sampled_from(sorted(METRICS)), st.integers(1, 1000))
def test_law_a_threshold_is_read_in_the_unit_of_its_metric(metric: str, number: int) -> None:
    unit = METRICS[metric].unit
    amount = number / 1000 if unit == "ratio" else number
    rule = rules_from({"name": "r", "metric": metric, "threshold": format_quantity(amount, unit)})[
        "r critical"
    ]
    assert rule.threshold == pytest.approx(amount, rel=0.055, abs=0.006)


def test_a_default_of_one_name_needs_no_severity() -> None:
    rules = rules_from({"name": "efficiency", "threshold": 0.3})
    assert rules["efficiency warning"].threshold == 0.3
    assert rules["efficiency warning"].min_growth == 50 * MB
    assert len(rules) == len(DEFAULT_RULES)


def test_one_rule_of_a_pair_is_named_by_its_severity() -> None:
    rules = rules_from({"name": "rss", "severity": "critical", "threshold": "2 GB"})
    assert rules["rss critical"].threshold == 2_000 * MB
    assert rules["rss warning"] in DEFAULT_RULES


def test_a_pair_without_severity_is_changed_as_one() -> None:
    rules = rules_from({"name": "rss", "enabled": False})
    assert not rules["rss warning"].enabled
    assert not rules["rss critical"].enabled
    assert rules["rss critical"].threshold == 700 * MB


def test_a_further_severity_of_a_default_takes_the_rest_from_it() -> None:
    rules = rules_from({"name": "leak", "severity": "critical"})
    assert rules["leak critical"].metric == "leak_bytes_per_run"
    assert rules["leak critical"].threshold == 0
    assert "leak warning" in rules


def test_two_severities_of_a_new_name_are_a_pair() -> None:
    new = {"name": "peak", "metric": "peak_bytes", "threshold": "1 MB"}
    rules = rules_from({**new, "severity": "warning"}, {**new, "threshold": "2 MB"})
    assert (rules["peak warning"].threshold, rules["peak critical"].threshold) == (MB, 2 * MB)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            {"name": "a", "metric": "rss_bytes", "threshold": "2 megs"},
            ".threshold: '2 megs' is not a size; write it as '2 MiB'",
        ),
        (
            {"name": "efficiency", "threshold": "2 MiB"},
            ".threshold: '2 MiB' is not a share; write it as 0.5 or '50 %'",
        ),
        (
            {"name": "efficiency", "threshold": 50},
            ".threshold: 50 is more than the whole; write a share such as 0.5 or '50 %'",
        ),
        (
            {"name": "a", "metric": "rss", "threshold": 1},
            ".metric: unknown metric 'rss'; did you mean 'rss_bytes'?",
        ),
        ({"name": "leak", "treshold": 1}, ": unknown key 'treshold'; did you mean 'threshold'?"),
        (
            {"name": "leak", "tests": "tests/*"},
            ".tests: 'tests/*' is not a list of texts; write it as ['tests/*']",
        ),
        (
            {"name": "leak", "recommendations": [1]},
            ".recommendations: [1] is not a list of texts; write it as ['...', '...']",
        ),
        ({"name": "leak", "category": "leak"}, ".category: 'leak' is not one of 'memory_leak', "),
        (
            {"name": "leak", "condition": ">="},
            ".condition: '>=' is not one of '>', '<', '==', '!='; did you mean '>'?",
        ),
        (
            {"name": "leak", "severity": ["info"]},
            ".severity: ['info'] is not one of 'info', 'warning', 'critical'",
        ),
        ({"name": "leak", "enabled": 0}, ".enabled: 0 is neither true nor false"),
        ({"name": 3}, ".name: 3 is not a text"),
        ({"enabled": False}, ": a name is missing; write name = '...'"),
        (
            {"name": "rsss", "enabled": False},
            ": 'rsss' is a new rule and lacks metric and threshold; did you mean the default rule 'rss'",
        ),
        (
            {"name": "new", "metric": "cpu_s"},
            ": 'new' is a new rule and lacks threshold; write as its threshold '1.5 s' or 1.5",
        ),
        (
            {"name": "new"},
            ": 'new' is a new rule and lacks metric and threshold; write metric = 'peak_bytes' or that of",
        ),
        (
            {"name": "leak", "tests": []},
            ".tests: [] names no test; leave the key out for a rule of all tests, or write enabled = false",
        ),
        (
            {"name": "rss", "threshold": "1 GB"},
            ": 'rss' is a pair of rules, each with a threshold of its own; write severity = 'warning' or ",
        ),
        (
            {"name": "rss", "severity": "info"},
            ": a threshold is missing; no default rule 'rss' is of severity 'info'",
        ),
        (
            {"name": "leak", "metric": "cpu_s"},
            ": a threshold is missing; that of leak_bytes_per_run doesn't fit cpu_s",
        ),
        ("rss", ": 'rss' is not a table"),
    ],
)
def test_a_wrong_rule_is_told_with_place_and_remedy(table: object, problem: str) -> None:
    assert rule_problem(table).startswith(f"{RULES}[0]{problem}")


def test_a_rule_written_twice_is_refused_naming_both_places() -> None:
    twice = {"name": "a", "metric": "cpu_s", "threshold": 1}
    assert rule_problem(twice, {"name": "leak"}, {**twice, "severity": "critical"}) == (
        f"{RULES}[2]: rule 'a' (critical) is already set by rules[0]; keep one of the two"
    )


def test_a_pair_changed_as_one_and_apart_is_refused() -> None:
    problem = rule_problem({"name": "rss", "enabled": False}, {"name": "rss", "severity": "warning"})
    assert problem.startswith(f"{RULES}[1]: rule 'rss' (warning) is already set by rules[0]")


# ------------------------------------------------------------- pyproject.toml


def test_the_table_of_the_plugin_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[tool.memalert]\nleaks = "all"\n[[tool.memalert.rules]]\nname = "rss"\n', encoding="utf-8"
    )
    assert read_pyproject(path) == {"leaks": "all", "rules": [{"name": "rss"}]}


@pytest.mark.parametrize("text", ["", "[project]\nname = 'a'\n", "[tool.other]\n"])
def test_a_file_without_the_table_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    assert read_pyproject(path) == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[tool.memalert]\nleaks = all\n", r"is not valid TOML: .*line 2"),
        (b"[tool.memalert]\nbudget = " + b"9" * 5000, r"has a number of too many digits; write it shorter"),
        (b"[tool.memalert]\nbudget = " + b"[" * 5000, r"is nested too deeply; write fewer brackets"),
        (b"a = 1\nb = '\xff'\n", r"is not UTF-8 text \(at line 2\); save it as UTF-8"),
        (b"tool = 3  # memalert's\n", r"tool: 3 is not a table; write \[tool\.memalert\]"),
        (b"[tool]\nmemalert = true\n", r"tool\.memalert: true is not a table; write \[tool\.memalert\]"),
    ],
)
def test_a_file_that_means_nothing_is_refused_by_path_and_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^{re.escape(str(path))}: {problem}"):
        read_pyproject(path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: "):
        read_pyproject(tmp_path / "pyproject.toml")


# ------------------------------------------------------------------- markers


def test_no_marker_sets_no_limit() -> None:
    assert parse_marker([]) == MarkerLimits()


def test_each_keyword_of_a_marker_is_a_rule() -> None:
    limits = marker(
        {"rss": "1 GB", "growth_rate": "2 MB/s", "efficiency": "40 %", "leak": "64 B", "cpu": "1 s"}
    )
    told = {
        rule.name: (rule.metric, rule.condition.value, rule.threshold, rule.min_growth)
        for rule in limits.rules
    }
    assert told == {
        "limit-rss": ("rss_bytes", ">", 1_000 * MB, None),
        "limit-growth-rate": ("growth_rate_bytes_per_s", ">", 2 * MB, MB),
        "limit-efficiency": ("efficiency_ratio", "<", 0.4, None),
        "limit-leak": ("leak_bytes_per_run", ">", 64, None),
        "limit-cpu": ("cpu_s", ">", 1, None),
    }
    assert {rule.severity for rule in limits.rules} == {AlertSeverity.CRITICAL}


def test_what_is_no_limit_is_kept_beside_the_rules() -> None:
    limits = marker({"leaks": "off", "warmups": 0, "runs": 7, "reason": "opens a window"})
    assert limits == MarkerLimits(leaks="off", warmups=0, runs=7, reason="opens a window")


def test_severity_of_a_wider_marker_holds_for_a_closer_limit() -> None:
    (rule,) = marker({"peak": 100}, {"severity": "warning"}).rules
    assert rule.severity is AlertSeverity.WARNING
    assert rule.origin == "layer 0: memalert(peak=...)"


LIMITS = sorted(key for key, metric in MARKER_KEYS.items() if metric not in (None, "efficiency_ratio"))
layers_of_limits = st.lists(st.dictionaries(st.sampled_from(LIMITS), st.integers(0, 10**9)), max_size=4)


@given(layers_of_limits)
def test_law_the_closest_marker_wins_key_by_key(layers: list[dict[str, object]]) -> None:
    limits = marker(*layers)
    closest = {
        key: (value, f"layer {number}: memalert({key}=...)")
        for number, layer in reversed(list(enumerate(layers)))
        for key, value in layer.items()
    }
    told = {
        rule.name.removeprefix("limit-").replace("-", "_"): (rule.threshold, rule.origin)
        for rule in limits.rules
    }
    assert told == closest


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"growht": 1}, "memalert(growht=...): unknown keyword 'growht'; did you mean 'growth'?"),
        ({"growth": "2 megs"}, "memalert(growth=...): '2 megs' is not a size; write it as '2 MiB'"),
        ({"efficiency": 40}, "memalert(efficiency=...): 40 is more than the whole"),
        ({"duration": "1 MB"}, "memalert(duration=...): '1 MB' is not a duration"),
        ({"rss": None}, "memalert(rss=...): None is not a size"),
        (
            {"severity": "fatal"},
            "memalert(severity=...): 'fatal' is not one of 'info', 'warning', 'critical'",
        ),
        ({"leaks": "suspects"}, "memalert(leaks=...): 'suspects' is not one of 'off', 'all'"),
        ({"runs": 0}, "memalert(runs=...): 0 is not a count of 1 or more"),
        ({"runs": True}, "memalert(runs=...): True is not a count of 1 or more"),
        ({"warmups": -1}, "memalert(warmups=...): -1 is not a count of 0 or more"),
        ({"reason": ""}, "memalert(reason=...): '' is empty"),
    ],
)
def test_a_wrong_keyword_is_told_with_place_and_remedy(keywords: dict[str, object], problem: str) -> None:
    (line,) = marker_problems(keywords)
    assert line.startswith(f"tests/test_a.py::test_b: {problem}")


class Unshowable:
    """Stand for a value of somebody's that can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_values_that_cannot_be_shown_are_refused_by_their_type() -> None:
    shown = "<a Unshowable whose repr() raises>"
    problems = marker_problems({"growth": Unshowable(), "leaks": Unshowable()}, (Unshowable(),))
    assert [shown in problem for problem in problems] == [True] * 3


def test_positional_arguments_of_a_marker_are_refused() -> None:
    (line,) = marker_problems({}, ["2 MiB"])
    told = "positional arguments mean nothing; name each limit, as in memalert(growth='2 MiB')"
    assert line == f"tests/test_a.py::test_b: memalert('2 MiB'): {told}"


def test_every_mistake_of_every_marker_is_told() -> None:
    layers: list[tuple[str, dict[str, object], tuple[object, ...]]] = [
        ("a.py::test", {"rss": "1 GB", "run": 3}, ()),
        ("a.py", {"rss": "big", "severity": 1}, (1,)),
    ]
    with pytest.raises(ConfigurationError) as caught:
        parse_marker(layers)
    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        "a.py::test",
        "a.py",
        "a.py",
        "a.py",
    ]
