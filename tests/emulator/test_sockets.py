"""Where a command line says that monitors, the agent and a machine that moves here are; and what it is to do at its end."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from qgasim.emulator.command_line import CommandLineError, parse
from qgasim.emulator.machine import make_settings
from qgasim.emulator.sockets import (
    agent_address,
    find_monitors,
    migration_address,
    open_chardevs,
)
from qgasim.errors import ListenError
from qgasim.serving.accepting import Listener
from qgasim.serving.listen import (
    InheritedSocket,
    MachineSocket,
    TcpAddress,
    UnixAddress,
)
from tests.serving import connect

#: As in qemu-options.hx of 7.2 (`-qmp`, `-chardev socket`, `-mon`).
MONITORS: list[tuple[str, Any]] = [
    ("-qmp tcp:localhost:4444,server=on,wait=off", TcpAddress("localhost", 4444)),
    ("-qmp tcp::4444,server,nowait", TcpAddress("127.0.0.1", 4444)),
    ("-qmp-pretty tcp:[::1]:4444,server=on,wait=off", TcpAddress("::1", 4444)),
    ("-chardev socket,id=c,host=::1,port=1,server=on -mon c,mode=control", TcpAddress("::1", 1)),
    ("-qmp unix:/q,server=on", MachineSocket("/q", "-qmp unix:/q,server=on")),
]


@pytest.mark.parametrize(("line", "address"), MONITORS)
def test_a_monitor_is_where_the_command_line_says(line: str, address: object) -> None:
    assert [where for where, _ in find_monitors(parse(line.split()))] == [address]


def test_a_monitor_for_people_is_left_out() -> None:
    line = "-chardev socket,id=c,path=/q,server=on -mon chardev=c -mon chardev=c,mode=readline"
    assert list(find_monitors(parse(line.split()))) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-qmp stdio", "-qmp stdio: qgasim simulates monitors on sockets that listen only"),
        ("-qmp unix:/q", "-qmp unix:/q: qgasim simulates sockets that listen only (server=on)"),
        ("-qmp tcp::65536,server=on", "-qmp tcp::65536,server=on: one of path, fd or port is missing"),
        (
            "-chardev file,id=f,path=/x -mon chardev=f,mode=control",
            "-chardev file,id=f,path=/x: qgasim simulates sockets that listen only (server=on)",
        ),
    ],
)  # fmt: skip
def test_a_monitor_that_is_not_simulated_is_refused(line: str, words: str) -> None:
    with pytest.raises(CommandLineError) as raised:
        list(find_monitors(parse(line.split())))
    assert str(raised.value) == words


def test_a_socket_of_the_program_that_started_it_is_taken() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        line = parse(["-chardev", f"socket,id=c,fd={sock.fileno()},server=on"])
        assert agent_address(line, "c") == InheritedSocket(sock.fileno())


def test_the_file_of_a_socket_is_removed_but_for_that_of_a_socket_in_its_place(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "s")
    first, second = (Listener(MachineSocket(path, "-qmp")) for _ in range(2))
    first.open()
    second.open()
    first.close()
    connect(path).close()
    second.close()
    assert not os.path.exists(path)
    with pytest.raises(ListenError, match=r"^-x: Failed to bind socket to /nope/s: No such file"):
        MachineSocket("/nope/s", "-x").listen()


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("unix:/m", UnixAddress("/m")),
        ("tcp:[::]:4444", TcpAddress("::", 4444)),
        ("tcp::4444", TcpAddress("0.0.0.0", 4444)),
        ("tcp:0:4444,to=4450", TcpAddress("0", 4444)),
        ("defer", None),
        ("fd:3", None),
        ("exec:cat", None),
        ("unix:", None),
        ("tcp:a:b", None),
    ],
)  # fmt: skip
def test_a_machine_comes_by_a_socket(uri: str, address: object) -> None:
    assert migration_address(uri) == address


def test_a_terminal_is_opened() -> None:
    shown = open_chardevs(
        parse(["-chardev", "pty,id=p", "-chardev", "null,id=n", "-chardev", "null,id=x"]), {"x"}
    )
    kind, _, path = shown["p"]["filename"].partition(":")
    assert kind == "pty"
    assert os.path.exists(path)
    assert shown["n"] == {"frontend-open": False, "filename": "null"}
    assert set(shown) == {"p", "n"}


#: Options, and the settings of the machine (system/runstate.c and the texts of `-action` in qemu-options.hx).
ACTIONS: list[tuple[str, dict[str, object]]] = [
    ("", {"start": "running", "on_shutdown": "poweroff", "on_reboot": "reset", "on_panic": None, "watchdog": None}),
    ("-S", {"start": "prelaunch"}),
    ("-S -incoming defer", {"start": "incoming"}),
    ("-no-shutdown -no-reboot", {"on_shutdown": "pause", "on_reboot": "shutdown"}),
    ("-action shutdown=pause,reboot=shutdown", {"on_shutdown": "pause", "on_reboot": "shutdown"}),
    ("-device pvpanic", {"on_panic": "poweroff"}),
    ("-device pvpanic -action panic=shutdown", {"on_panic": "poweroff"}),
    ("-device pvpanic-pci -action panic=none", {"on_panic": "none"}),
    ("-device i6300esb", {"watchdog": "reset"}),
    ("-device ib700 -action watchdog=pause", {"watchdog": "pause"}),
    ("-device ib700 -watchdog-action inject-nmi", {"watchdog": "inject-nmi"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), ACTIONS)
def test_what_a_machine_does_when_something_happens(line: str, expected: dict[str, object]) -> None:
    settings = make_settings(parse(line.split()), "7.2")
    assert {name: getattr(settings, name) for name in expected} == expected
