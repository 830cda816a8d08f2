"""Commands that make and remove objects (``object-add``): memory for modules, threads for I/O, and others."""

from typing import Any, Final

from qgasim.errors import CommandError
from qgasim.qapi.registry import Arguments
from qgasim.qmp.devices import MEMORY_LIMIT, OWN_MEMORY, Object
from qgasim.qmp.identifiers import check_identifier
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command, free_command
from qgasim.wire import is_object

__all__: list[str] = []

#: The member of an iothread that is checked, and its greatest value.
_POLL: Final = "poll-max-ns"
_POLL_LIMIT: Final = (1 << 63) - 1


@free_command("object-add")
def object_add(monitor: Monitor, arguments: Arguments) -> None:
    """Make an object. Memory backends can be used by ``pc-dimm``; others are taken, and no more."""
    for name in ("qom-type", "id"):
        if name not in arguments:
            raise CommandError(f"Parameter '{name}' is missing")
    # Up to 5.2, what it is made with stands in an object of its own.
    props = arguments.get("props")
    values: dict[str, Any] = {**arguments, **(props if is_object(props) else {})}
    id, kind = str(values.pop("id")), str(values.pop("qom-type"))
    check_identifier("id", id)
    devices = monitor.hypervisor.devices
    if id in devices.objects:
        raise CommandError(f"attempt to add duplicate property '{id}' to object (type 'container')")
    if kind.startswith("memory-backend-"):
        _check_memory(kind, id, values.get("size"), sum(devices.backends().values()))
    polls = values.get(_POLL, 0)
    if kind == "iothread" and not isinstance(polls, int):
        raise CommandError(f"Invalid parameter type for '{_POLL}', expected: integer")
    if kind == "iothread" and polls < 0:
        raise CommandError(f"{_POLL} value must be in range [0, {_POLL_LIMIT}]")
    if kind == "secret" and not {"data", "file"} & values.keys():
        raise CommandError("Either 'file' or 'data' must be provided")
    devices.objects[id] = Object(kind=kind, properties=values)


def _check_memory(kind: str, id: str, size: Any, used: int) -> None:
    """Refuse memory that cannot be had; *used*: what other objects have.

    A size that is negative, or close to 2^64, makes QEMU 7.2 abort (softmmu/physmem.c); here it is too much.
    """
    if size is None:
        raise CommandError("Parameter 'size' is missing")
    if type(size) is not int:
        raise CommandError("Invalid parameter type for 'size', expected: integer")
    if size == 0:
        raise CommandError(f"property 'size' of {kind} doesn't take value '0'")
    if not 0 < size < MEMORY_LIMIT - used:
        # UNVERIFIED: how much the host has; 1 TiB was too much for one.
        raise CommandError(f"cannot set up guest memory '{id}': Cannot allocate memory")


@command()
def object_del(monitor: Monitor, id: str) -> None:
    """Remove an object that nothing uses."""
    devices = monitor.hypervisor.devices
    if id not in devices.objects:
        raise CommandError(f"object '{id}' not found")
    if id == OWN_MEMORY or any(dimm.memdev == id for dimm in devices.dimms):
        raise CommandError(f"object '{id}' is in use, can not be deleted")
    del devices.objects[id]
