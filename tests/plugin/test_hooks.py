"""The hooks that other plugins and conftest files implement."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest

    KEPT = []

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * 4 * 2**20)
"""


def test_probe_adds_a_metric_that_rules_can_name(inner: Inner) -> None:
    """As growth and as a level, each in its unit."""
    inner.pytester.makeconftest(
        """
        import pool
        from pytest_memalert import Probe

        def pytest_memalert_probes(config):
            return [
                Probe(name="connections_growth", unit="count", read=lambda: len(pool.OPEN),
                      description="growth in open connections"),
                Probe(name="pool_bytes", unit="bytes", read=lambda: 100 * len(pool.OPEN), kind="level"),
            ]
        """
    )
    inner.write(
        """
        import pool

        def test_leaves_two(): pool.OPEN.extend([1, 2])
        def test_leaves_none(): pass
        """,
        pool="OPEN = []",
    )
    inner.configure(
        """
        [[tool.memalert.rules]]
        name = "connections"
        metric = "connections_growth"
        threshold = 1
        """
    )
    done = inner.run()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*test_leaves_two: growth in open connections 2 is over the limit of 1"])
    assert inner.tests()["test_leaves_two"]["connections_growth"] == 2
    assert inner.tests()["test_leaves_two"]["pool_bytes"] == 200
    assert inner.tests()["test_leaves_none"]["connections_growth"] == 0


def test_probe_that_raises_is_no_data(serial: Inner) -> None:
    """A probe is somebody's code; no test fails for it."""
    serial.pytester.makeconftest(
        """
        from pytest_memalert import Probe

        def pytest_memalert_probes(config):
            return [Probe(name="mine", unit="count", read=lambda: 1 / 0)]
        """
    )
    serial.write("def test_it(): pass")
    serial.configure("[[tool.memalert.rules]]\nname = 'mine'\nmetric = 'mine'\nthreshold = 1")
    done = serial.run()
    done.assert_outcomes(passed=1, warnings=0)
    assert "mine" not in serial.tests()["test_it"]
    done.stdout.fnmatch_lines(["note: *no data for mine *: the reading failed; *"])


def test_probe_without_data_in_a_further_run_leaves_the_limit_unjudged(inner: Inner) -> None:
    """Nobody knows whether it would have come back: that isn't one-time."""
    inner.pytester.makeconftest(
        """
        from pytest_memalert import Probe
        from test_a import LEFT

        def read():
            if len(LEFT) > 1:
                raise OSError("gone")
            return len(LEFT)

        def pytest_memalert_probes(config):
            return [Probe(name="mine", unit="count", read=read)]
        """
    )
    inner.write("LEFT = []\ndef test_it(): LEFT.append(1)")
    inner.configure("[[tool.memalert.rules]]\nname = 'mine'\nmetric = 'mine'\nthreshold = 0")
    done = inner.run_apart(leaks="suspects")
    done.assert_outcomes(passed=1, warnings=0)
    told = "note: *::test_it: mine 1 is over the limit of 0 in its first run; no data in a further run: *"
    done.stdout.fnmatch_lines([told])
    assert [note["kind"] for note in inner.report()["notes"]] == ["no_data"]


def test_probe_may_answer_with_any_number(inner: Inner) -> None:
    """As numpy's, which derive from float; what is no number is no data."""
    answers = {
        "whole": ("3", 3),
        "truth": ("True", 1.0),
        "odd": ("Odd(2.5)", 2.5),
        "fraction": ("Fraction(1, 2)", 0.5),
        "nan": ("float('nan')", None),
        "huge": ("10**400", None),
        "text": ("'much'", None),
    }
    probes = ", ".join(
        f'Probe(name="{name}", unit="count", kind="level", read=lambda: {value})'
        for name, (value, _) in answers.items()
    )
    inner.pytester.makeconftest(
        f"""
        from fractions import Fraction
        from pytest_memalert import Probe

        class Odd(float): pass

        def pytest_memalert_probes(config):
            return [{probes}]
        """
    )
    inner.write("def test_it(): pass")
    inner.configure(
        "\n".join(
            f"[[tool.memalert.rules]]\nname = '{name}'\nmetric = '{name}'\nthreshold = 9" for name in answers
        )
    )
    inner.run().assert_outcomes(passed=1, warnings=0)
    found = {name: inner.tests()["test_it"].get(name) for name in answers}
    assert found == {name: seen for name, (_, seen) in answers.items()}
    assert {name: type(value) for name, value in found.items()} == {
        name: type(seen) for name, (_, seen) in answers.items()
    }


def test_alerts_may_be_given_any_number(inner: Inner) -> None:
    """They pass to another process, and into files, all the same."""
    inner.pytester.makeconftest(
        """
        from dataclasses import replace

        class Odd(float): pass

        def pytest_memalert_modify_alerts(config, alerts):
            alerts[:] = [replace(alert, observed=Odd(alert.observed)) for alert in alerts]
        """
    )
    inner.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing():
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    inner.run().assert_outcomes(failed=1, warnings=0)
    assert inner.report()["alerts"][0]["observed"] > 3 * 2**20


