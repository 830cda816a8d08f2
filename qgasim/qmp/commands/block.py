"""Commands about disks and the nodes behind them (``-blockdev``, ``-drive``). No image is ever opened.

What a node says of itself is as it was recorded of QEMU 7.2.22, with the names and numbers of what it was
made with.
"""

from typing import Any, Final, cast

from qgasim.errors import CommandError
from qgasim.qapi.registry import Arguments
from qgasim.qmp.devices import Device
from qgasim.qmp.identifiers import is_identifier
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command, free_command
from qgasim.wire import is_array, is_object

__all__: list[str] = []

#: The size of what is behind a node whose disk the guest has not got.
UNKNOWN_SIZE: Final = 10 << 30
SECTOR: Final = 512
#: How long the name of a node can be.
NODE_NAME_LIMIT: Final = 31
#: Drivers of disks whose medium can be taken out.
REMOVABLE: Final = ("scsi-cd", "ide-cd")

Block = dict[str, Any]


def _adapt(value: Any, changes: dict[str, Any]) -> Any:
    """Return a recorded answer with other values of some members, wherever they are."""
    if isinstance(value, dict):
        members = cast("Block", value)
        return {key: changes.get(key, _adapt(each, changes)) for key, each in members.items()}
    return [_adapt(each, changes) for each in value] if is_array(value) else value


def _disks(monitor: Monitor) -> list[Device]:
    """Return the devices that are disks."""
    devices = monitor.hypervisor.devices.by_id.values()
    return [each for each in devices if "drive" in each.properties or each.driver in REMOVABLE]


def _size_of(monitor: Monitor, device: Device | None) -> int:
    """Return the size of a device's disk; 0: it is not known."""
    if device is None or device.disk is None:
        return 0
    return next((d.size for d in monitor.hypervisor.guest.disks if d.name == device.disk), 0)


def _qdev(device: Device) -> str:
    """Return how a device is named (block/block-backend.c, blk_get_attached_dev_id)."""
    if device.driver.startswith("virtio-blk"):
        return f"{device.path}/virtio-backend"
    return device.id or device.path


def _chain(monitor: Monitor, top: Any) -> list[str]:
    """Return the names of a node and of those that it stands on."""
    nodes = monitor.hypervisor.devices.nodes
    names: list[str] = []
    while isinstance(top, str) and top in nodes and top not in names:
        names.append(top)
        top = nodes[top].get("file", "")
    return names


def _file_of(monitor: Monitor, name: str) -> str:
    node = monitor.hypervisor.devices.nodes[_chain(monitor, name)[-1]]
    return str(node.get("filename") or node.get("file") or "")


def _describe(monitor: Monitor, name: str) -> Block:
    """Return QAPI ``BlockDeviceInfo`` of a node."""
    devices = monitor.hypervisor.devices
    node = devices.nodes[name]
    driver, file = str(node.get("driver") or node.get("format") or "raw"), _file_of(monitor, name)
    owner = next(
        (each for each in _disks(monitor) if name in _chain(monitor, each.properties.get("drive"))),
        None,
    )
    size = devices.sizes.get(name) or _size_of(monitor, owner) or UNKNOWN_SIZE
    templates = monitor.release.answers["query-named-block-nodes"]
    template = templates[0] if driver == "qcow2" else templates[-1]
    gone = ("backing_file", "backing-image", "backing-filename", "full-backing-filename")
    shown: Block = {key: value for key, value in template.items() if key not in gone}
    image = {key: value for key, value in template["image"].items() if key not in gone}
    changes = {"virtual-size": size, "filename": file, "format": driver, "actual-size": 0}
    cache = node.get("cache")
    options = cast("Block", cache) if isinstance(cache, dict) else {}
    return {
        **shown,
        "image": {**image, **changes},
        "ro": node.get("read-only", False) in (True, "on"),
        "node-name": name,
        "drv": driver,
        "backing_file_depth": 0,
        "file": file,
        "cache": {
            "no-flush": bool(options.get("no-flush", False)),
            "direct": bool(options.get("direct", False)),
            "writeback": True,
        },
    }


def _block(monitor: Monitor, name: str) -> list[Block]:
    """Return what was recorded of a disk for each that has no node."""
    template = monitor.release.answers[name][0]

    def make(disk: Device) -> Block:
        changes: dict[str, Any] = {"qdev": _qdev(disk)}
        if size := _size_of(monitor, disk):
            changes["virtual-size"] = size
        if "device" in template:
            changes["device"] = disk.properties["drive"]
        adapted: Block = _adapt(template, changes)
        return adapted

    nodes = monitor.hypervisor.devices.nodes
    return [
        make(disk)
        for disk in _disks(monitor)
        if "drive" in disk.properties and disk.properties["drive"] not in nodes
    ]


@command()
def query_block(monitor: Monitor, flat: bool | None = None) -> Any:
    """List the disks. Without a node, what backs them is as it was recorded: an overlay over an image."""
    found: list[Block] = []
    nodes = monitor.hypervisor.devices.nodes
    for disk in _disks(monitor):
        node, is_removable = disk.properties.get("drive"), disk.driver in REMOVABLE
        if node is None or node in nodes:
            shown: Block = {
                "io-status": "ok",
                "device": node if node is not None and "driver" not in nodes[node] else "",
                "locked": False,
                "removable": is_removable,
                "qdev": _qdev(disk),
                "type": "unknown",
            }
            if node is not None:
                shown["inserted"] = _describe(monitor, node)
            if is_removable:
                shown["tray_open"] = False
            found.append(shown)
    return [*found, *_block(monitor, "query-block")]


