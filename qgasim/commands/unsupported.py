"""Commands that older agents have on platforms that cannot do them, only to say so.

Others are refused before they are called; the lists of the real agents show which ones
(ga_command_init_blockedrpcs()), in which these were missing.
"""

from collections.abc import Mapping
from typing import Final, NoReturn

from qgasim.agent import Agent
from qgasim.commands.hardware import CpuStats, MemoryBlockInfo
from qgasim.commands.storage import DiskInfo, DiskStatsInfo, FilesystemInfo
from qgasim.errors import CommandError
from qgasim.qapi.registry import Family, Version, command

__all__: list[str] = []

_OTHERS: Final[Mapping[Family, Version]] = {"windows": (0, 0), "freebsd": (0, 0)}


def _refuse() -> NoReturn:
    raise CommandError("this feature or command is not currently supported")


@command(
    name="guest-get-diskstats", since=(7, 1), until=(9, 1), platforms=_OTHERS, only_refuses=True
)
def no_diskstats(agent: Agent) -> list[DiskStatsInfo]:
    """Refuse to tell what has been read and written."""
    _refuse()


@command(
    name="guest-get-cpustats", since=(7, 1), until=(9, 1), platforms=_OTHERS, only_refuses=True
)
def no_cpustats(agent: Agent) -> list[CpuStats]:
    """Refuse to tell what processors have done."""
    _refuse()


@command(
    name="guest-get-memory-block-info",
    since=(2, 3),
    until=(5, 0),
    platforms=_OTHERS,
    only_refuses=True,
)
def no_memory_block_info(agent: Agent) -> MemoryBlockInfo:
    """Refuse to tell the size of a memory block: its name was misspelt in the list until 5.0."""
    _refuse()


# Where freezing was possible, these were not refused beforehand (commands-posix.c).


@command(
    name="guest-get-fsinfo",
    since=(2, 2),
    until=(9, 1),
    platforms={"freebsd": (7, 2)},
    only_refuses=True,
)
def no_fsinfo(agent: Agent) -> list[FilesystemInfo]:
    """Refuse to list file systems."""
    _refuse()


@command(
    name="guest-get-disks",
    since=(5, 2),
    until=(9, 1),
    platforms={"freebsd": (7, 2)},
    only_refuses=True,
)
def no_disks(agent: Agent) -> list[DiskInfo]:
    """Refuse to list disks."""
    _refuse()


@command(
    name="guest-set-user-password",
    since=(2, 3),
    until=(7, 2),
    platforms={"freebsd": (0, 0)},
    only_refuses=True,
)
def no_user_password(agent: Agent, username: str, password: str, crypted: bool) -> None:
    """Refuse to set a password."""
    _refuse()
