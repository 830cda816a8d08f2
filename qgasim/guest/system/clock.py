"""The guest's clocks: functions of the host's monotonic clock.

The only module of qgasim that reads a clock of the host. All times are nanoseconds.
"""

import math
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import resources
from typing import Final

from msgspec import Struct

from qgasim.guest.units import FOR_EVER, SECOND

__all__ = [
    "Clock",
    "ClockMark",
    "SteeredClock",
    "find_zone",
    "host_clock",
    "host_wall_clock",
    "thread_clock",
]


#: Between these is what a kernel counts in 64 bits: from 1677 to 2262.
FIRST_TIME: Final = -(1 << 63)
LAST_TIME: Final = (1 << 63) - 1


def find_zone(name: str) -> bytes | None:
    """Return the TZif file of a time zone from the package tzdata; None if there is no such zone.

    Not `ZoneInfo(name)`: that prefers the host's files.
    """
    parts = name.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_+-]+", part) for part in parts):
        return None
    source = resources.files("tzdata.zoneinfo").joinpath(*parts)
    return source.read_bytes() if source.is_file() else None


def host_wall_clock() -> int:
    """Return the host's time since 1970."""
    return time.time_ns()


def host_clock() -> int:
    """Return the host's monotonic time."""
    return time.monotonic_ns()


def thread_clock(thread: int) -> int:
    """Return how much of the host's processor time a thread that is alive has had.

    Where the host does not tell: the host's monotonic time.
    """
    if hasattr(time, "pthread_getcpuclockid"):
        return time.clock_gettime_ns(time.pthread_getcpuclockid(thread))
    return time.monotonic_ns()


class ClockMark(Struct, frozen=True, kw_only=True):
    """What a guest's clocks showed at a time."""

    #: The host's time.
    host: int
    uptime: int
    offset: int
    drift: float
    rtc_offset: int
    #: How long the guest's time was still to stand still; None: it did not.
    stops_for: int | None
    catches_up: bool


def _nearest(now: int) -> int:
    return min(max(now, FIRST_TIME), LAST_TIME)


#: How many seconds of a guest may pass in one of the host: eleven days, more than a test needs.
FASTEST: Final = 1e6


