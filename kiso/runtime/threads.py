"""The threads that help a call, and how work is handed to them.

A call takes a team: threads that wait in native code. They look at the team's board again and
again for about a millisecond, so that calls that follow one another cost no system call; after
that they sleep. The caller posts jobs, does the first itself, and waits until all are done: all of
that in one native function, which Ctrl-C cannot tear apart.

    STATE   TURN for each time that jobs were posted, and 1 for each helper that looks. One number,
            so that a helper cannot leave, nor a caller post, on what has changed meanwhile
    JOBS    where the jobs are: a function and its arguments for each thread (see work.py)
    DONE    how many helpers are done
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from kiso.runtime.jit import Library
from kiso.runtime.memory import aligned
from kiso.runtime.target import target
from kiso.runtime.work import PARAMETERS, YIELD

__all__ = ["JOB_WORDS", "launch"]

STATE, JOBS, DONE, BOARD = 0, 8, 16, 24  # words, a cache line apart
TURN = 1 << 32
JOB_WORDS = 8  # a function and its arguments, see work.py
SPINS, YIELDS = 2000, 1500
NAP = 2e-5  # seconds; while threads wake up

UNPACK = "\n".join(f"  {word.split()[1]} = extractvalue %Job %j, {k}"
                   for k, word in enumerate(PARAMETERS.split(", "), 1))
TEXT = f"""
%Job = type {{ ptr, ptr, ptr, ptr, ptr, i64, i64, i64 }}
declare i32 @{YIELD}()

define void @perform(ptr %jobs, i64 %number) nounwind {{
  %job = getelementptr %Job, ptr %jobs, i64 %number
  %j = load %Job, ptr %job
  %f = extractvalue %Job %j, 0
{UNPACK}
  call void %f({PARAMETERS})
  ret void
}}

define void @serve(ptr %board, i64 %number) nounwind {{
enter:
  %done = getelementptr i64, ptr %board, i64 {DONE}
  %first = atomicrmw add ptr %board, i64 1 acq_rel
  br label %look
look:
  %known = phi i64 [%first, %enter], [%known, %wait], [%known, %yield], [%known, %tired],
                   [%state, %work]
  %turns = phi i64 [0, %enter], [%next, %wait], [%next, %yield], [0, %tired], [0, %work]
  %state = load atomic i64, ptr %board acquire, align 8
  %change = xor i64 %state, %known
  %posted = icmp uge i64 %change, {TURN}
  br i1 %posted, label %work, label %wait
work:
  %place = getelementptr i64, ptr %board, i64 {JOBS}
  %jobs = load ptr, ptr %place
  call void @perform(ptr %jobs, i64 %number)
  %looks = atomicrmw add ptr %board, i64 1 acq_rel
  %all = atomicrmw add ptr %done, i64 1 acq_rel
  br label %look
wait:
  %next = add i64 %turns, 1
  %many = icmp sgt i64 %next, {SPINS}
  br i1 %many, label %yield, label %look
yield:
  %ignored = call i32 @{YIELD}()
  %long = icmp sgt i64 %next, {SPINS + YIELDS}
  br i1 %long, label %tired, label %look
tired:
  %less = sub i64 %state, 1
  %pair = cmpxchg ptr %board, i64 %state, i64 %less acq_rel monotonic
  %asleep = extractvalue {{i64, i1}} %pair, 1
  br i1 %asleep, label %leave, label %look
leave:
  ret void
}}

define i64 @launch(ptr %board, i64 %helpers) nounwind {{
  %done = getelementptr i64, ptr %board, i64 {DONE}
  %state = load atomic i64, ptr %board acquire, align 8
  %looking = and i64 %state, {TURN - 1}
  %all = icmp eq i64 %looking, %helpers
  br i1 %all, label %post, label %asleep
post:
  %busy = sub i64 %state, %helpers
  %turn = add i64 %busy, {TURN}
  store i64 0, ptr %done
  %pair = cmpxchg ptr %board, i64 %state, i64 %turn acq_rel monotonic
  %posted = extractvalue {{i64, i1}} %pair, 1
  br i1 %posted, label %own, label %asleep
own:
  %place = getelementptr i64, ptr %board, i64 {JOBS}
  %jobs = load ptr, ptr %place
  call void @perform(ptr %jobs, i64 0)
  br label %wait
wait:
  %ready = load atomic i64, ptr %done acquire, align 8
  %over = icmp eq i64 %ready, %helpers
  br i1 %over, label %leave, label %wait_more
wait_more:
  %ignored = call i32 @{YIELD}()
  br label %wait
leave:
  ret i64 1
asleep:
  ret i64 0
}}
"""


@cache
def native() -> tuple[Library, Any, Any, Any]:
    """The code, and its functions `serve`, `launch` and `perform`: one copy for the process, never
    given back, as threads are in it."""
    code = Library(TEXT, target(), ["serve", "launch", "perform"])
    kinds = {"serve": None, "launch": ctypes.c_int64, "perform": None}
    serve, start, perform = (
        ctypes.CFUNCTYPE(result, ctypes.c_void_p, ctypes.c_int64)(code.address[name])
        for name, result in kinds.items())
    return code, serve, start, perform


class Team:
    """Threads that wait for work."""

    def __init__(self, helpers: int):
        _, self.serve, self.start, _ = native()
        self.board = aligned(8 * BOARD).view(np.int64)
        self.board[:] = 0
        self.wake = threading.Event()
        self.apart_from = -1  # the caller's processor, which they keep off
        self.threads = [threading.Thread(target=self._live, args=(k,), name=f"kiso-{k}",
                                         daemon=True) for k in range(1, helpers + 1)]
        for thread in self.threads:
            thread.start()

    def _live(self, number: int) -> None:
        while True:
            self.serve(self.board.ctypes.data, number)
            self.wake.wait()

    def run(self, jobs: int) -> None:
        """All jobs at the same time, the first one here."""
        self._spread()
        self.board[JOBS] = jobs
        board, helpers = self.board.ctypes.data, len(self.threads)
        if not self.start(board, helpers):
            self.wake.set()
            try:
                while not self.start(board, helpers):
                    time.sleep(NAP)
            finally:
                self.wake.clear()

    def _spread(self) -> None:
        """Keep the helpers off the caller's processor. Linux may leave two threads that never sleep
        on one processor for a second; the caller's own thread is left alone."""
        here = _getcpu() if _getcpu else -1
        if here in (self.apart_from, -1):
            return
        others = os.sched_getaffinity(0) - {here}
        if len(others) >= len(self.threads) > 0:
            for thread in self.threads:
                with suppress(OSError):  # it is a wish
                    os.sched_setaffinity(thread.native_id or 0, others)
        self.apart_from = here


_getcpu: Any = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
_teams: dict[int, list[Team]] = {}  # those that are free, by size
if hasattr(os, "register_at_fork"):  # a forked process has the teams, but not their threads
    os.register_at_fork(after_in_child=_teams.clear)


def launch(jobs: int, count: int) -> None:
    """Run so many jobs (rows of JOB_WORDS int64 at this address), each on a thread of its own, the
    first on this one."""
    helpers = count - 1
    if not helpers:
        return native()[3](jobs, 0)
    free = _teams.setdefault(helpers, [])
    try:
        team = free.pop()
    except IndexError:
        team = Team(helpers)
    try:
        team.run(jobs)
    finally:
        free.append(team)