@command()
def query_blockstats(monitor: Monitor, query_nodes: bool | None = None) -> Any:
    """Return what disks have done: nothing, but that a guest that has booted leaves them idle."""
    hypervisor = monitor.hypervisor
    template = monitor.release.answers["query-blockstats"][0]
    nodes = hypervisor.devices.nodes

    def tell(name: str) -> Block:
        below = _chain(monitor, name)[1:]
        stats = dict(template["stats"], account_invalid=False, account_failed=False)
        parent = {"parent": {**template["parent"], "node-name": below[0]}} if below else {}
        return {**parent, "stats": stats, "node-name": name}

    if query_nodes:
        return [tell(name) for name in nodes]
    found = _block(monitor, "query-blockstats")
    for disk in _disks(monitor):
        if disk.properties.get("drive") in nodes:
            shown = tell(disk.properties["drive"])
            found.append({"device": "", **shown, "qdev": _qdev(disk)})
    if hypervisor.has_booted:
        for each in found:
            each["stats"] = {**each["stats"], "idle_time_ns": hypervisor.guest.boot_uptime()}
    return found


@command()
def query_named_block_nodes(monitor: Monitor, flat: bool | None = None) -> Any:
    """List the nodes that back disks; those of disks without a node are as they were recorded."""
    found = [_describe(monitor, name) for name in monitor.hypervisor.devices.nodes]
    first, *rest = monitor.release.answers["query-named-block-nodes"]
    # It was recorded flat; else the first node shows what it stands on, as in query-block.
    inserted = monitor.release.answers["query-block"][0]["inserted"]
    templates = [first if flat else inserted, *rest]
    for disk in _disks(monitor):
        if disk.properties.get("drive", "") not in monitor.hypervisor.devices.nodes and (
            "drive" in disk.properties
        ):
            size = _size_of(monitor, disk)
            changes = {"virtual-size": size} if size else {}
            found += [_adapt(node, changes) for node in templates]
    return found


# -- changing ------------------------------------------------------------------------------------


@free_command("blockdev-add")
def blockdev_add(monitor: Monitor, arguments: Arguments) -> None:
    """Make a node. Its image is not opened, and may be missing."""
    if "driver" not in arguments:
        raise CommandError("Parameter 'driver' is missing")
    nodes = monitor.hypervisor.devices.nodes
    name = arguments.get("node-name")
    if name is None:
        raise CommandError("'node-name' must be specified for the root node")
    file = arguments.get("file")
    if isinstance(file, str) and file not in nodes and file not in _drives(monitor):
        raise CommandError(f"Cannot find device='{file}' nor node-name='{file}'")
    _check_node_name(monitor, str(name))
    nodes[str(name)] = dict(arguments)


def _check_node_name(monitor: Monitor, name: str) -> None:
    """Refuse a name for a node (block.c, bdrv_assign_node_name())."""
    if not is_identifier(name):
        raise CommandError(f"Invalid node-name: '{name}'")
    if name in _drives(monitor):
        raise CommandError(f"node-name={name} is conflicting with a device id")
    if name in monitor.hypervisor.devices.nodes:
        raise CommandError(f"Duplicate nodes with node-name='{name}'")
    if len(name) > NODE_NAME_LIMIT:
        raise CommandError("Node name too long")


def _drives(monitor: Monitor) -> dict[str, Device]:
    """Return the disks that are drives with an id, not nodes, by that."""
    nodes = monitor.hypervisor.devices.nodes
    every = {each.properties.get("drive", ""): each for each in _disks(monitor)}
    return {name: each for name, each in every.items() if name and name not in nodes}


@command()
def blockdev_del(monitor: Monitor, node_name: str) -> None:
    """Remove a node that nothing uses."""
    devices = monitor.hypervisor.devices
    if node_name not in devices.nodes:
        raise CommandError(f"Failed to find node with node-name='{node_name}'")
    if node_name in [each.properties.get("drive") for each in devices.by_id.values()]:
        raise CommandError(f"Node {node_name} is in use")
    if node_name in [node.get("file") for node in devices.nodes.values()]:
        raise CommandError(f"Block device {node_name} is in use")
    del devices.nodes[node_name]


@command("block_resize")
def block_resize(
    monitor: Monitor, size: int, device: str | None = None, node_name: str | None = None
) -> None:
    """Change the size of a disk; the guest sees it at once."""
    devices, drives = monitor.hypervisor.devices, _drives(monitor)
    found = [name for name in (device, node_name) if name in drives or name in devices.nodes]
    if not found:
        raise CommandError(f"Cannot find device='{device or ''}' nor node-name='{node_name or ''}'")
    if size < 0:
        raise CommandError("Parameter 'size' expects a >0 size")
    name = str(found[0])
    if name in drives:
        # An overlay, as it was recorded.
        _check_whole(size)
        _resize_disk(monitor, drives[name], size)
        return
    chain = _chain(monitor, name)
    drivers = [devices.nodes[each].get("driver") for each in chain]
    below = devices.nodes[chain[-1]].get("file")
    drivers += [below.get("driver")] if is_object(below) else []
    if "null-co" in drivers or "null-aio" in drivers:
        raise CommandError("Image format driver does not support resize")
    if drivers[0] == "qcow2":
        _check_whole(size)
    for node in chain:
        devices.sizes[node] = size
    for each in _disks(monitor):
        if each.properties.get("drive") == name:
            _resize_disk(monitor, each, size)


def _check_whole(size: int) -> None:
    if size % SECTOR:
        raise CommandError(f"The new size must be a multiple of {SECTOR}")


def _resize_disk(monitor: Monitor, device: Device, size: int) -> None:
    for disk in monitor.hypervisor.guest.disks:
        if disk.name == device.disk:
            disk.size = size