class SteeredClock:
    """A monotonic clock that follows another, at a rate, or stands still, and can be advanced."""

    def __init__(self, source: Callable[[], int] = host_clock) -> None:
        self._source = source
        self._rate = 1.0
        self._since = source()
        self._then = self._since

    def __call__(self) -> int:
        return self._then + int((self._source() - self._since) * self._rate)

    @property
    def rate(self) -> float:
        """How many seconds pass in a second of the clock that it follows."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        try:
            is_possible = 0 <= rate <= FASTEST
        except TypeError:
            is_possible = False
        if not is_possible:
            raise ValueError(f"expected a rate from 0 to {FASTEST:g}, found {rate!r}")
        self._then, self._since = self(), self._source()
        self._rate = rate

    def advance(self, duration: int) -> None:
        """Let *duration* ns pass at once."""
        if duration < 0:
            raise ValueError("time does not go backwards")
        self._then += duration


class Clock:
    """Uptime, wall-clock time and real-time clock of a guest.

    *start* is the wall-clock time at power-on, *rate* how many guest seconds pass in a host second,
    *drift* how many seconds the wall-clock time gains in a million.
    """

    def __init__(
        self,
        start: int,
        rate: float = 1.0,
        source: Callable[[], int] = host_clock,
        *,
        drift: float = 0.0,
        rtc: int | None = None,
    ) -> None:
        self.rate = rate
        self.drift = drift
        self._source = source
        self._origin = source()
        self._boot = start
        self._catches_up = False
        #: What was added to the wall-clock time by setting it.
        self.offset = 0
        #: What the real-time clock is ahead of the wall-clock time at power-on plus uptime.
        self.rtc_offset = 0 if rtc is None else rtc - start
        self._pinned: int | None = None
        #: Called when the battery-backed clock has been set.
        self.on_rtc: Callable[[], None] = lambda: None
        #: Since when it has stood still and until when it does, by the host's clock.
        self._stopped: tuple[int, int] | None = None

    @property
    def is_stopped(self) -> bool:
        """Return whether the guest's time stands still."""
        if self._stopped is not None:  # asked before each request: a call less
            self._go_on_if_due()
        return self._stopped is not None

    def stop(self, lasts: int | None, *, wall_clock_runs: bool) -> None:
        """Let the guest's time stand still for *lasts* ns of the host, None: until `go_on`.

        *wall_clock_runs*: the wall-clock time then jumps by as much as it stood still.
        """
        if not self.is_stopped:
            now = self.host_time()
            self._stopped = now, now + (FOR_EVER if lasts is None else lasts)
            self._catches_up = wall_clock_runs

    def go_on(self) -> None:
        """Let the guest's time go on."""
        if self.is_stopped:
            assert self._stopped
            self._stopped = self._stopped[0], self._source()
            self._go_on_if_due()

    def _go_on_if_due(self) -> None:
        if self._stopped is not None and self._source() >= self._stopped[1]:
            start, end = self._stopped
            self._stopped = None
            self._origin += end - start
            if self._catches_up:
                self.offset += int((end - start) * self.rate)

    def host_time(self) -> int:
        """Return the host's time at what the guest sees as now."""
        pinned = self._pinned
        return self._source() if pinned is None else self._origin + int(pinned / self.rate)

    def mark(self) -> "ClockMark":
        """Return what `revert` takes."""
        host = self.host_time()
        left = None
        if self.is_stopped:
            assert self._stopped
            left = min(self._stopped[1] - host, FOR_EVER)
        return ClockMark(
            host=host,
            uptime=self.uptime(),
            offset=self.offset,
            drift=self.drift,
            rtc_offset=self.rtc_offset,
            stops_for=left,
            catches_up=self._catches_up,
        )

    def revert(self, mark: "ClockMark") -> None:
        """Go back to a time, as a machine whose state is loaded.

        Uptime and wall-clock time are as then. The battery-backed clock was set as then, and has gone
        on with the host's time since (QEMU: ``-rtc clock=host``, the default; hw/rtc/mc146818rtc.c
        keeps the host's time at which it was set).
        """
        host = self.host_time()
        self._stopped = None
        self._origin = host - int(mark.uptime / self.rate)
        self.offset = mark.offset
        self.drift = mark.drift
        self.rtc_offset = mark.rtc_offset + int((host - mark.host) * self.rate)
        self._catches_up = mark.catches_up
        if mark.stops_for is not None:
            self._stopped = host, host + mark.stops_for
        if self._pinned is not None:
            self._pinned = mark.uptime

    def uptime(self) -> int:
        """Return the time since the scenario began: it is never stepped, and goes on through reboots.

        What a scenario plans (``at``, ``when.uptime``) is in this time; the guest's own uptime is
        `Machine.boot_uptime`.
        """
        if self._pinned is not None:
            return self._pinned
        if self._stopped is not None and self.is_stopped:
            return int((self._stopped[0] - self._origin) * self.rate)
        passed = self._source() - self._origin
        return passed if self.rate == 1.0 else int(passed * self.rate)

    def now(self) -> int:
        """Wall-clock time since 1970."""
        uptime = self.uptime()
        gained = int(uptime * self.drift / 1_000_000) if self.drift else 0
        now = self._boot + self.offset + uptime + gained
        return now if FIRST_TIME <= now <= LAST_TIME else _nearest(now)

    def rtc(self) -> int:
        """What the battery-backed clock shows, as wall-clock time since 1970."""
        return _nearest(self._boot + self.rtc_offset + self.uptime())

    def set(self, now: int) -> None:
        """Step the wall-clock time."""
        self.offset += now - self.now()

    def set_drift(self, drift: float) -> None:
        """Gain *drift* seconds in a million from now on."""
        now = self.now()
        self.drift = drift
        self.set(now)

    def set_rtc(self) -> None:
        """Set the battery-backed clock by the wall-clock time, to the second."""
        self.rtc_offset += self.now() - self.rtc()
        self.on_rtc()

    def set_from_rtc(self) -> None:
        """Set the wall-clock time by the battery-backed clock."""
        self.set(self.rtc())

    @contextmanager
    def at(self, uptime: int) -> Generator[None]:
        """Let the guest see *uptime* for a while: what happened then is worked out now."""
        before, self._pinned = self._pinned, uptime
        try:
            yield
        finally:
            self._pinned = before

    @contextmanager
    def at_birth(self) -> Generator[None]:
        """Let the guest see the time of its power-on for a while."""
        before, self.offset = self.offset, 0
        try:
            with self.at(0):
                yield
        finally:
            self.offset = before

    def host_delay(self, uptime: int) -> float:
        """Seconds of the host until the guest's uptime is *uptime*, as its clock goes now."""
        delay = max(0, uptime - self.uptime()) / self.rate
        if self._stopped is not None:
            delay += self._stopped[1] - self._source()
        return self._to_seconds(delay)

    def delay_until(self, host: int) -> float:
        """Return the seconds until the host's clock, as `host_time` has it, shows *host*."""
        return self._to_seconds(max(0, host - self._source()))

    def _to_seconds(self, delay: float) -> float:
        """Return how long a test waits for *delay* ns of the clock that this one follows."""
        source = self._source
        if isinstance(source, SteeredClock):
            delay = delay / source.rate if source.rate else math.inf
        return delay / SECOND

    def next_start(self) -> int | None:
        """Return the uptime at which the guest's time goes on by itself; None if it does not."""
        if not self.is_stopped or self._stopped is None or self._stopped[1] >= FOR_EVER:
            return None
        return self.uptime()