def test_exception_that_cannot_be_shown_breaks_nothing(serial: Inner) -> None:
    """Its text is made by code of anybody's."""
    serial.pytester.makeconftest(
        """
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no words")

        def pytest_memalert_component(item):
            raise Mute()
        """
    )
    serial.write("def test_it(): pass")
    done = serial.run()
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*pytest_memalert_component failed (Mute: (its message can't be read))*"])


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ("name='rss_bytes', unit='bytes'", "a metric named 'rss_bytes' exists already; choose another name"),
        ("name=3, unit='count'", "3 is no name; write a text in quotes"),
        ("name='', unit='count'", "'' is no name; write a text in quotes"),
        ("name='cache', unit='count', read=3", "read of 'cache': 3 is no function; write one"),
        ("name='leak', unit='count'", "'leak' is a key of the report; * such as 'probed_leak'"),
        ("name='cache', unit='counts'", "unit of 'cache': 'counts' is not one of *; did you mean 'count'?"),
        ("name='cache', unit='count', kind='height'", "kind of 'cache': 'height' is not one of 'growth', *"),
    ],
)
def test_wrong_probe_is_refused(serial: Inner, probe: str, told: str) -> None:
    """Before the first test."""
    serial.pytester.makeconftest(
        f"""
        from pytest_memalert import Probe

        def pytest_memalert_probes(config):
            return [Probe(**{{'read': lambda: 1, **dict({probe})}})]
        """
    )
    serial.write("def test_it(): pass")
    done = serial.run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*pytest_memalert_probes: {told}"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return [3]", "3 is no probe"),
        ("return 3", "TypeError: 'int' object is not iterable"),
        ("return Probe(name='a', unit='count', read=lambda: 1)", "TypeError: 'Probe' object is not iterable"),
        ("raise KeyError('a')", "KeyError: 'a'"),
    ],
)
def test_what_is_no_list_of_probes_is_refused_with_who_returned_it(
    serial: Inner, body: str, told: str
) -> None:
    """It was an internal error."""
    serial.pytester.makeconftest(
        f"""
        from pytest_memalert import Probe

        def pytest_memalert_probes(config):
            {body}
        """
    )
    serial.write("def test_it(): pass")
    done = serial.run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    advice = "return a list of pytest_memalert.Probe"
    done.stderr.fnmatch_lines([f"*pytest_memalert_probes of *conftest.py: {told}; {advice}"])


def test_level_over_its_limit_is_an_alert_without_further_runs(serial: Inner) -> None:
    """They would read the same level, or raise it."""
    serial.pytester.makeconftest(
        """
        from pytest_memalert import Probe

        def pytest_memalert_probes(config):
            return [Probe(name="entries", unit="count", kind="level", read=lambda: 7)]
        """
    )
    serial.configure("[[tool.memalert.rules]]\nname='entries'\nmetric='entries'\nthreshold=5")
    serial.write("def test_it(): pass")
    serial.run(leaks="suspects").assert_outcomes(failed=1)
    assert serial.report()["totals"]["reruns"] == 0


