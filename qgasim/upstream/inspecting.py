"""What a real agent says of itself before anything stands in front of it."""

from msgspec import Struct

from qgasim.client.connecting import AgentAddress
from qgasim.compare.connection import RealAgent
from qgasim.compare.survey import Survey, choose_release, read_return
from qgasim.wire import is_object

__all__ = ["Found", "inspect"]


class Found(Struct, frozen=True):
    """A real agent, as far as it matters to what stands before it."""

    #: Its version as it says; None: it does not say.
    version: str | None
    #: The release that it is read as.
    release: str
    #: Whether its guest is frozen.
    is_frozen: bool
    #: What had to be assumed.
    notes: list[str]


def inspect(address: AgentAddress, timeout: float, release: str | None = None) -> Found:
    """Ask an agent for its release; nothing in its guest changes.

    Args:
        address: where it is.
        timeout: how long to wait for each answer, in seconds.
        release: what to read it as, whatever it says.

    Raises:
        ClientError: there is none, it does not answer, or it does not tell its release.
    """
    notes: list[str] = []
    with RealAgent(address, timeout) as agent:
        info = read_return(agent.ask((b'{"execute":"guest-info"}',)))
        status = read_return(agent.ask((b'{"execute":"guest-fsfreeze-status"}',)))
    version = info.get("version") if is_object(info) else None
    version = version if isinstance(version, str) else None
    chosen = release or choose_release(Survey(version, None, None, None), notes)
    return Found(version, chosen, status == "frozen", notes)
