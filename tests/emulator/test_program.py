"""The emulator as a program, started without libvirt: what it says, and how it begins and ends.

What is asserted of both holds for QEMU 7.2.22 of Debian 12, too, which is asked where it is installed.
"""

import gc
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qgasim.emulator import main
from qgasim.serving.listen import make_directory
from qgasim.testing.libvirt import _PROGRAM
from tests.real_qemu import NOBODY, PROGRAM, needs_qemu
from tests.serving import PATIENCE, connect, read_line

KINDS = pytest.mark.parametrize("kind", ["qgasim", pytest.param("qemu", marks=needs_qemu)])
BOARD = ("-machine", "pc,accel=tcg", "-nodefaults", "-display", "none")
PORT = "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"
LONG = "0" * 200
#: Command lines, and the error of each.
REFUSED = {
    "-nonsense": "-nonsense: invalid option",
    "-m": "-m: requires an argument",
    "-mon chardev=nope": '-mon chardev=nope: chardev "nope" not found',
    "-mon chardev=nope,mode=control": '-mon chardev=nope,mode=control: chardev "nope" not found',
    "-qmp unix:/nope/q,server=on,wait=off": "-qmp unix:/nope/q,server=on,wait=off: Failed to bind socket to /nope/q: No such file or directory",
    "-chardev socket,id=c,path=/nope/x,server=on,wait=off -mon chardev=c,mode=control": "-chardev socket,id=c,path=/nope/x,server=on,wait=off: Failed to bind socket to /nope/x: No such file or directory",
    f"-qmp unix:/{LONG},server=on,wait=off": f"-qmp unix:/{LONG},server=on,wait=off: UNIX socket path '/{LONG}' is too long",
    "-chardev socket,id=c,fd=77,server=on,wait=off -mon chardev=c,mode=control": "-chardev socket,id=c,fd=77,server=on,wait=off: File descriptor '77' is not a socket",
    "-pidfile /nope/p": "cannot create PID file: Could not create '/nope/p': No such file or directory",
    f"-device virtio-serial-pci -device {PORT}": f"-device {PORT}: Property 'virtserialport.chardev' can't find value 'ga'",
    "-device id=x": "-device id=x: Parameter 'driver' is missing",
    "-object memory-backend-ram,size=128M": "-object memory-backend-ram,size=128M: Parameter 'id' is missing",
    "-smp many": "Parameter 'smp.cpus' expects integer",
    "-smp cpus=2,sockets=x": "Parameter 'smp.sockets' expects integer",
    "-smp 256": "Invalid SMP CPUs 256. The max CPUs supported by machine 'pc-i440fx-7.2' is 255",
    "-m 512,slots=x,maxmem=1G": "-m 512,slots=x,maxmem=1G: Parameter 'slots' expects a number",
    "-m 512,slots=257,maxmem=1G": "unsupported amount of memory slots: 257",
}  # fmt: skip


