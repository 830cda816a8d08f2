"""The states of a guest, by name."""

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from qgasim.agent import Agent

__all__ = ["State", "state_of"]

State: TypeAlias = Literal[
    "off", "booting", "up", "frozen", "suspended", "paused", "rebooting", "crashed"
]
_OF_POWER: Final[dict[str, State]] = {
    "off": "off",
    "halted": "crashed",
    "booting": "booting",
    "rebooting": "rebooting",
    "suspended": "suspended",
}


def state_of(agent: "Agent") -> State:
    """Tell in which state a guest is, its agent being the one that looks."""
    power = agent.guest.power
    if power.is_paused:
        return "paused"
    named = _OF_POWER.get(power.state)
    if named is not None:
        return named
    if agent.process is None:
        return "booting"
    return "frozen" if agent.is_frozen else "up"
