"""Commands about the host's side of devices: networks, character devices, descriptors. None is opened.

The errors are those of QEMU 7.2.22, asked with ``-machine pc -S``.
"""

from typing import Any

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.qapi.registry import Arguments
from qgasim.qmp.commands.queries import list_chardevs
from qgasim.qmp.identifiers import check_identifier
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command, free_command

__all__: list[str] = []


@free_command("netdev_add")
def netdev_add(monitor: Monitor, arguments: Arguments) -> None:
    """Make the host's side of a network device."""
    for name in ("type", "id"):
        if name not in arguments:
            raise CommandError(f"Parameter '{name}' is missing")
    netdevs = monitor.hypervisor.devices.netdevs
    id, kind, hub = str(arguments["id"]), arguments["type"], arguments.get("netdev")
    check_identifier("id", id)
    if id in netdevs:
        raise CommandError(f"Duplicate ID '{id}'")
    if kind in ("nic", "none"):
        raise CommandError(f"network backend '{kind}' is not compiled into this binary")
    if kind == "hubport" and hub is not None and hub not in netdevs:
        raise CommandError(f"netdev '{hub}' not found")
    netdevs.append(id)


@command("netdev_del")
def netdev_del(monitor: Monitor, id: str) -> None:
    """Remove the host's side of a network device."""
    netdevs = monitor.hypervisor.devices.netdevs
    if id not in netdevs:
        raise DeviceNotFound(f"Device '{id}' not found")
    netdevs.remove(id)


@command()
def chardev_add(monitor: Monitor, id: str, backend: Any) -> Any:
    """Make a character device: it is listed, and no more."""
    if id in [each["label"] for each in list_chardevs(monitor)]:
        raise CommandError(f"Chardev with id '{id}' already exists")
    kind = str(backend["type"])
    size = backend["data"].get("size", 0)
    if kind in ("ringbuf", "memory") and size & (size - 1):
        text = "size of ringbuf chardev must be power of two"
        raise CommandError(f"Failed to add chardev '{id}': {text}")
    monitor.hypervisor.devices.chardevs[id] = {"frontend-open": False, "filename": kind}
    return {}


@command()
def chardev_remove(monitor: Monitor, id: str) -> None:
    """Remove a character device that nothing uses."""
    devices = monitor.hypervisor.devices
    labels = [each["label"] for each in list_chardevs(monitor)]
    if id not in labels:
        raise CommandError(f"Chardev '{id}' not found")
    users = [each.properties.get("chardev") for each in devices.by_id.values()]
    if id not in devices.chardevs or id in users:
        raise CommandError(f"Chardev '{id}' is busy")
    del devices.chardevs[id]


@command()
def getfd(monitor: Monitor, fdname: str) -> None:
    """Take a descriptor that comes with the request: nothing is done with it, and it is closed at once.

    UNVERIFIED here: whether one has come; QEMU refuses if not.
    """
    monitor.hypervisor.devices.fds.add(fdname)


@command()
def closefd(monitor: Monitor, fdname: str) -> None:
    """Close a descriptor that was passed."""
    fds = monitor.hypervisor.devices.fds
    if fdname not in fds:
        raise CommandError(f"File descriptor named '{fdname}' not found")
    fds.remove(fdname)


@command()
def send_key(monitor: Monitor, keys: Any = None, hold_time: int | None = None) -> None:
    """Press keys: nothing in the guest looks at them."""
