"""Tests for the containers that the code around them keeps small."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_memalert.attribution.allocation.sites import compile_file
from pytest_memalert.attribution.bounding.bounds import Bound, filling_cache, kept_small
from pytest_memalert.attribution.bounding.eviction import Eviction, find_eviction, running
from pytest_memalert.attribution.containers import grown_containers
from pytest_memalert.attribution.reading import source

Load = Callable[[str], ModuleType]
NUMBERS = itertools.count()

KEPT_SMALL = {
    "cleared when it is full": (
        """
        KEPT = {}
        def put(key):
            if len(KEPT) >= 300:
                KEPT.clear()
            KEPT[key] = [key]
        """,
        Eviction(function="kept.put", by="length", limit=300),
    ),
    "one goes for each that comes, by a named constant": (
        """
        MOST = 500
        KEPT = {}
        def put(key):
            KEPT[key] = [key]
            while MOST < len(KEPT):
                del KEPT[next(iter(KEPT))]
        """,
        Eviction(function="kept.put", by="length", limit=500),
    ),
    "another function of an instance lets go, beyond its own limit": (
        """
        class Store:
            def __init__(self, limit):
                self.limit, self._kept = limit, {}
            def put(self, key):
                self._kept[key] = [key]
                self._shrink()
            def _shrink(self):
                if len(self._kept) > self.limit:
                    self._drop()
            def _drop(self):
                self._kept.popitem()
        STORE = Store(400)
        KEPT = STORE._kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=400),
    ),
    "in a private slot, beyond a constant of the class": (
        """
        class Store:
            __slots__ = ("__kept",)
            MOST = 30
            def __init__(self):
                self.__kept = []
            def put(self, key):
                self.__kept.append([key])
                if len(self.__kept) > self.MOST:
                    self.__kept.pop(0)
            def kept(self):
                return self.__kept
        STORE = Store()
        KEPT = STORE.kept()
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=30),
    ),
    "of a class": (
        """
        class Doc:
            kept = {}
            @classmethod
            def put(cls, key):
                if len(cls.kept) == 64:
                    cls.kept.clear()
                cls.kept[key] = [key]
        KEPT = Doc.kept
        put = Doc.put
        """,
        Eviction(function="kept.Doc.put", by="length", limit=64),
    ),
    "a dict that keeps itself small": (
        """
        from collections import OrderedDict
        class Recent(OrderedDict):
            def __setitem__(self, key, value):
                super().__setitem__(key, value)
                if len(self) > 20:
                    self.popitem(last=False)
        KEPT = Recent()
        def put(key):
            KEPT[key] = [key]
        """,
        Eviction(function="kept.Recent.__setitem__", by="length", limit=20),
    ),
    "in the closure of a decorator": (
        """
        def memo(size):
            kept = {}
            def wrap(key):
                if len(kept) > size:
                    kept.clear()
                kept[key] = [key]
            return wrap
        put = memo(700)
        KEPT = put.__closure__[0].cell_contents
        """,
        Eviction(function="kept.wrap", by="length", limit=700),
    ),
    "the rest is sliced off": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            del KEPT[:-40]
        """,
        Eviction(function="kept.put", by="length", limit=40),
    ),
    "the last ones are kept": (
        """
        KEPT = []
        def put(key):
            global KEPT
            KEPT.append([key])
            KEPT = KEPT[-50:]
        """,
        Eviction(function="kept.put", by="length", limit=50),
    ),
    "a new one is begun": (
        """
        KEPT = {}
        def put(key):
            global KEPT
            if len(KEPT) > 400:
                KEPT = {}
            KEPT[key] = [key]
        """,
        Eviction(function="kept.put", by="length", limit=400),
    ),
    "a pool takes no more": (
        """
        KEPT = []
        def put(key):
            if len(KEPT) < 8:
                KEPT.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=8),
    ),
    "a full pool refuses": (
        """
        KEPT = []
        def put(key):
            if len(KEPT) >= 9:
                raise LookupError
            KEPT.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=9),
    ),
    "by a bound that isn't known": (
        """
        import os
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) > 2 * (os.cpu_count() or 1):
                KEPT.pop()
        """,
        Eviction(function="kept.put", by="length", limit=None),
    ),
    "by the length of another name of it": (
        """
        class Store:
            def __init__(self):
                self._kept = {}
            def put(self, key):
                kept = self._kept
                count = len(kept)
                if count >= 60:
                    kept.clear()
                kept[key] = [key]
        STORE = Store()
        KEPT = STORE._kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=60),
    ),
    "the best are kept": (
        """
        import heapq
        KEPT = []
        def put(key):
            heapq.heappush(KEPT, (key, [key]))
            if len(KEPT) > 50:
                heapq.heappop(KEPT)
        """,
        Eviction(function="kept.put", by="length", limit=50),
    ),
    "by the sizes of what it has": (
        """
        class Store:
            def __init__(self):
                self.size, self.kept = 0, {}
            def put(self, key):
                self.kept[key] = bytes(10)
                self.size += 10
                while self.size > 1000:
                    self.size -= len(self.kept.pop(next(iter(self.kept))))
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="size", limit=None),
    ),
    "two generations": (
        """
        class Store:
            def __init__(self):
                self.old, self.new = {}, {}
            def put(self, key):
                if len(self.new) >= 70:
                    self.old, self.new = self.new, {}
                self.new[key] = [key]
        STORE = Store()
        KEPT = STORE.new
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=70),
    ),
    "what is old goes": (
        """
        import time
        KEPT = {}
        def put(key):
            now = time.monotonic()
            for other in [one for one, at in KEPT.items() if now - at > 60]:
                del KEPT[other]
            KEPT[key] = now
        """,
        Eviction(function="kept.put", by="age", limit=None),
    ),
    "what is old goes, by a clock of its own": (
        """
        import time
        class Store:
            def __init__(self, clock=time.monotonic):
                self.clock = clock
                self.kept = {}
            def put(self, key):
                self._purge()
                self.kept[key] = (self.clock() + 60, key)
            def _purge(self):
                now = self.clock()
                for key in [key for key, (expires, _) in self.kept.items() if expires <= now]:
                    del self.kept[key]
        STORE = Store()
        put = STORE.put
        KEPT = STORE.kept
        """,
        Eviction(function="kept.Store.put", by="age", limit=None),
    ),
    "what is old goes, by a time that is passed on": (
        """
        import time
        class Store:
            def __init__(self):
                self.kept = {}
            def put(self, key):
                now = time.time()
                self._sweep(now)
                self.kept[key] = now
            def _sweep(self, now):
                for key, at in list(self.kept.items()):
                    if now - at > 60:
                        self.kept.pop(key)
        STORE = Store()
        put = STORE.put
        KEPT = STORE.kept
        """,
        Eviction(function="kept.Store.put", by="age", limit=None),
    ),
    "another function is given it, and its limit": (
        """
        KEPT = {}
        def shrink(store, limit):
            while len(store) > limit:
                store.pop(next(iter(store)))
        def put(key):
            KEPT[key] = [key]
            shrink(KEPT, 300)
        """,
        Eviction(function="kept.put", by="length", limit=300),
    ),
    "another method is given it": (
        """
        class Store:
            def __init__(self):
                self.kept = []
            def put(self, key):
                self.kept.append(key)
                self._shrink(self.kept)
            def _shrink(self, entries):
                if len(entries) > 90:
                    del entries[:30]
        STORE = Store()
        put = STORE.put
        KEPT = STORE.kept
        """,
        Eviction(function="kept.Store.put", by="length", limit=90),
    ),
    "it is given by its name": (
        """
        KEPT, MOST = {}, 80
        def shrink(*, most, store):
            while len(store) > most:
                store.popitem()
        def put(key):
            KEPT[key] = [key]
            shrink(store=KEPT, most=MOST)
        """,
        Eviction(function="kept.put", by="length", limit=80),
    ),
    "there is no limit today, by length": (
        """
        class Store:
            def __init__(self, most=None):
                self.__most, self.kept = most, {}
            def put(self, key):
                self.kept[key] = [key]
                if self.__most is not None and len(self.kept) > self.__most:
                    self.kept.popitem()
        STORE = Store()
        put = STORE.put
        KEPT = STORE.kept
        """,
        Eviction(function="kept.Store.put", by=None, limit=None),
    ),
    "there is no limit today, by size or age": (
        """
        import math, time
        class Store:
            def __init__(self, most=math.inf, age=None):
                self.most, self.age, self.kept, self.size = most, age, {}, 0
            def put(self, key):
                self.kept[key] = time.time()
                while self.size > self.most:
                    self.kept.popitem()
                for key, at in list(self.kept.items()):
                    if self.age and at + 60 < self.age:
                        del self.kept[key]
        STORE = Store()
        put = STORE.put
        KEPT = STORE.kept
        """,
        Eviction(function="kept.Store.put", by=None, limit=None),
    ),
    "all goes once it is too large": (
        """
        KEPT, COUNTED = {}, [0]
        def put(key):
            COUNTED[0] += 10
            if COUNTED[0] > 1000:
                KEPT.clear()
            KEPT[key] = bytes(10)
        """,
        Eviction(function="kept.put", by="size", limit=None),
    ),
    "the oldest that another list has goes": (
        """
        KEPT, ORDER = {}, []
        def put(key):
            KEPT[key] = [key]
            ORDER.append(key)
            if len(ORDER) > 2000:
                oldest = ORDER.pop(0)
                del KEPT[oldest]
        """,
        Eviction(function="kept.put", by="size", limit=None),
    ),
    "a new one is begun every so many calls": (
        """
        KEPT, CALLS = [], 0
        def put(key):
            global KEPT, CALLS
            KEPT.append([key])
            CALLS += 1
            if CALLS % 2000 == 0:
                KEPT = []
        """,
        Eviction(function="kept.put", by="size", limit=None),
    ),
    "who is done goes, for some other reason": (
        """
        KEPT, DONE = {}, []
        def put(key, retries=0):
            KEPT[key] = [key]
            if retries > 3:
                del KEPT[DONE.pop()]
        """,
        Eviction(function="kept.put", by=None, limit=None),
    ),
    "a parameter is divided": (
        """
        KEPT = {}
        def put(key, calls=4):
            KEPT[key] = [key]
            if calls % 2 == 1:
                KEPT.clear()
        """,
        Eviction(function="kept.put", by=None, limit=None),
    ),
    "one that is too old is replaced": (
        """
        import time
        KEPT = {}
        def put(key):
            now = time.monotonic()
            if key in KEPT and now - KEPT[key] > 60:
                del KEPT[key]
            KEPT.setdefault(key, now)
        """,
        Eviction(function="kept.put", by=None, limit=None),
    ),
    "one of the same name is replaced": (
        """
        KEPT = {}
        def put(key):
            while key in KEPT:
                del KEPT[key]
            KEPT[key] = [key]
        """,
        Eviction(function="kept.put", by=None, limit=None),
    ),
    "the largest of several limits counts": (
        """
        KEPT = []
        def put(key):
            if len(KEPT) >= 2 and KEPT[-1] is key:
                return
            KEPT.append([key])
            if len(KEPT) > 400:
                del KEPT[:200]
        """,
        Eviction(function="kept.put", by="length", limit=400),
    ),
    "a limit that is computed": (
        """
        KEPT = {}
        def put(key):
            if len(KEPT) > 4 * 1024 - int(2 ** 5 / 2):
                KEPT.clear()
            KEPT[key] = [key]
        """,
        Eviction(function="kept.put", by="length", limit=4080),
    ),
    "a limit of another object": (
        """
        class Config:
            def __init__(self):
                self.most = 400
        class Store:
            def __init__(self):
                self.config, self.rows = Config(), []
            def put(self, key):
                if len(self.rows) > self.config.most:
                    self.rows.pop(0)
                self.rows.append([key])
        STORE = Store()
        KEPT = STORE.rows
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=400),
    ),
    "a limit of a class": (
        """
        class Limits:
            MOST = 70
        KEPT = []
        def put(key):
            KEPT.append([key])
            while len(KEPT) > Limits.MOST:
                KEPT.pop(0)
        """,
        Eviction(function="kept.put", by="length", limit=70),
    ),
    "a limit that a property returns": (
        """
        class Store:
            def __init__(self):
                self.__most, self.kept = 80, []
            @property
            def most(self):
                return self.__most
            @property
            def is_full(self):
                return len(self.kept) >= self.most
            def put(self, key):
                if self.is_full:
                    self.kept.pop()
                self.kept.append([key])
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=80),
    ),
    "a limit by default": (
        """
        KEPT = []
        def put(key, limit=90):
            KEPT.append([key])
            if len(KEPT) > limit:
                KEPT.clear()
        """,
        Eviction(function="kept.put", by="length", limit=90),
    ),
    "a local limit below the limit": (
        """
        class Store:
            def __init__(self):
                self.most, self.kept = 300, {}
            def put(self, key):
                self.kept[key] = [key]
                if len(self.kept) > self.most:
                    self._shrink()
            def _shrink(self):
                wanted = self.count()
                while len(self.kept) > wanted:
                    self.kept.popitem()
            def count(self):
                import os
                return os.cpu_count()
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=300),
    ),
    "all but the last ones are replaced by nothing": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            KEPT[:-40] = []
        """,
        Eviction(function="kept.put", by="length", limit=40),
    ),
    "the last ones replace all": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            KEPT[:] = KEPT[-50:]
        """,
        Eviction(function="kept.put", by="length", limit=50),
    ),
    "it is made anew of the last ones and one more": (
        """
        KEPT = []
        def put(key):
            global KEPT
            KEPT = [*KEPT[-60:], [key]]
        """,
        Eviction(function="kept.put", by="length", limit=60),
    ),
    "the first ones are deleted in a loop": (
        """
        KEPT = {}
        def put(key):
            KEPT[key] = [key]
            for other in list(KEPT)[:-70]:
                del KEPT[other]
        """,
        Eviction(function="kept.put", by="length", limit=70),
    ),
    "as many as are too much go": (
        """
        KEPT = {}
        def put(key):
            KEPT[key] = [key]
            excess = len(KEPT) - 80
            for _ in range(excess):
                KEPT.pop(next(iter(KEPT)))
        """,
        Eviction(function="kept.put", by="length", limit=80),
    ),
    "the keys are counted": (
        """
        KEPT = {}
        def put(key):
            KEPT[key] = [key]
            if len(KEPT.keys()) + 1 > 91:
                KEPT.clear()
        """,
        Eviction(function="kept.put", by="length", limit=90),
    ),
    "the count is matched": (
        """
        KEPT = {}
        def put(key):
            match len(KEPT):
                case count if count > 100:
                    KEPT.clear()
            KEPT[key] = [key]
        """,
        Eviction(function="kept.put", by="length", limit=100),
    ),
    "all go after each hundred": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            if not len(KEPT) % 100:
                KEPT.clear()
        """,
        Eviction(function="kept.put", by="length", limit=100),
    ),
    "a few may stay, else all go": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) < 110:
                return
            KEPT.clear()
        """,
        Eviction(function="kept.put", by="length", limit=110),
    ),
    "one expression clears it": (
        """
        KEPT = []
        def put(key):
            KEPT.append([key])
            len(KEPT) > 120 and KEPT.clear()
        """,
        Eviction(function="kept.put", by="length", limit=120),
    ),
    "by the length of what wraps it": (
        """
        class Store:
            def __init__(self):
                self._kept, self.limit = {}, 130
            def __len__(self):
                return len(self._kept)
            def put(self, key):
                self._kept[key] = [key]
                if len(self) > self.limit:
                    self._kept.popitem()
        STORE = Store()
        KEPT = STORE._kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=130),
    ),
    "a UserDict": (
        """
        from collections import UserDict
        class Store(UserDict):
            def __setitem__(self, key, value):
                if len(self) > 140:
                    self.clear()
                super().__setitem__(key, value)
        STORE = Store()
        KEPT = STORE.data
        def put(key):
            STORE[key] = [key]
        """,
        Eviction(function="kept.Store.__setitem__", by="length", limit=140),
    ),
    "of a thread": (
        """
        import threading
        LOCAL = threading.local()
        LOCAL.kept = {}
        KEPT = LOCAL.kept
        def put(key):
            if len(LOCAL.kept) > 150:
                LOCAL.kept.clear()
            LOCAL.kept[key] = [key]
        """,
        Eviction(function="kept.put", by="length", limit=150),
    ),
    "of a thread, by an attribute": (
        """
        import threading
        class Store:
            def __init__(self):
                self._local = threading.local()
                self._local.kept = []
            def put(self, key):
                self._local.kept.append([key])
                if len(self._local.kept) > 160:
                    self._local.kept.clear()
        STORE = Store()
        KEPT = STORE._local.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=160),
    ),
    "of a module that replaced itself": (
        """
        import sys
        class Store:
            def __init__(self):
                self.kept = {}
            def put(self, key):
                if len(self.kept) > 170:
                    self.kept.clear()
                self.kept[key] = [key]
        class Api:
            store = Store()
            put = store.put
            KEPT = store.kept
        sys.modules[__name__] = Api()
        """,
        Eviction(function="kept.Store.put", by="length", limit=170),
    ),
    "a base class lets go": (
        """
        class Base:
            def __init__(self):
                self.kept = []
            def put(self, key):
                if len(self.kept) > 180:
                    self.kept.clear()
        class Store(Base):
            def put(self, key):
                super().put(key)
                self.kept.append([key])
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=180),
    ),
    "who calls what adds keeps it small": (
        """
        class Store:
            def __init__(self):
                self.kept = []
            def put(self, key):
                self._add(key)
                self._shrink()
            def _add(self, key):
                self.kept.append([key])
            def _shrink(self):
                if len(self.kept) > 190:
                    self.kept.pop(0)
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=190),
    ),
    "generations take turns elsewhere": (
        """
        class Store:
            def __init__(self):
                self.old, self.new = {}, {}
            def put(self, key):
                if len(self.new) > 200:
                    self._rotate()
                self.new[key] = [key]
            def _rotate(self):
                self.old = self.new
                self.new = {}
        STORE = Store()
        KEPT = STORE.new
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="length", limit=200),
    ),
    "another function refuses when it is full": (
        """
        KEPT = []
        def check():
            if len(KEPT) >= 210:
                raise LookupError
        def put(key):
            check()
            KEPT.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=210),
    ),
    "it waits for room": (
        """
        import time
        KEPT = []
        def put(key):
            while len(KEPT) >= 220:
                time.sleep(0.1)
            KEPT.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=220),
    ),
    "what has expired goes": (
        """
        class Entry:
            def expired(self):
                return False
        KEPT = {}
        def put(key):
            for other, entry in list(KEPT.items()):
                if entry.expired():
                    del KEPT[other]
            KEPT[key] = Entry()
        """,
        Eviction(function="kept.put", by="age", limit=None),
    ),
    "those that have not expired are kept": (
        """
        class Entry:
            def alive(self):
                return True
        class Store:
            def __init__(self):
                self.kept = []
            def put(self, key):
                self.kept = [entry for entry in self.kept if entry.alive()]
                self.kept.append(Entry())
        STORE = Store()
        STORE.put(1)
        KEPT = STORE.kept
        def put(key):
            pass
        """,
        Eviction(function="kept.Store.put", by="age", limit=None),
    ),
    "what is old is put down first": (
        """
        import time
        KEPT = {}
        def put(key):
            now, old = time.monotonic(), []
            for other, at in KEPT.items():
                if now - at > 60:
                    old.append(other)
            for other in old:
                del KEPT[other]
            KEPT[key] = now
        """,
        Eviction(function="kept.put", by="age", limit=None),
    ),
    "one is registered again, and too many are warned of": (
        """
        import warnings
        class Bus:
            def __init__(self):
                self.kept = []
            def put(self, key):
                if key in self.kept:
                    self.kept.remove(key)
                self.kept.append(key)
                if len(self.kept) > 1000:
                    warnings.warn("many")
        BUS = Bus()
        KEPT = BUS.kept
        put = BUS.put
        """,
        Eviction(function="kept.Bus.put", by=None, limit=None),
    ),
    "functions use an instance of the module": (
        """
        class State:
            def __init__(self):
                self.kept = []
        STATE = State()
        KEPT = STATE.kept
        def put(key):
            STATE.kept.append([key])
            if len(STATE.kept) > 230:
                STATE.kept.pop(0)
        """,
        Eviction(function="kept.put", by="length", limit=230),
    ),
    "functions use a class of the module": (
        """
        class State:
            kept = []
        KEPT = State.kept
        def put(key):
            if len(State.kept) > 240:
                del State.kept[:120]
            State.kept.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=240),
    ),
    "a limit that isn't known besides one that is": (
        """
        import os
        KEPT = []
        def put(key):
            if len(KEPT) > 250:
                KEPT.pop()
            while len(KEPT) > 9 * os.cpu_count():
                KEPT.pop()
            KEPT.append([key])
        """,
        Eviction(function="kept.put", by="length", limit=None),
    ),
    "the last ones of it and one more are kept": (
        """
        class Store:
            def __init__(self):
                self.kept, self.most = [], 260
            def put(self, key):
                self.kept = (self.kept + [[key]])[-self.most:]
        STORE = Store()
        STORE.put(0)
        KEPT = STORE.kept
        def put(key):
            pass
        """,
        Eviction(function="kept.Store.put", by="length", limit=260),
    ),
    "a mapping of its own": (
        """
        from collections.abc import MutableMapping
        class Store(MutableMapping):
            def __init__(self, most):
                self.most, self.kept = most, {}
            def __getitem__(self, key):
                return self.kept[key]
            def __setitem__(self, key, value):
                while len(self) >= self.most:
                    self.popitem()
                self.kept[key] = value
            def __delitem__(self, key):
                del self.kept[key]
            def __iter__(self):
                return iter(self.kept)
            def __len__(self):
                return len(self.kept)
        STORE = Store(270)
        KEPT = STORE.kept
        def put(key):
            STORE[key] = [key]
        """,
        Eviction(function="kept.Store.__setitem__", by="length", limit=270),
    ),
    "what is old goes now and then": (
        """
        import time
        class Store:
            def __init__(self):
                self.due, self.kept = time.monotonic() + 60, {}
            def put(self, key):
                self.kept[key] = [key]
                if time.monotonic() > self.due:
                    self.sweep()
            def sweep(self):
                self.kept = {}
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
        Eviction(function="kept.Store.put", by="age", limit=None),
    ),
    "a decorator knows the limit": (
        """
        import functools
        def memo(most=280):
            def decorate(function):
                kept = {}
                @functools.wraps(function)
                def wrap(key):
                    if len(kept) >= most:
                        kept.pop(next(iter(kept)))
                    kept[key] = function(key)
                wrap.kept = kept
                return wrap
            return decorate
        @memo()
        def put(key):
            return [key]
        KEPT = put.kept
        """,
        Eviction(function="kept.wrap", by="length", limit=280),
    ),
}

NOT_KEPT_SMALL = {
    "it only grows": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        """,
    "who registers may unregister": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def remove(key):
            KEPT.remove(key)
        """,
    "one of several tests cleans up": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def test_it():
            KEPT.append(1)
            KEPT.clear()
        """,
    "it has another name as well": """
        KEPT = {}
        def put(key):
            put.KEPT = KEPT
            KEPT[key] = [key]
        """,
    "somebody may clear it": """
        KEPT = {}
        def put(key):
            KEPT[key] = [key]
        def clear():
            KEPT.clear()
        """,
    "the last one stays on the stack": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def pop():
            if len(KEPT) > 1:
                KEPT.pop()
        """,
    "a queue that somebody else would drain in time": """
        import time
        KEPT = []
        def put(key):
            KEPT.append([key])
        def drain(until):
            while KEPT and time.monotonic() < until:
                KEPT.pop()
        """,
    "too many are warned of": """
        import warnings
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) > 1000:
                warnings.warn("many")
        """,
    "another container is given away, to be kept small": """
        KEPT, RECENT = [], []
        def shrink(entries):
            if len(entries) > 10:
                entries.clear()
        def put(key):
            KEPT.append([key])
            RECENT.append(key)
            shrink(RECENT)
        """,
    "another container is kept small": """
        KEPT, RECENT = [], []
        def put(key):
            KEPT.append([key])
            RECENT.append(key)
            if len(RECENT) > 10:
                RECENT.clear()
        """,
    "a local variable has the same name": """
        KEPT = []
        def put(key):
            globals()["KEPT"].append([key])
        def other(key):
            KEPT = []
            KEPT.append(key)
        """,
    "a local variable of its name has a bound": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def first(source):
            KEPT = []
            for each in source:
                KEPT.append(each)
                if len(KEPT) > 500:
                    break
                    KEPT.clear()
        """,
    "a parameter of its name has a bound": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def take(KEPT):
            if len(KEPT) > 400:
                raise ValueError
            KEPT.append(0)
        """,
    "a function around it has a variable of its name": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def make():
            KEPT = []
            def add(key):
                if len(KEPT) > 50:
                    KEPT.clear()
                KEPT.append(key)
            return add
        """,
    "a method of something else has the name of a function": """
        import sys
        KEPT = []
        def flush():
            while len(KEPT) > 200:
                KEPT.pop(0)
        def put(key):
            KEPT.append([key])
            sys.stdout.flush()
        """,
    "another object has an attribute of its name": """
        class Page:
            pass
        class Store:
            def __init__(self):
                self.rows, self.page = [], Page()
                self.page.rows = []
            def put(self, key):
                self.rows.append([key])
                if len(self.page.rows) > 100:
                    self.page.rows.clear()
        STORE = Store()
        KEPT = STORE.rows
        put = STORE.put
        """,
    "a class within a function has the name of its class": """
        class Box:
            def __init__(self):
                self.held = []
            def put(self, key):
                self.held.append([key])
        def make():
            class Box:
                def put(self, key):
                    self.held.append([key])
                    if len(self.held) > 90:
                        self.held.clear()
            return Box
        BOX = Box()
        KEPT = BOX.held
        put = BOX.put
        """,
    "what lets go is overridden": """
        class Base:
            def __init__(self):
                self.kept = []
            def put(self, key):
                self.kept.append([key])
                if len(self.kept) > 90:
                    self.kept.clear()
        class Store(Base):
            def put(self, key):
                self.kept.append([key])
        STORE = Store()
        KEPT = STORE.kept
        put = STORE.put
        """,
    "the length is looked at once it is added": """
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) > 500:
                return "many"
            return "few"
        """,
    "one length is another case": """
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) != 120:
                return
            print("many")
        """,
    "a copy of it is cut": """
        KEPT = []
        def put(key):
            KEPT.append([key])
            last = KEPT[-10:]
            del last[:-5]
        """,
    "it is made anew of all and one more": """
        KEPT = []
        def put(key):
            global KEPT
            KEPT = [*KEPT, [key]]
            KEPT += [key]
        """,
    "its length is one of some": """
        KEPT = []
        def put(key):
            if len(KEPT) in (10, 100, 1000):
                print("growing")
                return
            KEPT.append([key])
        """,
    "a variable of a loop has its name": """
        KEPT = []
        def put(key):
            KEPT.append([key])
        def clean(lists):
            for KEPT in lists:
                KEPT.append(1)
                if len(KEPT) > 40:
                    KEPT.clear()
        """,
    "each hundredth is told": """
        KEPT = []
        def put(key):
            KEPT.append([key])
            if len(KEPT) % 100 == 0:
                print(len(KEPT))
        """,
    "a class above it has a container of its own": """
        class Base:
            kept = []
            def put(self, key):
                Base.kept.append([key])
        class Store(Base):
            def __init__(self):
                self.kept = []
            def put(self, key):
                self.kept.append([key])
                if len(self.kept) > 40:
                    self.kept.clear()
        KEPT = Base.kept
        put = Base().put
        """,
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a module ``kept`` made of a source."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load_source(source: str) -> ModuleType:
        lines = source.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        (tmp_path / "kept.py").write_text("\n".join(line[indent:] for line in lines), encoding="utf-8")
        importlib.invalidate_caches()
        return importlib.import_module("kept")

    yield load_source
    sys.modules.pop("kept", None)


