"""A real agent, or a recording of one, behind a simulation: its channel forwards requests and brings replies.

Faults, journal, findings and the control API stand in front, as before a simulated agent.
"""

from qgasim.upstream.channel import Link, UpstreamChannel
from qgasim.upstream.front import Front
from qgasim.upstream.limits import explain_limit
from qgasim.upstream.link import SocketLink

__all__ = ["Front", "Link", "SocketLink", "UpstreamChannel", "explain_limit"]
