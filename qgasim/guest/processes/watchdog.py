"""A limit to the host's time that one step of a guest's program may take.

Steps are counted between yields; what a program does within one step is Python code that nothing counts.
The watchdog is a thread of its own that looks now and then whether a step has begun too long ago, and has
`TooLong` raised in the thread that runs it. It only works because no step keeps the interpreter's lock:
what C code could take long (patterns, `qgasim.matching`) lets go of it.
"""

import ctypes
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from qgasim.guest.system.clock import thread_clock

__all__ = ["STEP_LIMIT", "TooLong", "Watchdog", "watchdog"]

#: How long a step may take from when it is first seen, in ns of the host's processor: that of a host which
#: is busy with something else does not count.
STEP_LIMIT: Final = 600_000_000
#: How often the watchdog looks, in seconds, and after how many looks at nothing it falls asleep.
LOOK_EVERY: Final = 0.1
IDLE_LOOKS: Final = 20


class TooLong(BaseException):
    """Raised in a step that takes too long, wherever it is."""


class _Step:
    """A step that is being run."""

    #: The thread's clock when the watchdog first saw it; None: it has not yet.
    seen: int | None = None
    #: Whether it was told to end.
    is_over = False


class Watchdog:
    """Ends steps that take too long, in all threads."""

    def __init__(self, limit: int = STEP_LIMIT, clock: Callable[[int], int] = thread_clock) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        #: What each thread runs.
        self._steps: dict[int, _Step] = {}
        self._is_awake = False
        self._begun = threading.Event()
        self._pause = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> bool:
        """Begin a step of this thread; False if it is within another, which is watched already."""
        thread = threading.get_ident()
        if thread in self._steps:
            return False
        if not self._is_awake:
            # Before the step is there: while a thread is being started, CPython has its starter's number for
            # both, and what `hurry` raises would end the new one (and leave this one waiting for it).
            self._wake()
        self._steps[thread] = _Step()
        if not self._is_awake:
            self._wake()
        return True

    def end(self) -> None:
        """End the step of this thread: from now on, nothing is raised in it.

        It may raise `TooLong` itself, once.
        """
        thread = threading.get_ident()
        with self._lock:
            step = self._steps.pop(thread, None)
        if step is not None and step.is_over:
            _let_raise()

    def _wake(self) -> None:
        self._is_awake = True
        if self._thread is None or not self._thread.is_alive():
            _report_no_ends()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._begun.set()

    def _watch(self) -> None:
        idle = 0
        while True:
            self._pause.wait(LOOK_EVERY)
            if self.look():
                idle = 0
            else:
                idle += 1
            if idle >= IDLE_LOOKS:
                self._begun.clear()
                self._is_awake = False
                if not self._steps:
                    self._begun.wait()
                idle = 0
                self._is_awake = True

    def look(self) -> bool:
        """End what takes too long; return whether any step is being run."""
        with self._lock:
            for thread, step in list(self._steps.items()):
                now = self._clock(thread)
                if step.seen is None:
                    step.seen = now
                elif now - step.seen >= self.limit:
                    # Once more if it is not over by then: Python drops what is raised in a finaliser.
                    step.seen = now
                    step.is_over = True
                    _raise_in(thread)
        return bool(self._steps)

    def hurry(self) -> None:
        """End all steps that are being run, however long they have taken: this process is to end.

        May be called by a signal handler.
        """
        for thread, step in list(self._steps.items()):
            step.is_over = True
            _raise_in(thread)


def _raise_in(thread: int) -> None:
    """Raise `TooLong` in a thread as soon as it runs Python code."""
    error = ctypes.py_object(TooLong)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)


def _let_raise() -> None:
    """Drop what is still to be raised in this thread.

    It is not taken back: after PyThreadState_SetAsyncExc(thread, NULL), CPython 3.11 goes on asking whether
    there is something to raise, and a thread that is traced (by coverage) never gets past the question.
    """
    with suppress(TooLong):
        # The end of each turn is where Python raises it.
        for _ in range(10):
            pass


def _report_no_ends() -> None:
    """Keep Python from printing a `TooLong` that it drops in a finaliser: the watchdog raises it again."""
    report = sys.unraisablehook

    def report_others(dropped: "sys.UnraisableHookArgs", /) -> None:
        if dropped.exc_type is not TooLong:
            report(dropped)

    sys.unraisablehook = report_others


#: The watchdog of all guests.
watchdog: Final = Watchdog()
