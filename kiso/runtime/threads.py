"""The threads that help a call, and how work is handed to them.

A call takes a team: threads that wait in native code, each at a mailbox of its own. They look into
it again and again for about a millisecond, so that calls that follow one another cost no
system call; after that they sleep. The caller posts a job to all of them, does its own share, and
waits until they are idle: all of that in one native function, which Ctrl-C cannot tear apart.

    mailbox = state, job           state: IDLE, TAKEN (by a caller), POSTED, ASLEEP
    job     = function and its arguments (see work.py)
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np

from kiso.ops.op import Array
from kiso.runtime.jit import Library
from kiso.runtime.memory import aligned
from kiso.runtime.target import target
from kiso.runtime.work import PARAMETERS, YIELD

__all__ = ["JOB_WORDS", "launch"]

IDLE, TAKEN, POSTED, ASLEEP = range(4)
MAILBOX = 16  # words: two cache lines
JOB_WORDS = 8  # a function and its arguments, see work.py
SPINS, YIELDS = 2000, 1500
NAP = 2e-5  # seconds; while a thread wakes up

TEXT = f"""
%Job = type {{ ptr, ptr, ptr, ptr, ptr, i64, i64, i64 }}

define internal void @perform(ptr %job) nounwind {{
  %j = load %Job, ptr %job
  %f = extractvalue %Job %j, 0
  %table = extractvalue %Job %j, 1
  %moves = extractvalue %Job %j, 2
  %stop = extractvalue %Job %j, 3
  %sync = extractvalue %Job %j, 4
  %count = extractvalue %Job %j, 5
  %thread = extractvalue %Job %j, 6
  %threads = extractvalue %Job %j, 7
  call void %f({PARAMETERS})
  ret void
}}

define void @serve(ptr %mailbox) nounwind {{
enter:
  %where = getelementptr i64, ptr %mailbox, i64 1
  br label %look
look:
  %turns = phi i64 [0, %enter], [0, %work], [%next, %wait], [%next, %yield], [0, %tired]
  %state = load atomic i64, ptr %mailbox acquire, align 8
  %posted = icmp eq i64 %state, {POSTED}
  br i1 %posted, label %work, label %wait
work:
  %job = load ptr, ptr %where
  call void @perform(ptr %job)
  store atomic i64 {IDLE}, ptr %mailbox release, align 8
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
  %pair = cmpxchg ptr %mailbox, i64 {IDLE}, i64 {ASLEEP} acq_rel monotonic
  %asleep = extractvalue {{i64, i1}} %pair, 1
  br i1 %asleep, label %leave, label %look
leave:
  ret void
}}

