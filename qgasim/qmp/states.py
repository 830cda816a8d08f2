"""The states of a machine, as query-status names them: one table.

Theory of operation
===================

A machine is in one state at a time. Causes come from the monitor (*stop*, *cont*, *reset*) and from the
guest; an event that is not in the table for a state leaves it as it is. In the states other than *running*
and *suspended* the processors stand still, and with them the guest's time.

A machine whose guest sleeps remembers that: after *cont* it is *suspended* again. Sources: recordings of
QEMU 5.2, 7.2, 10.0, 11.1.
"""

from typing import Final, Literal, TypeAlias

__all__ = ["TRANSITIONS", "Cause", "RunState"]

RunState: TypeAlias = Literal[
    "prelaunch", "running", "paused", "suspended", "shutdown", "guest-panicked", "watchdog",
    "inmigrate", "postmigrate",
]  # fmt: skip
Cause: TypeAlias = Literal[
    "stop", "cont", "reset", "suspend", "wake", "off", "panic", "watchdog", "migrated", "arrived",
]  # fmt: skip

#: The state that a cause leads to.
TRANSITIONS: Final[dict[tuple[RunState, Cause], RunState]] = {
    ("running", "stop"): "paused",
    # Only in releases that stop a suspended machine (`Release.stops_suspended`).
    ("suspended", "stop"): "paused",
    ("prelaunch", "cont"): "running",
    ("paused", "cont"): "running",
    ("guest-panicked", "cont"): "running",
    ("watchdog", "cont"): "running",
    ("postmigrate", "cont"): "running",
    # A machine that stands still has to be started again after a reset.
    ("paused", "reset"): "prelaunch",
    ("suspended", "reset"): "prelaunch",
    ("shutdown", "reset"): "prelaunch",
    ("guest-panicked", "reset"): "prelaunch",
    ("watchdog", "reset"): "prelaunch",
    ("postmigrate", "reset"): "prelaunch",
    ("running", "suspend"): "suspended",
    ("suspended", "wake"): "running",
    ("running", "off"): "shutdown",
    ("suspended", "off"): "shutdown",
    ("running", "panic"): "guest-panicked",
    ("running", "watchdog"): "watchdog",
    ("running", "migrated"): "postmigrate",
    ("suspended", "migrated"): "postmigrate",
    ("paused", "migrated"): "postmigrate",
    ("prelaunch", "migrated"): "postmigrate",
    # Of these, the source (softmmu/runstate.c, runstate_transitions_def).
    ("shutdown", "migrated"): "postmigrate",
    ("guest-panicked", "migrated"): "postmigrate",
    ("watchdog", "migrated"): "postmigrate",
    ("inmigrate", "arrived"): "running",
}