@pytest.fixture
def restored() -> Iterator[None]:
    """Undo what the program does to its process."""
    yield
    gc.enable()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which an unprivileged user may work, with a short path."""
    directory = Path(make_directory("qgasim-"))
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


def drop_rights() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def command(kind: str) -> list[str]:
    return [PROGRAM or "", *BOARD] if kind == "qemu" else [sys.executable, "-c", _PROGRAM, *BOARD]


class Machine:
    """A machine that runs, and a client of its monitor: as libvirt does, it opens the socket itself."""

    def __init__(self, kind: str, directory: Path, *arguments: str) -> None:
        #: Events by name.
        self.events: dict[str, Any] = {}
        drop = drop_rights() if kind == "qemu" else {}
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{directory}/qmp.sock")
            listening.listen(1)
            number = listening.fileno()
            chardev = f"socket,id=mon,fd={number},server=on,wait=off"
            self.process = subprocess.Popen(
                [*command(kind), "-chardev", chardev, "-mon", "chardev=mon,mode=control", *arguments],
                pass_fds=[number], cwd=directory, stdin=subprocess.DEVNULL, **drop,
            )  # fmt: skip
        try:
            self.client = connect(f"{directory}/qmp.sock")
            assert "QMP" in self.read()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.ask("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def read(self) -> Any:
        return json.loads(read_line(self.client) or b"null")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what is answered; events that come before are noted."""
        self.client.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "event" in (said := self.read()):
            self.events[said["event"]] = said.get("data")
        return said["return"]

    def await_end(self) -> int:
        """Note events until it ends; return its status."""
        while said := self.read():
            self.events[said["event"]] = said.get("data")
        return self.process.wait(PATIENCE)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("line", "words"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_is_refused(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/qemu-system-x86_64", *BOARD, *line.split()])
    assert main() == 1
    assert capsys.readouterr() == ("", f"qemu-system-x86_64: {words}\n")


@pytest.mark.slow
@needs_qemu
def test_qemu_refuses_it_in_these_words(place: Path) -> None:
    for line, words in REFUSED.items():
        done = subprocess.run(
            [*command("qemu"), *line.split()],
            cwd=place, capture_output=True, text=True, timeout=PATIENCE, check=False, **drop_rights(),
        )  # fmt: skip
        assert done.returncode == 1
        assert f"qemu-system-x86_64: {words}\n" in done.stderr


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("option", ["-version", "--version", "-h", "-help"])
def test_it_says_what_it_is(
    kind: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "qemu":
        said = subprocess.run(
            ["qemu-system-x86_64", option], capture_output=True, text=True, check=True
        ).stdout
    else:
        monkeypatch.setattr(sys, "argv", ["qemu-system-x86_64", option])
        assert main() == 0
        gc.enable()
        said = capsys.readouterr().out
    version = (
        r"QEMU emulator version 7\.2\.22( \(Debian .*\))?\n"
        r"Copyright \(c\) 2003-2022 Fabrice Bellard and the QEMU Project developers\n"
    )
    usage = r"usage: qemu-system-x86_64 \[options\] \[disk_image\]\n\n"
    assert re.match(version + (usage if "h" in option else r"\Z"), said)


@pytest.mark.usefixtures("restored")
def test_a_release_is_one_that_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["q", "-version"])
    monkeypatch.setenv("QGASIM_QEMU", "10.0")
    assert main() == 0
    assert capsys.readouterr().out.startswith("QEMU emulator version 10.0.")
    monkeypatch.setenv("QGASIM_QEMU", "7.3")
    assert main() == 1
    assert capsys.readouterr().err.startswith("q: QGASIM_QEMU: no such release: '7.3' (expected ")


@pytest.mark.slow
@KINDS
def test_a_machine_begins_and_ends(kind: str, place: Path) -> None:
    uuid = "6a1f3c5e-1111-4222-8333-444455556666"
    chardev = "socket,id=ga,path=ga.sock,server=on,wait=off"
    ports = ["-device", "virtio-serial-pci", "-chardev", chardev, "-device", PORT]
    more = ["-chardev", "socket,id=no,path=no.sock,server=on,wait=off", "-smp", "2,maxcpus=4"]
    more += ["-m", "128,slots=2,maxmem=1G", "-object", "memory-backend-ram,id=m0,size=128M"]
    more += ["-device", "pc-dimm,id=dimm0,memdev=m0"]
    words = ["-S", "-name", "vm1", "-uuid", uuid, "-pidfile", "pid", *ports, *more]
    with Machine(kind, place, *words) as machine:
        assert (place / "pid").read_text() == f"{machine.process.pid}\n"
        assert machine.ask("query-status")["status"] == "prelaunch"
        assert machine.ask("query-name") == {"name": "vm1"}
        assert machine.ask("query-uuid") == {"UUID": uuid}
        assert len(machine.ask("query-hotpluggable-cpus")) == 4
        # Relative paths are those of the directory that it was started in.
        names = {each["label"]: each["filename"] for each in machine.ask("query-chardev")}
        assert names["mon"] == f"unix:{place}/qmp.sock,server=on"
        assert names["ga"].endswith("ga.sock,server=on")
        assert names["no"] == "disconnected:unix:no.sock,server=on"
        dimm = machine.ask("query-memory-devices")[0]["data"]
        assert (dimm["id"], dimm["memdev"], dimm["size"]) == ("dimm0", "/objects/m0", 128 << 20)
        machine.ask("device_add", driver="virtio-balloon-pci", id="b1")
        assert machine.ask("query-balloon") == {"actual": 256 << 20}
        machine.ask("cont")
        assert machine.ask("query-status")["status"] == "running"
        assert machine.events == {"RESUME": None}
        if kind == "qgasim":
            with connect(f"{place}/ga.sock") as agent:
                agent.sendall(b'{"execute":"guest-ping"}\n')
                assert read_line(agent) == b'{"return": {}}\n'
        machine.ask("quit")
        assert machine.events["SHUTDOWN"] == {"guest": False, "reason": "host-qmp-quit"}
        assert machine.await_end() == 0
    assert not {"ga.sock", "pid"} & set(os.listdir(place))


@pytest.mark.slow
@KINDS
def test_a_signal_ends_a_machine(kind: str, place: Path) -> None:
    with Machine(kind, place) as machine:
        machine.process.terminate()
        assert machine.await_end() == 0
        assert machine.events["SHUTDOWN"] == {"guest": False, "reason": "host-signal"}


@pytest.mark.slow
@KINDS
def test_a_daemon_leaves_when_clients_can_connect(kind: str, place: Path) -> None:
    drop = drop_rights() if kind == "qemu" else {}

    def start(where: str) -> "subprocess.CompletedProcess[str]":
        monitor = f"unix:{where}/qmp.sock,server=on,wait=off"
        return subprocess.run(
            [*command(kind), "-daemonize", "-pidfile", "pid", "-qmp", monitor],
            cwd=place, capture_output=True, text=True, timeout=PATIENCE, check=False, **drop,
        )  # fmt: skip

    refused = start("nope")
    assert refused.returncode == 1
    assert "nope/qmp.sock: No such file or directory\n" in refused.stderr
    done = start(str(place))
    assert (done.returncode, done.stdout) == (0, "")
    process = os.pidfd_open(int((place / "pid").read_text()))
    try:
        with connect(f"{place}/qmp.sock") as client:
            assert b'{"QMP": ' in read_line(client)
            signal.pidfd_send_signal(process, signal.SIGTERM)
            assert read_line(client) == b""
        assert select.select([process], [], [], PATIENCE)[0]
    finally:
        os.close(process)
    assert os.listdir(place) == []
