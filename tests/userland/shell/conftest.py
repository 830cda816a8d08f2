"""A small guest with the programs that scripts call, and a way to run them."""

import os
from collections.abc import Callable, Iterator

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.processes.process import Process
from qgasim.guest.processes.userland import program_image
from qgasim.guest.settings import OsSettings
from qgasim.userland import USERLANDS
from qgasim.userland.programs.registry import PROGRAMS

SECOND = 10**9


class Machine:
    """A guest whose clock stands still but for what its processes wait for."""

    def __init__(self) -> None:
        settings = GuestSettings(os=OsSettings(userland="busybox"))
        self.guest = Guest(settings, USERLANDS["busybox"], source=lambda: 0)
        files = self.guest.files
        for directory in ("/usr/bin", "/etc", "/dev", "/tmp", "/work"):
            files.makedirs(directory)
        if not files.exists("/bin"):
            files.symlink("usr/bin", "/bin")
        for name in PROGRAMS:
            if not files.exists(f"/usr/bin/{name}"):
                files.write(f"/usr/bin/{name}", program_image(name), 0o755)
        for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
            if not files.exists(f"/dev/{name}"):
                files.add_device(f"/dev/{name}", 1, minor)

    def start(
        self,
        *argv: str,
        stdin: bytes = b"",
        env: tuple[str, ...] = ("PATH=/usr/bin:/bin", "HOME=/"),
    ) -> Process:
        """Start a program whose output `output` gives."""
        files = self.guest.files
        files.write("/tmp/stdin", stdin)
        descriptors = {0: files.open("/tmp/stdin", os.O_RDONLY)}
        for number in (1, 2):
            files.write(f"/tmp/output{number}", b"")
            descriptors[number] = files.open(f"/tmp/output{number}", os.O_WRONLY | os.O_APPEND)
        p = self.guest.processes.spawn(
            list(argv), env=list(env), cwd="/work", files=descriptors, search="/usr/bin"
        )
        p.on_exit = lambda _how: None
        for file in descriptors.values():
            file.close()
        return p

    def run(self, *argv: str, stdin: bytes = b"", limit: int = 60 * SECOND) -> Process:
        """Run a program to its end, or for *limit*."""
        p = self.start(*argv, stdin=stdin)
        self.guest.processes.run(p, self.guest.clock.uptime() + limit)
        return p

    def output(self, number: int = 1) -> str:
        """What the program has written."""
        return self.guest.files.read(f"/tmp/output{number}").decode("utf-8", "surrogateescape")

    def sh(self, script: str) -> tuple[str, str, int | None]:
        """Run a script: what it writes to its two outputs, and its status; None if it was killed."""
        p = self.run("sh", "-c", script)
        assert p.exit is not None, "the script does not end"
        return self.output(1), self.output(2), None if p.exit.signal else p.exit.code


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.guest.processes.clear()


@pytest.fixture
def new_machine() -> type[Machine]:
    return Machine


@pytest.fixture
def sh(machine: Machine) -> Callable[[str], tuple[str, str, int | None]]:
    return machine.sh
