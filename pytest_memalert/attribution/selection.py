"""Which survivors speak for a leak: the user's that nothing excuses, and none that is part of another."""

from __future__ import annotations

from pytest_memalert.attribution.group_holders import (
    cache_limit,
    finalizes_others,
    holders_of,
    is_parameter,
    is_users,
    is_weak,
    owner_of,
    parts_of_others,
)
from pytest_memalert.attribution.heads import PLUMBING, heads_of, refers_weakly_to
from pytest_memalert.attribution.holding.holder import Holder
from pytest_memalert.attribution.objects import is_exactly
from pytest_memalert.attribution.survivors.groups import Group, Watch, fold_closures

__all__ = ["SURE", "Selection", "is_unheld"]

#: Kinds whose holders are searched. More survive where a test loads modules anew in each run.
_MOST_HEADS = 20

#: Groups of survivors that are named, alike ones together.
_NAMED_GROUPS = 48

#: The share of runs in which survivors must have grown in number to be the whole story.
SURE = 0.6

# The share of what was traced that must be accounted for.
_MOST = 0.5

# Types whose objects the interpreter keeps for reuse when they die.
_REUSED = (tuple, list, dict, float)


class Selection:
    """Choose among groups of survivors, of which ``holders`` has those that were searched for, by identity.

    ``framework`` are pytest's and its plugins', ``users`` all others that speak for the leak, the largest
    heads first, what has neither place nor holder last; of these ``named`` are to be told, with their holders
    in ``paths``, and the advice is for the ``leading`` ones. ``cached`` are those that caches of up to
    ``cached_limit`` have taken in beside them, which let go of as much or will. ``in_parameter`` says that a
    value that the test is parametrized with keeps all of it, ``is_whole`` that these are all that a run
    leaves, as far as is seen.
    """

    def __init__(self, seen: Watch) -> None:
        self._seen = seen
        new = {id(obj) for group in seen.groups for obj in group.objects}
        self._heads = heads_of(seen.groups)[:_MOST_HEADS]
        found = holders_of(seen, self._heads)
        self.holders = {id(group): holder for group, holder in zip(self._heads, found, strict=True)}
        fold_closures(seen.groups)
        self._clear_reused()
        self.framework = [g for g in seen.groups if g.framework and not is_users(self._holder(g))]
        self.users = [group for group in seen.groups if group not in self.framework]
        self.in_parameter = self._leave_out_parameters()
        self.cached_limit = 0
        self.cached = self._leave_out_caches(new)
        weak = {
            id(group)
            for group in seen.groups
            if is_weak(group, self._holder(group)) or finalizes_others(group, new)
        }
        self.users.sort(
            key=lambda group: (
                id(group) in weak,
                not group.frames and is_unheld(self._holder(group)),
                group not in self._heads,
                -group.size_bytes,
            )
        )
        self.is_whole = _is_whole(seen) and not weak
        self.named = self.users[:_NAMED_GROUPS]
        self.paths = {
            id(group): self._holder(group) or owner_of(group, self._heads, self.holders, new)
            for group in self.named
        }
        self._leave_out_parts()
        self._leave_out_what_came_up_once()
        leading = [group for group in self.users if group in self._heads] or self.users[:1]
        # What only weak references hold has another holder: that of the others is to be told.
        self.leading = [group for group in leading if id(group) not in weak] or leading

    def _holder(self, group: Group) -> Holder | None:
        return self.holders.get(id(group))

    def _clear_reused(self) -> None:
        """Take from the framework what may lie where its objects were, whose place is told for them."""
        for group in self._seen.groups:
            if group.framework and _is_reused(group, self._holder(group)):
                group.framework, group.frames = False, ()

    def _leave_out_parameters(self) -> bool:
        """Leave out what a value that the test is parametrized with keeps; return whether that is all."""
        by_parameter = [group for group in self._heads if is_parameter(self._holder(group))]
        others = [
            group
            for group in self._heads
            if group not in by_parameter and group in self.users and not _is_loose(group, self._holder(group))
        ]
        if by_parameter and others:
            # What the other heads don't account for is part of these.
            self.users = others
        return bool(by_parameter) and not others

    def _leave_out_caches(self, new: set[int]) -> list[Group]:
        """Leave out what caches have taken in, with all that belongs to it, and return that.

        Where they are full they have let go of as much for it, else they will. Where there is nothing else,
        nothing is left out.
        """
        limits = {id(group): cache_limit(self._holder(group)) for group in self._heads}
        in_cache = [group for group in self._heads if limits[id(group)]]
        others = [
            group
            for group in self._heads
            if group in self.users and group not in in_cache and not is_unheld(self._holder(group))
        ]
        if not in_cache or not others:
            return []
        cached = [
            group
            for group in self.users
            if group in in_cache
            or (
                group not in self._heads
                and owner_of(group, others, self.holders, new) is None
                and owner_of(group, in_cache, self.holders, new) is not None
            )
        ]
        self.cached_limit = max(limits.values())
        kept = {id(obj) for group in cached for obj in group.objects}
        cached += [group for group in self.users if group not in cached and refers_weakly_to(kept, group)]
        self.users = [group for group in self.users if group not in cached]
        return cached

    def _leave_out_parts(self) -> None:
        """Leave out what others lead to; that of a type of its own means that not all is told."""
        for part in parts_of_others(self.named, self.paths):
            self.paths[id(part)] = None
            self.users.remove(part)
            self.is_whole = self.is_whole and (part not in self._heads or part.type in PLUMBING)

    def _leave_out_what_came_up_once(self) -> None:
        """Leave out what came up once and is held by nobody: another thread may be about to drop it."""
        once = [group for group in self.users if self._came_up_once(group)]
        if 0 < len(once) < len(self.users):
            self.users = [group for group in self.users if group not in once]
            self.named = [group for group in self.named if group not in once]
            self.is_whole = False

    def _came_up_once(self, group: Group) -> bool:
        """Return whether a group is one object of several runs, of which nothing is known that holds it."""
        return len(group.objects) == 1 and self._seen.runs > 1 and is_unheld(self.paths.get(id(group)))


def is_unheld(holder: Holder | None) -> bool:
    """Return whether nothing is known that holds something."""
    return holder is None or holder.root == "none"


def _is_loose(group: Group, holder: Holder | None) -> bool:
    """Return whether a group is of tuples and the like of which nothing is known, as those on a stack."""
    return group.type in PLUMBING and is_unheld(holder)


def _is_reused(group: Group, holder: Holder | None) -> bool:
    """Return whether a group's objects may lie where others were, whose place of allocation is told for them.

    Tuples and the like that die are kept for the next ones, with the trace of their allocation. pytest makes
    and drops many; what it keeps, it holds.
    """
    return is_unheld(holder) and bool(group.objects) and is_exactly(group.objects[0], _REUSED)


def _is_whole(seen: Watch) -> bool:
    """Return whether the objects found are most of what was traced where each run left something.

    Where they are such as the collector doesn't track, what they hold isn't known.
    """
    groups = seen.groups
    if not groups or any(group.container is not None for group in groups):
        return True
    traced_bytes = sum(group.size_bytes for group in seen.hidden if group.confidence >= SURE)
    return sum(group.size_bytes for group in groups) >= _MOST * traced_bytes
