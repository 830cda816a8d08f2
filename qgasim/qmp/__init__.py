"""QEMU's monitor (QMP) beside the guest agent: bytes in, messages out.

`Hypervisor` is a QEMU process: the states of its machine, its devices, and what it tells of them. A
`Monitor` is one of its ``-qmp`` sockets. Commands are annotated functions in `commands/`.
"""

from qgasim.qmp import commands
from qgasim.qmp.board import Board, BoardDevice, Topology
from qgasim.qmp.hypervisor import Hypervisor
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.settings import MachineSettings

__all__ = [
    "Board",
    "BoardDevice",
    "Hypervisor",
    "MachineSettings",
    "Monitor",
    "Topology",
    "commands",
]