def test_probe_of_the_page_on_hooks_tells_of_a_cache_that_several_tests_fill(serial: Inner) -> None:
    """Each adds less than the limit."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "hooks.md").read_text(encoding="utf-8")
    code, rule = re.findall(r"```(?:python|toml)\n(.+?)```", page, re.DOTALL)[:2]
    serial.pytester.makeconftest(code)
    (serial.pytester.mkpydir("myapp") / "cache.py").write_text("ENTRIES = {}", encoding="utf-8")
    serial.configure(rule)
    serial.write(
        """
        from myapp import cache

        def test_one(): cache.ENTRIES.update(dict.fromkeys(range(60)))
        def test_two(): cache.ENTRIES.update(dict.fromkeys(range(60, 120)))
        """
    )
    serial.run().assert_outcomes(passed=2, warnings=1)
    assert [alert["observed"] for alert in serial.report()["alerts"]] == [120]


def test_component_is_named_by_a_hook(inner: Inner) -> None:
    """The first answer that isn't None; without one it is the test's file."""
    inner.pytester.makeconftest(
        """
        def pytest_memalert_component(item):
            return "billing" if "invoice" in item.name else None
        """
    )
    inner.write(
        """
        KEPT = []

        def test_invoice(): KEPT.append(b"x" * 2 * 2**20)
        def test_other(): KEPT.append(b"x" * 2 * 2**20)
        """
    )
    inner.configure(
        """
        [[tool.memalert.rules]]
        name = "growth-rate"
        enabled = false

        [[tool.memalert.rules]]
        name = "billing"
        metric = "growth_bytes"
        threshold = "1 MiB"
        component = "billing"
        """
    )
    done = inner.run()
    done.assert_outcomes(passed=1, failed=1)
    assert {name: test["component"] for name, test in inner.tests().items()} == {
        "test_invoice": "billing",
        "test_other": "test_a.py",
    }
    assert [alert["component"] for alert in inner.report()["alerts"]] == ["billing"]


def test_dropped_alert_fails_nothing(serial: Inner) -> None:
    """Alerts are modified before they are judged failing."""
    serial.pytester.makeconftest(
        """
        def pytest_memalert_modify_alerts(config, alerts):
            alerts[:] = [alert for alert in alerts if alert.rule != "limit-growth"]
        """
    )
    serial.write(GROWING)
    done = serial.run()
    done.assert_outcomes(passed=1, warnings=0)
    assert serial.report()["alerts"] == []


def test_conftest_modifies_the_alerts_of_the_tests_below_it_only(inner: Inner) -> None:
    """One of another folder has no say."""
    inner.pytester.makepyfile(
        **{
            "a/conftest": "def pytest_memalert_modify_alerts(config, alerts): alerts.clear()",
            "a/test_a": GROWING,
            "b/test_b": GROWING,
        }
    )
    inner.run("--import-mode=importlib").assert_outcomes(passed=1, failed=1)
    assert [alert["nodeids"] for alert in inner.report()["alerts"]] == [["b/test_b.py::test_growing"]]


def test_changed_alert_is_judged_as_changed(inner: Inner) -> None:
    """Another severity, component and recommendation."""
    inner.pytester.makeconftest(
        """
        from dataclasses import replace
        from pytest_memalert import AlertSeverity

        def pytest_memalert_modify_alerts(config, alerts):
            alerts[:] = [
                replace(alert, severity=AlertSeverity.WARNING)
                .with_component("storage")
                .with_recommendations("Ask the storage team.")
                for alert in alerts
            ]
        """
    )
    inner.write(GROWING)
    done = inner.run()
    done.assert_outcomes(passed=1, warnings=1)
    (alert,) = inner.report()["alerts"]
    assert (alert["severity"], alert["component"]) == ("warning", "storage")
    done.stdout.fnmatch_lines(["*-> Ask the storage team."])


def test_session_alert_can_be_dropped(serial: Inner) -> None:
    """The hook is called for the session as well."""
    serial.pytester.makeconftest("def pytest_memalert_modify_alerts(config, alerts): alerts.clear()")
    serial.write("import time\n\ndef test_it(): time.sleep(0.05)")
    serial.configure(
        "[[tool.memalert.rules]]\nname='long'\nmetric='duration_s'\nscope='session'\nthreshold='10ms'"
    )
    assert serial.run().ret == pytest.ExitCode.OK


def test_finished_run_is_seen_once_with_all_tests(inner: Inner) -> None:
    """In the process that the user started."""
    inner.pytester.makeconftest(
        """
        def pytest_memalert_finished(config, run):
            assert not hasattr(config, "workerinput")
            print(f"finished: {len(run.tests)} tests, {len(run.alerts)} alerts")
        """
    )
    inner.write(GROWING + "\n    def test_fine(): pass\n")
    done = inner.run("-s")
    assert done.stdout.str().count("finished: 2 tests, 1 alerts") == 1


@pytest.mark.parametrize(
    "hook", ["component(item)", "modify_alerts(config, alerts)", "finished(config, run)"]
)
def test_hook_that_raises_is_a_warning_and_fails_no_test(inner: Inner, hook: str) -> None:
    """The trouble is told by its exception; the report is written all the same."""
    inner.pytester.makeconftest(f"def pytest_memalert_{hook}: raise RuntimeError('broken hook')")
    inner.write(GROWING)
    done = inner.run("--memalert-fail-on=never")
    assert done.parseoutcomes()["passed"] == 1
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*MemalertWarning: *RuntimeError: broken hook*"])
    assert [alert["rule"] for alert in inner.report()["alerts"]] == ["limit-growth"]


@pytest.mark.parametrize(
    "change",
    ["replace(alerts[0], severity='info')", "replace(alerts[0], message=7)", "None"],
)
def test_what_a_hook_makes_that_is_no_alert_hides_none(inner: Inner, change: str) -> None:
    """It passed for no alert at all, or the report could not be written."""
    inner.pytester.makeconftest(
        f"""
        from dataclasses import replace

        def pytest_memalert_modify_alerts(config, alerts):
            alerts[0] = {change}
        """
    )
    inner.write(GROWING)
    done = inner.run()
    assert done.parseoutcomes()["failed"] == 1
    done.stdout.fnmatch_lines(["*MemalertWarning: pytest_memalert_modify_alerts failed (*"])
    assert [alert["severity"] for alert in inner.report()["alerts"]] == ["critical"]
