"""The commands that FreeBSD agents answer in their own way (qga/commands-bsd.c), since 7.2.

Before (pull request qga-pull-2022-10-26), qemu-ga could not be built there without patches.
"""

import errno
from collections.abc import Mapping
from typing import Final

from qgasim.agent import Agent
from qgasim.commands.hardware import IpAddress, NetworkInterface
from qgasim.commands.storage import begin_freezing, end_freezing, give_up_freezing
from qgasim.guest.hardware.network import Nic, parse_address
from qgasim.qapi.registry import Family, Version, command

__all__: list[str] = []

_FREEBSD: Final[Mapping[Family, Version]] = {"freebsd": (7, 2)}


@command(name="guest-network-get-interfaces", since=(1, 1), platforms=_FREEBSD)
def freebsd_network_get_interfaces(agent: Agent) -> list[NetworkInterface]:
    """List the network interfaces and their addresses; there are no counters.

    Each has an address of hardware, of zeros if it has none. UNVERIFIED: the order of addresses.
    """
    return [
        NetworkInterface(nic.name, nic.mac or "00:00:00:00:00:00", _ip_addresses(nic) or None, None)
        for nic in agent.guest.nics
    ]


def _ip_addresses(nic: Nic) -> tuple[IpAddress, ...]:
    parsed = map(parse_address, nic.addresses)
    return tuple(IpAddress(ip, "ipv4" if v == 4 else "ipv6", prefix) for v, ip, prefix in parsed)


@command(name="guest-fsfreeze-freeze", since=(0, 15), platforms=_FREEBSD)
def freebsd_fsfreeze_freeze(agent: Agent) -> int:
    """Freeze a UFS; tell how many were frozen, which is one at most."""
    return _freeze(agent, None)


@command(name="guest-fsfreeze-freeze-list", since=(2, 2), platforms=_FREEBSD)
def freebsd_fsfreeze_freeze_list(agent: Agent, mountpoints: list[str] | None = None) -> int:
    """Freeze the latest UFS that is mounted at one of *mountpoints*; tell how many were frozen."""
    return _freeze(agent, mountpoints)


def _freeze(agent: Agent, mountpoints: list[str] | None) -> int:
    begin_freezing(agent)
    for mount in reversed(agent.guest.files.mounts):
        if mountpoints is not None and mount.path not in mountpoints:
            continue
        if mount.volume.kind != "ufs" or mount.volume.freeze_error == errno.EBUSY:
            continue
        if mount.volume.freeze_error:
            raise give_up_freezing(agent, mount, "freeze", mount.volume.freeze_error)
        mount.volume.is_frozen = True
        # Of all others the kernel says that it is busy, and they are passed over.
        return end_freezing(agent, 1)
    return end_freezing(agent, 0)
