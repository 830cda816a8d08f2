"""The states of a guest, by name."""

from typing import Final, Literal, TypeAlias

__all__ = ["State", "name_state"]

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


def name_state(power: str, *, is_paused: bool, has_agent: bool, is_frozen: bool) -> State:
    """Return the state of a guest as its agent sees it."""
    if is_paused:
        return "paused"
    named = _OF_POWER.get(power)
    if named is not None:
        return named
    if not has_agent:
        return "booting"
    return "frozen" if is_frozen else "up"
