"""What must hold of a guest's records while it runs: the same as in a scenario, with nothing left open."""

from typing import Any, Final

from qgasim.guest.hardware.devices import Disk, Memory, Vcpu
from qgasim.guest.hardware.network import Nic
from qgasim.guest.machine import Machine
from qgasim.guest.system.accounts import Login
from qgasim.scenario.checks import Wrong, check
from qgasim.scenario.conform import conform
from qgasim.scenario.fill import AUTO

__all__ = ["check_records"]

#: The types of `Machine.RECORDS`.
_TYPES: Final[dict[str, Any]] = {
    "hostname": str,
    "has_swap": bool,
    "vcpus": list[Vcpu],
    "memory": Memory,
    "disks": list[Disk],
    "nics": list[Nic],
    "logins": list[Login],
    "passwords": dict[str, str],
}
assert tuple(_TYPES) == Machine.RECORDS


def check_records(guest: Machine) -> None:
    """Raise TypeError or ValueError for what a guest cannot have; see `Machine.guarded`."""
    for name, wanted in _TYPES.items():
        value = getattr(guest, name)
        for path, text in conform(value, wanted, name):
            raise TypeError(f"guest.{path}: {text}")
        for path, text in check(value, name):
            raise ValueError(f"guest.{path}: {text}")
    for path, text in _find_open(guest):
        raise ValueError(f"guest.{path}: {text}")


def _find_open(guest: Machine) -> Wrong:
    """Look for what only a scenario can leave open: it is not generated any more."""
    for index, nic in enumerate(guest.nics):
        if nic.count != 1:
            yield f"nics[{index}].count", f"expected 1 in a guest that runs, found {nic.count}"
        if nic.mac == AUTO:
            yield f"nics[{index}].mac", f"expected an address in a guest that runs, found '{AUTO}'"
        if AUTO in nic.addresses:
            at = f"nics[{index}].addresses[{nic.addresses.index(AUTO)}]"
            yield at, f"expected an address in a guest that runs, found '{AUTO}'"