@pytest.mark.parametrize(("source", "expected"), KEPT_SMALL.values(), ids=KEPT_SMALL)
def test_what_adds_lets_go(load: Load, source: str, expected: Eviction) -> None:
    module = load(source)
    module.put(1)
    assert find_eviction(module.KEPT) == expected


@pytest.mark.parametrize("source", NOT_KEPT_SMALL.values(), ids=NOT_KEPT_SMALL)
def test_what_only_adds_is_no_cache(load: Load, source: str) -> None:
    module = load(source)
    module.put(1)
    assert find_eviction(module.KEPT) is None


def test_a_limit_is_read_and_not_asked_for(load: Load) -> None:
    """A property that computes, ``__getattr__`` and the like are the user's code."""
    module = load(
        """
        ASKED = []
        class Config:
            @property
            def most(self):
                ASKED.append("most")
                return 100
            def __getattr__(self, name):
                ASKED.append(name)
                return 100
        CONFIG, KEPT = Config(), []
        def put(key):
            KEPT.append([key])
            if len(KEPT) > CONFIG.most or len(KEPT) > CONFIG.other:
                KEPT.clear()
        """
    )
    assert find_eviction(module.KEPT) == Eviction(function="kept.put", by="length", limit=None)
    assert not module.ASKED


def test_a_module_need_not_be_known_to_the_interpreter(load: Load) -> None:
    module = load(KEPT_SMALL["cleared when it is full"][0])
    del sys.modules["kept"]
    found = Eviction(function="kept.put", by="length", limit=300)
    assert find_eviction(module.KEPT) == found


