"""One qemu-ga process, simulated: bytes in, effects out."""

from qgasim.agent.agent import FIRST_HANDLE, Agent, AgentOptions

__all__ = ["FIRST_HANDLE", "Agent", "AgentOptions"]
