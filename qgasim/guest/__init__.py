"""The virtual guest: a machine with files, processes, clocks and devices, all made up.

It speaks Python: paths, bytes, exceptions. It knows neither JSON nor sockets nor releases of
qemu-ga, nor what programs run in it, and it never looks at the host.
"""

from qgasim.guest.guest import Guest
from qgasim.guest.settings import GuestSettings

__all__ = ["Guest", "GuestSettings"]
