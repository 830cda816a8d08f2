"""How an agent was started."""

from msgspec import Struct

from qgasim.agent.personality import Personality
from qgasim.agent.stubs import Stub
from qgasim.faults import Fault

__all__ = ["AgentOptions"]


class AgentOptions(Struct, kw_only=True, frozen=True):
    """How the agent was started."""

    #: Commands that are refused; unknown names are ignored, as qemu-ga does.
    block_rpcs: tuple[str, ...] = ()
    #: If not empty, all other commands are refused.
    allow_rpcs: tuple[str, ...] = ()
    #: The script of ``--fsfreeze-hook``; None: none.
    fsfreeze_hook: str | None = None
    #: How long after its end the service manager starts it again (ns); None: never.
    respawn: int | None = 0
    #: Whether a request is read only when its line ends.
    needs_newline: bool = False
    #: What answers in place of the guest, first match first.
    stubs: tuple[Stub, ...] = ()
    #: What goes wrong, in this order.
    faults: tuple[Fault, ...] = ()
    #: What is left to chance in faults follows from it.
    seed: int = 0
    #: What it does differently from qemu-ga.
    personality: Personality = Personality()
