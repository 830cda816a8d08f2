"""One qemu-ga process, simulated: bytes in, effects out."""

from qgasim.agent.agent import FIRST_HANDLE, Agent
from qgasim.agent.options import AgentOptions
from qgasim.agent.target import Past

__all__ = ["FIRST_HANDLE", "Agent", "AgentOptions", "Past"]