define i64 @launch(ptr %mailboxes, ptr %jobs, i64 %helpers) nounwind {{
enter:
  br label %take
take:
  %i = phi i64 [0, %enter], [%after, %took]
  %all = icmp sge i64 %i, %helpers
  br i1 %all, label %post, label %try
try:
  %at = mul i64 %i, {MAILBOX}
  %box = getelementptr i64, ptr %mailboxes, i64 %at
  %pair = cmpxchg ptr %box, i64 {IDLE}, i64 {TAKEN} acq_rel monotonic
  %ours = extractvalue {{i64, i1}} %pair, 1
  br i1 %ours, label %took, label %undo
took:
  %after = add i64 %i, 1
  br label %take
undo:
  %k = phi i64 [%i, %try], [%before, %free]
  %none = icmp eq i64 %k, 0
  br i1 %none, label %asleep, label %free
free:
  %before = sub i64 %k, 1
  %back = mul i64 %before, {MAILBOX}
  %freed = getelementptr i64, ptr %mailboxes, i64 %back
  store atomic i64 {IDLE}, ptr %freed release, align 8
  br label %undo
asleep:
  ret i64 0
post:
  %p = phi i64 [0, %take], [%number, %hand]
  %handed = icmp sge i64 %p, %helpers
  br i1 %handed, label %own, label %hand
hand:
  %number = add i64 %p, 1
  %offset = mul i64 %number, {JOB_WORDS}
  %job = getelementptr i64, ptr %jobs, i64 %offset
  %to = mul i64 %p, {MAILBOX}
  %target = getelementptr i64, ptr %mailboxes, i64 %to
  %slot = getelementptr i64, ptr %target, i64 1
  store ptr %job, ptr %slot
  store atomic i64 {POSTED}, ptr %target release, align 8
  br label %post
own:
  call void @perform(ptr %jobs)
  br label %wait
wait:
  %w = phi i64 [0, %own], [%w, %wait_more], [%passed, %idle]
  %over = icmp sge i64 %w, %helpers
  br i1 %over, label %done, label %ask
ask:
  %there = mul i64 %w, {MAILBOX}
  %asked = getelementptr i64, ptr %mailboxes, i64 %there
  %state = load atomic i64, ptr %asked acquire, align 8
  %finished = icmp eq i64 %state, {IDLE}
  br i1 %finished, label %idle, label %busy
idle:
  %passed = add i64 %w, 1
  br label %wait
busy:
  %behind = icmp eq i64 %state, {ASLEEP}
  br i1 %behind, label %idle, label %wait_more
wait_more:
  %ignored = call i32 @{YIELD}()
  br label %wait
done:
  ret i64 1
}}
declare i32 @{YIELD}()
"""


class Native:
    """The two functions; one copy for the process, never given back: threads are in it."""

    _only: Native | None = None
    lock = threading.Lock()

    def __init__(self) -> None:
        self.code = Library(TEXT, target(), ["serve", "launch"])
        self.serve = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code.address["serve"])
        self.launch = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 2, ctypes.c_int64)(
            self.code.address["launch"])

    @classmethod
    def get(cls) -> Native:
        """The copy."""
        with cls.lock:
            cls._only = cls._only or cls()
            return cls._only


class Team:
    """Threads that wait for work."""

    def __init__(self, helpers: int):
        self.native = Native.get()
        self.mailboxes: Array = aligned(8 * MAILBOX * helpers).view(np.int64)
        self.mailboxes[:] = IDLE
        self.wake = [threading.Semaphore(0) for _ in range(helpers)]
        self.apart_from = -1  # the caller's processor, which they keep off
        self.threads = [threading.Thread(target=self._live, args=(k,), name=f"kiso-{k + 1}",
                                         daemon=True) for k in range(helpers)]
        for thread in self.threads:
            thread.start()

    def _live(self, k: int) -> None:
        serve = self.native.serve
        mailbox = self.mailboxes.ctypes.data + 8 * MAILBOX * k
        while True:
            serve(mailbox)
            self.wake[k].acquire()
            self.mailboxes[MAILBOX * k] = IDLE

    def run(self, jobs: Array) -> None:
        """All jobs at the same time, the first one here."""
        start = self.native.launch
        self._spread()
        while not start(self.mailboxes.ctypes.data, jobs.ctypes.data, len(self.wake)):
            for k, wake in enumerate(self.wake):
                if self.mailboxes[MAILBOX * k] == ASLEEP:
                    wake.release()
            time.sleep(NAP)


    def _spread(self) -> None:
        """Keep the helpers off the caller's processor. Linux may leave two threads that never sleep
        on one processor for a second; the caller's own thread is left alone."""
        here = _processor()
        if here in (self.apart_from, -1):
            return
        others = os.sched_getaffinity(0) - {here}
        if len(others) >= len(self.threads) > 0:
            for thread in self.threads:
                with suppress(OSError):  # it is a wish
                    os.sched_setaffinity(thread.native_id or 0, others)
        self.apart_from = here


def _processor() -> int:
    """The number of the processor that this runs on; -1 where it cannot be told."""
    return _getcpu() if _getcpu is not None else -1


_getcpu: Any = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
_teams: dict[int, list[Team]] = {}  # those that are free, by size


def _forked() -> None:
    """A forked process has the teams, but not their threads."""
    _teams.clear()
    Native.lock.release()


if hasattr(os, "register_at_fork"):  # a forked process has the teams, but not their threads
    os.register_at_fork(before=Native.lock.acquire, after_in_child=_forked,
                        after_in_parent=Native.lock.release)


def launch(jobs: Array) -> None:
    """Run jobs (rows of JOB_WORDS int64), each on a thread of its own, the first on this one."""
    helpers = len(jobs) - 1
    free = _teams.setdefault(helpers, [])
    try:
        team = free.pop()
    except IndexError:
        team = Team(helpers)
    try:
        team.run(jobs)
    finally:
        free.append(team)
