"""What cannot happen to an agent that is not simulated."""

from typing import get_args

from msgspec import Struct

from qgasim.faults import Crash, EventFault, Fault, KillOn, Stale
from qgasim.simulation.timeline import Event, FaultOff, FaultOn
from qgasim.states import State

__all__ = ["explain_limit"]


def explain_limit(fault: Struct) -> str | None:
    """Return why a fault or an event needs a simulated guest; None: it can happen to a real agent, too."""
    if isinstance(fault, Event):
        is_of_faults = isinstance(fault, FaultOn | FaultOff)
        return None if is_of_faults else "it happens to the guest, which is not simulated"
    return _explain_fault(fault) if isinstance(fault, Fault) else None


def _explain_fault(fault: Fault) -> str | None:
    if isinstance(fault, Crash | KillOn):
        return "it ends the agent's process, and this agent is not simulated (see `close`, `hang`)"
    if isinstance(fault, Stale) and fault.as_of is not None:
        return "as_of looks at an earlier state of the guest, which is not simulated (see `age`)"
    if isinstance(fault, EventFault):
        return "it is of the machine's monitor, which is not in front of this agent"
    if fault.when in get_args(State) and fault.when not in ("up", "frozen"):
        return f"when: whether the guest is {fault.when} is not known, as it is not simulated"
    return None
