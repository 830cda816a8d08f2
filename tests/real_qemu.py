"""The real QEMU 7.2's monitor beside the simulated one, where it is installed (package qemu-system-x86).

It runs without a guest, a display or a network, as an unprivileged user if it can, in a directory of its own.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest

PROGRAM = shutil.which("qemu-system-x86_64")
NOBODY = 65534
PATIENCE = 20.0
#: The machine of the recordings, without kernel, disk image and network.
ARGUMENTS = (
    *("-machine", "pc,accel=tcg", "-cpu", "qemu64", "-nodefaults", "-display", "none"),
    *("-name", "lab", "-uuid", "6a1f3c5e-1111-4222-8333-444455556666", "-smp", "2,maxcpus=4"),
    *("-m", "64M,slots=2,maxmem=2G", "-rtc", "base=2024-06-15T12:00:00,clock=vm"),
    *("-serial", "file:console.log"),
    *("-qmp", "unix:qmp.sock,server=on,wait=off"),
    *("-chardev", "socket,id=charchannel0,path=ga.sock,server=on,wait=off"),
    *("-device", "virtio-serial-pci,id=virtio-serial0,bus=pci.0,addr=0x5"),
    "-device",
    "virtserialport,bus=virtio-serial0.0,nr=1,chardev=charchannel0,id=channel0,name=org.qemu.guest_agent.0",
    *("-drive", "if=none,id=d0,file=disk.img,format=raw,snapshot=on,discard=unmap"),
    "-device",
    "virtio-blk-pci,drive=d0,id=virtio-disk0,serial=LAB-VDA-0001,bus=pci.0,addr=0x6",
    *("-netdev", "hubport,id=hostnet0,hubid=0"),
    "-device",
    "virtio-net-pci,netdev=hostnet0,id=net0,mac=52:54:00:12:34:56,bus=pci.0,addr=0x3",
    *("-object", "memory-backend-ram,id=memdimm0,size=128M"),
    *("-device", "pc-dimm,id=dimm0,memdev=memdimm0"),
)
DISK_SIZE = 522190848


def is_installed() -> bool:
    """Return whether there is a real QEMU of release 7.2."""
    if PROGRAM is None:
        return False
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, check=False).stdout
    return b"version 7.2." in said


needs_qemu = pytest.mark.skipif(not is_installed(), reason="no qemu-system-x86_64 7.2 is installed")


class RealMonitor:
    """A real QEMU and a connection to its monitor; *arguments*: besides those that all have."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.path = directory / "qmp.sock"
        assert PROGRAM
        with (directory / "disk.img").open("wb") as file:
            file.truncate(DISK_SIZE)
        drop: dict[str, Any] = {}
        if os.geteuid() == 0:
            drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (directory, directory / "disk.img"):
                os.chown(path, NOBODY, NOBODY)
        self.process = subprocess.Popen(
            [PROGRAM, *ARGUMENTS, *arguments],
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **drop,
        )
        self.socket: socket.socket | None = None
        try:
            self.greeting = self.connect()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def connect(self) -> bytes:
        """Connect in place of the last client; return the greeting."""
        if self.socket is not None:
            self.socket.close()
        deadline = time.monotonic() + PATIENCE
        while True:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.socket.connect(str(self.path))
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.005)
        return self.read_until(lambda data: data.endswith(b"\r\n"))

    def send(self, data: bytes) -> None:
        """Send *data*; a QEMU that has ended takes none."""
        assert self.socket is not None
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read_until(self, is_enough: Any, patience: float = PATIENCE) -> bytes:
        """Return what comes until it is enough, QEMU hangs up or patience ends."""
        assert self.socket is not None
        received = bytearray()
        deadline = time.monotonic() + patience
        while not is_enough(received):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                break
            try:
                data = self.socket.recv(1 << 20)
            except OSError:
                break
            if not data:
                break
            received += data
        return bytes(received)

    @property
    def has_ended(self) -> bool:
        """Return whether QEMU has ended."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """End QEMU."""
        if self.socket is not None:
            self.socket.close()
        self.process.kill()
        self.process.wait()


def as_request(command: str, arguments: dict[str, Any] | None = None) -> bytes:
    """Write a request."""
    asked: dict[str, Any] = {"execute": command}
    if arguments is not None:
        asked["arguments"] = arguments
    return json.dumps(asked).encode()
