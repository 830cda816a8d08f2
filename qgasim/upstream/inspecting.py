"""What a real agent says of itself before anything stands in front of it."""

from msgspec import Struct

from qgasim.client.connecting import AgentAddress
from qgasim.compare.connection import RealAgent
from qgasim.compare.survey import Survey, choose_release, look

__all__ = ["Found", "inspect"]


class Found(Struct, frozen=True):
    """A real agent, as far as it matters to what stands before it."""

    #: What it says of itself.
    survey: Survey
    #: The release that it is read as.
    release: str
    #: What had to be assumed.
    notes: list[str]


def inspect(address: AgentAddress, timeout: float, release: str | None = None) -> Found:
    """Ask an agent for its release and its system; nothing in its guest changes.

    Args:
        address: where it is.
        timeout: how long to wait for each answer, in seconds.
        release: what to read it as, whatever it says.

    Raises:
        ClientError: there is none, it does not answer, or it does not tell its release.
    """
    notes: list[str] = []
    with RealAgent(address, timeout) as agent:
        survey = look(agent)
    return Found(survey, release or choose_release(survey, notes), notes)
