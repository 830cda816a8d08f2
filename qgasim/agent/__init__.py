"""One qemu-ga process, simulated: bytes in, effects out."""

from qgasim.agent.agent import FIRST_HANDLE, Agent, Past
from qgasim.agent.options import AgentOptions

__all__ = ["FIRST_HANDLE", "Agent", "AgentOptions", "Past"]