def test_a_file_is_read_once_however_many_refer_to_a_container(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What leaks often refers back to what keeps it, as an attribute or in a closure."""
    read = []

    def compile_and_count(filename: str, *, flags: int = 0) -> object:
        read.append(filename)
        return compile_file(filename, flags=flags)

    monkeypatch.setattr(source, "compile_file", compile_and_count)
    module = load(
        """
        KEPT = []
        class Node:
            def __init__(self, siblings):
                self.siblings = siblings
                siblings.append(self)
                siblings.append(lambda: siblings)
        def put(key):
            Node(KEPT)
        """
    )
    for number in range(50):
        module.put(number)
    assert find_eviction(module.KEPT) is None
    assert read.count(str(module.__file__)) == 1


def test_a_container_without_source_has_no_known_eviction(load: Load, tmp_path: Path) -> None:
    module = load(KEPT_SMALL["cleared when it is full"][0])
    module.put(1)
    (tmp_path / "kept.py").write_bytes(b"\x00 = (")
    assert find_eviction(module.KEPT) is None
    (tmp_path / "kept.py").unlink()
    assert find_eviction(module.KEPT) is None
    assert find_eviction([1, 2]) is None


def test_the_registry_of_threads_is_no_cache() -> None:
    """Who runs adds itself, and removes itself at its end: one that doesn't end is left."""
    assert find_eviction(threading._active) is None  # type: ignore[attr-defined]
    assert find_eviction(re._cache) is not None  # type: ignore[attr-defined]


def test_the_container_and_what_holds_it_are_not_asked(load: Load) -> None:
    class Hostile(dict[int, int]):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None

        def __len__(self) -> int:
            raise RuntimeError

    class Holder:
        def __init__(self) -> None:
            self.kept = Hostile({1: 1})

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    holder = Holder()
    assert find_eviction(object.__getattribute__(holder, "kept")) is None


def test_the_bound_is_told_until_it_is_passed(load: Load) -> None:
    module = load(KEPT_SMALL["cleared when it is full"][0])
    for number in range(7):
        module.put(number)
    assert kept_small(module.KEPT) == Bound(count=7, limit=300, way="by kept.put")
    module.KEPT.update((number, []) for number in range(450))
    assert kept_small(module.KEPT) is None  # somebody else fills it as well


@pytest.mark.parametrize(
    ("case", "told", "is_sure"),
    [
        ("what is old goes", "kept.put removes from it by age", True),
        ("by the sizes of what it has", "kept.Store.put removes from it by size", True),
        ("by a bound that isn't known", "kept.put removes from it by length", True),
        ("there is no limit today, by size or age", "kept.Store.put removes from it, too", False),
        ("one of the same name is replaced", "kept.put removes from it, too", False),
        ("one that is too old is replaced", "kept.put removes from it, too", False),
    ],
)
def test_what_bounds_a_container_is_sure(load: Load, case: str, told: str, is_sure: bool) -> None:
    module = load(KEPT_SMALL[case][0])
    module.put(1)
    found = kept_small(module.KEPT)
    assert found is not None
    assert found.text == told
    assert not found.is_known
    assert kept_small(module.KEPT, surely=True) == (found if is_sure else None)


@pytest.mark.parametrize("value", ["[key]", "'value %d' % key"], ids=["objects", "text"])
def test_a_cache_that_fills_is_seen_by_its_code(load: Load, value: str) -> None:
    source = KEPT_SMALL["cleared when it is full"][0].replace("[key] = [key]", f"['key %d' % key] = {value}")
    module = load(source)
    assert "KEPT['key" in source

    def run() -> None:
        module.put(next(NUMBERS))

    run()
    # What a thread of the test runner does meanwhile may be most of what is left, once.
    found = next(filter(None, (filling_cache(run, blocks=2.0) for _ in range(3))), None)
    assert found is not None
    assert re.fullmatch(r"bounded: \d+ of 300, by kept.put", found.text)


def test_a_ring_of_given_length_is_seen_to_be_full_one_day() -> None:
    ring: list[object] = [None] * 500

    def run() -> None:
        number = next(NUMBERS)
        ring[number % len(ring)] = [[number]]

    run()
    found = filling_cache(run)
    assert found is not None
    assert found.text == "bounded: a list of 500 that gets no longer"
    leaked: list[object] = []

    def leak_as_well() -> None:
        number = next(NUMBERS)
        ring[number % len(ring)] = entry = [[number]]
        leaked.append(entry)

    leak_as_well()
    assert filling_cache(leak_as_well) is None


def test_a_leak_beside_a_cache_of_text_is_not_excused(load: Load) -> None:
    source = KEPT_SMALL["cleared when it is full"][0].replace("[key] = [key]", "[str(key)] = key")
    module = load(source)
    leaked: list[str] = []

    def run() -> None:
        number = next(NUMBERS) + 1000
        module.put(number)
        leaked.extend(f"{number} {each}" for each in range(20))

    run()
    assert filling_cache(run, blocks=22.0) is None


@pytest.mark.parametrize(
    "guard",
    [
        "if user is None and len(KEPT) > 5000: raise ValueError",
        "if DEBUG and len(KEPT) >= 5000: return",
        "if not (user or len(KEPT) < 5000): return",
    ],
)
def test_a_guard_that_asks_for_more_than_the_length_bounds_nothing(load: Load, guard: str) -> None:
    module = load(f"DEBUG, KEPT = False, []\ndef put(key, user=1):\n    {guard}\n    KEPT.append([key])\n")
    module.put(1)
    assert find_eviction(module.KEPT) is None


def test_what_a_lambda_would_remove_is_not_removed(load: Load) -> None:
    module = load("KEPT = []\ndef put(key):\n    KEPT.append(key)\n    return lambda: KEPT.remove(key)\n")
    module.put(1)
    assert find_eviction(module.KEPT) is None


@pytest.mark.parametrize(
    ("delay_s", "is_cancelled", "is_bounded"),
    [(30.0, False, True), (3000.0, True, True), (3000.0, False, False)],
)
def test_timers_that_are_soon_over_or_cancelled_are_dropped(
    delay_s: float, is_cancelled: bool, is_bounded: bool
) -> None:
    """asyncio drops what is cancelled once that is half of all: 1,300 after a test that left as many."""
    loop = asyncio.new_event_loop()
    try:
        timers = [loop.call_later(delay_s, print) for _ in range(3)]
        for timer in timers if is_cancelled else ():
            timer.cancel()
        scheduled = loop._scheduled  # type: ignore[attr-defined]
        assert (kept_small(scheduled, surely=True) is not None) == is_bounded
    finally:
        loop.close()


def test_a_container_longer_than_its_limit_is_not_kept_small_by_it(load: Load) -> None:
    """Who offers keeps to it, and another one adds."""
    module = load(
        """
        KEPT = []
        def offer(key):
            if len(KEPT) >= 100:
                return False
            KEPT.append([key])
            return True
        def put(key):
            KEPT.append([key])
        """
    )
    module.KEPT.extend([[1]] * 99)
    assert kept_small(module.KEPT) is not None
    module.KEPT.extend([[1]] * 20)
    assert kept_small(module.KEPT) is None


def test_numbers_made_of_numbers_are_not_followed_for_ever(load: Load) -> None:
    """Straight-line code, as it is generated: each name stands for twice as many."""
    lines = [f"    t{index} = t{index - 1} + t{index - 2}" for index in range(2, 60)]
    body = "\n".join(["    t0 = t1 = key", *lines, "    if t59 > 5: KEPT.append([t59])"])
    module = load(f"KEPT = []\ndef put(key):\n{body}\n    KEPT.append([key])\n")
    module.put(1)
    assert find_eviction(module.KEPT) is None


def test_what_a_test_lets_go_of_counts_while_it_is_that_one_which_runs(load: Load) -> None:
    module = load(
        """
        KEPT = []
        def test_bounded():
            KEPT.append([])
            if len(KEPT) > 2000:
                KEPT.pop(0)
        def test_leaking():
            KEPT.append([])
        """
    )
    with running(module.test_bounded):
        assert find_eviction(module.KEPT) == Eviction(function="kept.test_bounded", by="length", limit=2000)
    with running(module.test_leaking):
        assert find_eviction(module.KEPT) is None
    assert find_eviction(module.KEPT) is None


def test_a_limit_of_few_is_told_with_one_more_than_it(load: Load) -> None:
    """It was told as "None, by put"."""
    module = load("KEPT = []\ndef put(key):\n    KEPT.append([key])\n    if len(KEPT) > 2: KEPT.pop(0)\n")
    module.KEPT.extend([[1], [2], [3]])
    assert kept_small(module.KEPT) == Bound(count=3, limit=2, way="by kept.put")


def test_what_the_search_has_made_itself_did_not_grow() -> None:
    """A set made just now may lie where a shorter one was before the runs."""
    grown: set[int] = {1, 2, 3}
    own = {4, 5, 6}
    lengths = {id(grown): 1, id(own): 1}
    lengths[id(lengths)] = 1
    assert grown_containers(lengths, set(), own, 2) == [(grown, 1.0)]
