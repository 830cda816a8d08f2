"""Where a command line says that monitors and the agent's port are: character devices."""

import os
from collections.abc import Iterator
from typing import Any, Final

from qgasim.emulator.command_line import CommandLine, CommandLineError, parse_properties
from qgasim.serving.listen import (
    InheritedSocket,
    MachineSocket,
    SocketAddress,
    TcpAddress,
    UnixAddress,
)

__all__ = ["agent_address", "find_monitors", "migration_address", "open_chardevs"]

_TRUE: Final = ("on", "yes", "true", True)


def find_monitors(line: CommandLine) -> Iterator[tuple[SocketAddress, str | None]]:
    """Yield where each monitor listens, and the label of its character device, if it is named.

    Raises:
        CommandLineError: it is no socket that listens.
    """
    chardevs = line.chardevs()
    for option in ("qmp", "qmp-pretty"):
        for text in line.values(option):
            yield _parse_qmp(text, f"-{option} {text}"), None
    for name, monitor in line.describe("mon"):
        label = str(monitor.get("chardev", ""))
        if label not in chardevs:
            raise CommandLineError(f'{name}: chardev "{label}" not found')
        if monitor.get("mode", "readline") == "control":
            yield _address(chardevs[label], line.name_chardev(label)), label


def _parse_qmp(text: str, name: str) -> SocketAddress:
    kind, _, rest = text.partition(":")
    first, *options = rest.split(",")
    found = parse_properties(",".join(options)) if options else {}
    if kind == "unix":
        return _address({"backend": "socket", "path": first, **found}, name)
    if kind == "tcp":
        host, _, port = first.rpartition(":")
        where = {"backend": "socket", "host": host, "port": port, **found}
        return _address(where, name)
    raise CommandLineError(f"{name}: qgasim simulates monitors on sockets that listen only")


def _address(chardev: dict[str, Any], name: str) -> SocketAddress:
    """Return where a character device listens."""
    listens = chardev.get("server", "off") in _TRUE or chardev.get("nowait") in _TRUE
    if chardev.get("backend") != "socket" or not listens:
        raise CommandLineError(f"{name}: qgasim simulates sockets that listen only (server=on)")
    if "fd" in chardev:
        try:
            number = int(str(chardev["fd"]))
            os.fstat(number)
        except (ValueError, OSError, OverflowError):
            text = f"{name}: File descriptor '{chardev['fd']}' is not a socket"
            raise CommandLineError(text) from None
        return InheritedSocket(number)
    if "path" in chardev:
        return MachineSocket(os.path.abspath(str(chardev["path"])), name)
    port = str(chardev.get("port", ""))
    if not port.isdigit() or int(port) > 0xFFFF:
        raise CommandLineError(f"{name}: one of path, fd or port is missing")
    return TcpAddress(str(chardev.get("host") or "127.0.0.1").strip("[]"), int(port))


def migration_address(uri: str) -> SocketAddress | None:
    """Return the socket from which a machine comes, of ``unix:PATH`` or ``tcp:HOST:PORT``; None: it is none."""
    kind, _, rest = uri.partition(":")
    if kind == "unix" and rest:
        # Its file is removed when the machine has come.
        return UnixAddress(os.path.abspath(rest))
    host, _, port = rest.partition(",")[0].rpartition(":")
    if kind != "tcp" or not port.isdigit() or int(port) > 0xFFFF:
        return None
    return TcpAddress(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - as QEMU has it


def agent_address(line: CommandLine, label: str) -> SocketAddress:
    """Return where the agent's port is.

    Raises:
        CommandLineError: it is no socket that listens.
    """
    chardevs = line.chardevs()
    if label not in chardevs:
        name = next(n for n, device in line.devices() if str(device.get("chardev")) == label)
        text = f"{name}: Property 'virtserialport.chardev' can't find value '{label}'"
        raise CommandLineError(text)
    return _address(chardevs[label], line.name_chardev(label))


def open_chardevs(line: CommandLine, others: set[str]) -> dict[str, dict[str, Any]]:
    """Return what query-chardev says of the character devices that nothing in the guest uses.

    *others* are left out. Nothing is opened, but a terminal (``pty``), which a management layer asks for.
    """
    shown: dict[str, dict[str, Any]] = {}
    for label, chardev in line.chardevs().items():
        if label and label not in others:
            name = str(chardev.get("backend", ""))
            if name == "pty":
                # Both ends stay open for as long as this process runs.
                name = f"pty:{os.ttyname(os.openpty()[1])}"
            elif name == "socket":
                mark = ",server=on" if chardev.get("server") in _TRUE else ""
                name = f"disconnected:unix:{chardev.get('path', '')}{mark}"
            shown[label] = {"frontend-open": False, "filename": name}
    return shown
