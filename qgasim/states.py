"""The states of a guest: one table, and what keeps the state of one guest by it.

Theory of operation
===================

A guest is in one of eight states. Six of them follow each other by events, as `TRANSITIONS` says; an
event that is not in the table for a state leaves it as it is. Power, and with it the guest's agent, makes
most of the events (`qgasim.guest.system.power`, `qgasim.agent.lifecycle`); a client makes *freeze* and
*thaw*. Being reset, switched off and halted can happen in any state.

Two states lie over the others: a guest that is *suspended* goes on where it was when it wakes, and while
its processors are stopped it is *paused*, whatever it is otherwise. What happens to the agent meanwhile
happens to the state below.

`docs/states.md` shows the table as a diagram; it is made from what stands here.
"""

from typing import Final, Literal, TypeAlias

__all__ = ["FROM_ANY", "TRANSITIONS", "GuestStates", "State", "StateEvent"]

State: TypeAlias = Literal[
    "off", "booting", "up", "frozen", "suspended", "paused", "rebooting", "crashed"
]
StateEvent: TypeAlias = Literal[
    "power on", "boot", "agent starts", "agent ends", "freeze", "thaw",
    "suspend", "wake", "shut down", "reset", "halt",
]  # fmt: skip

#: The state that an event leads to.
TRANSITIONS: Final[dict[tuple[State, StateEvent], State]] = {
    # The firmware and the kernel start; nothing answers yet.
    ("off", "power on"): "booting",
    # The kernel runs, and what it starts last is the agent.
    ("rebooting", "boot"): "booting",
    ("booting", "agent starts"): "up",
    # The machine runs on without its agent, as before it was started.
    ("up", "agent ends"): "booting",
    ("frozen", "agent ends"): "booting",
    ("up", "freeze"): "frozen",
    ("frozen", "thaw"): "up",
}
#: The state that an event leads to from every other state.
FROM_ANY: Final[dict[StateEvent, State]] = {
    "shut down": "off",
    "reset": "rebooting",
    "halt": "crashed",
}


class GuestStates:
    """The state of one guest."""

    def __init__(self) -> None:
        self._awake: State = "booting"
        self._is_suspended = False

    @property
    def now(self) -> State:
        """The state, but for *paused*, which only the clock knows."""
        return "suspended" if self._is_suspended else self._awake

    def happen(self, event: StateEvent) -> None:
        """Go to the state that *event* leads to."""
        if event in ("suspend", "wake"):
            self._is_suspended = event == "suspend"
        elif event in FROM_ANY:
            self._awake, self._is_suspended = FROM_ANY[event], False
        else:
            self._awake = TRANSITIONS.get((self._awake, event), self._awake)
