"""What searching for leaks may take of a suite's time: a purse for each purpose, filled by the tests."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_memalert.units import format_duration

__all__ = ["Purses"]

# Suspects that turn out to be clean may take this share of the tests' own time, and this long at
# the start, where most suspects are. Those that left much behind have a purse of their own: one memo that
# fills for 200 runs would leave a leak of 1 MB unchecked. Both together are 3 % and 0.8 s.
_CLEARING_SHARE, _CLEARING_S = 0.015, 0.4
_LARGE_BYTES, _LARGE_BLOCKS = 256 * 1024, 5000
# What a suspect takes must be in the purse so many times: slow ones leave quick ones the last of it.
_TIMES_IN_PURSE = 3
# What grows in a few re-runs is followed until it has outlasted caches: a second or two, which would leave
# other suspects nothing for their first re-run. So these are charged the plain look, or so many runs where
# there was none, and what a hunt took beyond, for nothing, to a purse for all that left as little, or as
# much.
_FIRST_RUNS = 6
_DOUBT_SHARE, _DOUBT_S = 0.01, 1.0
# A slow one that fills a cache of 128 took 9 s in pydantic's suite, and left four leaks unchecked: one alone
# is charged no more than there is at the start.
_MOST_DOUBT_S = 1.0
# A leak that is explained takes what it takes, until all of them took so much: then whoever runs the suite
# knows of several, and wants to have the others another day. To recognize one again costs two runs as a
# rule, sometimes fifteen: where every test leaks, that is the time of the whole suite, and more.
_FINDING_SHARE, _FINDING_S = 0.1, 20.0
# Where every test is checked, 20 ms of runs for each would make a suite of 1 ms tests 20 times as
# long: so they are given to the first tests, and from then on while they take no more than this share.
_LOOKING_SHARE, _LOOKING_S = 0.2, 10.0
# A look at a store that drops what is old may take 10 s: it leaves others their time, too.
_MOST_LOOK_S = 2.0
# A hunt to the end takes a second or two, and is reckoned at half of one. A suspect is promised to be found
# with 300 blocks or 10 KiB per run; less is pursued to the end only while that stays this share of the tests'
# time.
_PURSUIT_SHARE, _PURSUIT_COST_S = 0.01, 0.5
# A first run may have been slow for what it imported: one this slow is run again where nothing was yet, for
# nothing if it is slow, so that the quick ones after it are cleared as well.
_FIRST_S = 10.0


class _Purse:
    """Hold the time for one purpose: so much at the start, and a share of what the tests themselves take."""

    def __init__(self, share: float, start_s: float = 0.0) -> None:
        self._share = share
        self._start_s = start_s
        self.is_untouched = True
        self.spent_s = 0.0

    def affords(self, cost_s: float, *, tests_s: float) -> bool:
        """Return whether so much more may be spent, the tests having taken ``tests_s`` so far."""
        return self.spent_s + cost_s <= self._start_s + self._share * tests_s


class Purses:
    """Say what there is time for, and take note of what was spent; ``tests_s`` is the tests' own time.

    ``values`` are the figures of a suspect's first run.
    """

    def __init__(self) -> None:
        self.tests_s = 0.0
        self._clearing = {is_large: _Purse(_CLEARING_SHARE, _CLEARING_S) for is_large in (True, False)}
        self._doubt = {is_large: _Purse(_DOUBT_SHARE, _DOUBT_S) for is_large in (True, False)}
        self._finding = {is_large: _Purse(_FINDING_SHARE, _FINDING_S) for is_large in (True, False)}
        self._looking = _Purse(_LOOKING_SHARE, _LOOKING_S)
        self._pursuit = _Purse(_PURSUIT_SHARE)

    def can_clear(self, values: Mapping[str, float]) -> bool:
        """Return whether a suspect may be run again, to clear it."""
        if self._clearing[_is_large(values)].is_untouched and values["duration_s"] <= _FIRST_S:
            return True
        return self._affords_to_clear(values)

    def why_unchecked(self, values: Mapping[str, float]) -> str | None:
        """Return why there is no time to check a suspect, or None."""
        if not self.can_clear(values):
            spent_s = self._clearing[_is_large(values)].spent_s
            if spent_s < values["duration_s"]:
                return "running it again would take too much of the suite's time"
            return f"clearing others took {format_duration(spent_s)}, all that there is for it"
        return None

    def why_not_followed(self, values: Mapping[str, float]) -> str | None:
        """Return why there is no time to follow a suspect that grows on, or None."""
        doubt, finding = self._doubt[_is_large(values)], self._finding[_is_large(values)]
        if not doubt.affords(0.0, tests_s=self.tests_s):
            return f"suspects that grew for a while took {doubt.spent_s:.0f} s"
        if not finding.affords(0.0, tests_s=self.tests_s):
            return f"the leaks found before took {finding.spent_s:.0f} s"
        return None

    def can_pursue(self) -> bool:
        """Return whether a suspect's small growth may be followed to the end."""
        return self._pursuit.affords(_PURSUIT_COST_S, tests_s=self.tests_s)

    def can_look(self) -> bool:
        """Return whether a test that was asked for may be run for some time before it is called flat.

        That isn't asked by its own first run, which may have been slow for what it imported: a look at a
        quick test takes 20 ms, and at a slow one nine runs or none.
        """
        return self._looking.affords(0.0, tests_s=self.tests_s)

    def charge_look(self, seconds: float) -> None:
        """Take note of a look at a test that was asked for, and doesn't leak."""
        self._looking.spent_s += min(seconds, _MOST_LOOK_S)

    def charge_suspect(
        self,
        values: Mapping[str, float],
        seconds: float,
        *,
        followed_s: float | None = None,
        pursued: bool,
        leaks: bool,
    ) -> None:
        """Take note of the check of a suspect, in ``followed_s`` of which it was searched after a plain look.

        That is None where there was none. ``pursued`` says that small growth would be followed.
        """
        beyond_s = seconds - _FIRST_RUNS * values["duration_s"] if followed_s is None else followed_s
        beyond_s = max(0.0, beyond_s)
        if pursued:
            self._pursuit.spent_s += beyond_s
        if not leaks:
            clearing = self._clearing[_is_large(values)]
            if self._affords_to_clear(values) or not clearing.is_untouched:
                clearing.spent_s += seconds - beyond_s
            clearing.is_untouched = False
            if not pursued:
                self._doubt[_is_large(values)].spent_s += min(beyond_s, _MOST_DOUBT_S)
        else:
            self._finding[_is_large(values)].spent_s += seconds

    def _affords_to_clear(self, values: Mapping[str, float]) -> bool:
        return self._clearing[_is_large(values)].affords(
            _TIMES_IN_PURSE * values["duration_s"], tests_s=self.tests_s
        )


def _is_large(values: Mapping[str, float]) -> bool:
    """Return whether a suspect left much behind: those that left little don't leave it unchecked."""
    blocks, heap_bytes = values.get("blocks_growth", 0.0), values.get("heap_growth_bytes", 0.0)
    return blocks >= _LARGE_BLOCKS or heap_bytes >= _LARGE_BYTES
