"""A private libvirtd whose domains are simulated machines (``qgasim-qemu``), for tests.

It is a session daemon with all sockets and state in a directory of its own; the host's libvirt is not
touched. A session daemon must not be root's: as root it runs as another user of a user namespace, which
changes nothing but the number that it sees.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from typing import Final, Self
from xml.sax.saxutils import quoteattr

__all__ = ["Libvirt", "LibvirtDomain", "describe_domain", "find_missing", "lend_domain"]

#: What a session daemon's user may not be.
_ROOT: Final = 0
#: The user that root becomes (`nobody`).
_NOBODY: Final = 65534
#: How long a command of virsh may take, in seconds.
TIMEOUT: Final = 60
_PROGRAM: Final = (
    "import sys; sys.argv[0] = 'qgasim-qemu'; from qgasim.emulator import main; sys.exit(main())"
)


#: Starts a daemon, says with which status that ended, and reaps all processes that it leaves, until there are
#: none. libvirt waits until an emulator's process is gone, and the init of a container may be slow to reap
#: it, or never do. (36: PR_SET_CHILD_SUBREAPER, prctl(2).)
_SUPERVISOR: Final = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
print(subprocess.run(sys.argv[1:]).returncode, flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
_NUMBERS: Final = count(1)


def find_missing() -> str | None:
    """Return what a private libvirtd needs and is not there; None: nothing."""
    for program in ("libvirtd", "virsh"):
        if _find(program) is None:
            return f"{program} is not installed"
    if os.geteuid() == _ROOT:
        try:
            subprocess.run([*_prefix(), "true"], check=True, capture_output=True, timeout=TIMEOUT)
        except (OSError, subprocess.SubprocessError):
            return "root cannot become another user of a user namespace here (unshare --user)"
    return None


def _find(program: str) -> str | None:
    # Debian has libvirtd where only root's PATH looks.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _prefix() -> list[str]:
    if os.geteuid() != _ROOT:
        return []
    return ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"]


class Libvirt:
    """A private libvirtd; it runs within its context.

    Args:
        directory: where everything is kept; it exists, with a path short enough for sockets.

    Attributes:
        uri: for clients of libvirt in this process.
        emulator: the path of ``qgasim-qemu`` as domains name it; domains that name none have it, too.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.uri = f"qemu+unix:///session?socket={directory}/run/libvirt/libvirt-sock"
        self.emulator = f"{directory}/bin/qemu-system-x86_64"
        places = {
            "HOME": "", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache",
            # Nothing else is found there: a real emulator would be asked what it can do, for seconds.
            "PATH": "bin",
        }  # fmt: skip
        self._environment = {key: f"{directory}/{place}" for key, place in places.items()}
        self._environment["LIBVIRT_DEFAULT_URI"] = "qemu:///session"
        self._supervisor: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        for name in ("bin", "run", "config", "cache"):
            os.mkdir(f"{self._directory}/{name}")
        with open(self.emulator, "w", encoding="utf-8") as file:
            command = shlex.join([sys.executable, "-c", _PROGRAM])
            paths = shlex.quote(os.pathsep.join(path or os.getcwd() for path in sys.path))
            file.write(f'#!/bin/sh\nPYTHONPATH={paths} exec {command} "$@"\n')
        os.chmod(self.emulator, 0o755)
        os.mkdir(f"{self._directory}/config/libvirt")
        settings = {
            # Else each daemon starts another for logs, which outlives it by two minutes.
            "qemu.conf": 'stdio_handler = "file"\n',
            # Each is a host of its own, so that domains migrate from one to another.
            "libvirtd.conf": f'host_uuid = "{uuid.uuid4()}"\n',
        }
        for name, text in settings.items():
            with open(f"{self._directory}/config/libvirt/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        self._start()
        return self

    def _start(self) -> None:
        """Start the daemon.

        Raises:
            RuntimeError: it does not start; the text says why.
        """
        daemon = self._command("libvirtd", "--daemon", "--pid-file", f"{self._directory}/pid")
        self._supervisor = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISOR, *daemon],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._supervisor.stdout is not None
        assert self._supervisor.stderr is not None
        if self._supervisor.stdout.readline() != "0\n":
            text = self._supervisor.stderr.read()
            self._reap()
            raise RuntimeError(f"libvirtd: {text.strip()}")

    def _reap(self) -> None:
        """Wait until the daemon and all that it has started are gone."""
        assert self._supervisor is not None
        with self._supervisor as process:
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()

    def __exit__(self, *_: object) -> None:
        for name in self.virsh("list", "--name").stdout.split():
            self.virsh("destroy", name)
        with open(f"{self._directory}/pid", encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGTERM)
        self._reap()

    def open_virsh(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a ``virsh`` that takes its commands from its standard input."""
        return subprocess.Popen(
            self._command("virsh", *arguments),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line of one of libvirt's programs."""
        command = [*_prefix(), _find(program) or program, *arguments]
        if command[0] == "unshare":
            command[0] = shutil.which("unshare") or "unshare"
        return command

    def virsh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``virsh`` with *arguments*."""
        return subprocess.run(
            self._command("virsh", *arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def log(self, name: str) -> str:
        """Return what libvirt and the emulator have written of a domain."""
        path = f"{self._directory}/cache/libvirt/qemu/log/{name}.log"
        with open(path, encoding="utf-8") as file:
            return file.read()


class LibvirtDomain:
    """A domain of a private libvirtd.

    Args:
        libvirt: the daemon.
        xml: what ``virsh define`` reads.

    Raises:
        RuntimeError: libvirt refuses it; the text says why.
    """

    def __init__(self, libvirt: Libvirt, name: str, xml: str) -> None:
        self.libvirt = libvirt
        self.name = name
        path = f"{libvirt.emulator}.{name}.xml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(xml)
        for command, what in (("define", path), ("start", name)):
            done = libvirt.virsh(command, what)
            if done.returncode:
                raise RuntimeError(done.stderr.strip())

    def virsh(self, command: str, *arguments: str) -> str:
        """Run a command of virsh that names the domain first; return what it prints.

        Raises:
            RuntimeError: it fails; the text is virsh's.
        """
        done = self.libvirt.virsh(command, self.name, *arguments)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def close(self) -> None:
        """End it, and let libvirt forget it."""
        self.libvirt.virsh("destroy", self.name)
        self.libvirt.virsh("undefine", self.name, "--managed-save")


@contextmanager
def lend_domain(libvirt: Libvirt, scenario: str, release: str | None) -> Generator[LibvirtDomain]:
    """Yield a domain that runs; it ends with the context.

    Args:
        libvirt: the daemon.
        scenario: the guest's scenario, as text.
        release: the agent's, if not the scenario's.

    Raises:
        RuntimeError: libvirt refuses it; the text says why.
    """
    name = f"guest{next(_NUMBERS)}"
    path = f"{libvirt.emulator}.{name}.yaml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(scenario)
    environment = {"QGASIM_SCENARIO": path}
    if release is not None:
        environment["QGASIM_AGENT"] = release
    domain = LibvirtDomain(libvirt, name, describe_domain(name, environment))
    try:
        yield domain
    finally:
        domain.close()


def describe_domain(name: str, environment: dict[str, str], more: str = "") -> str:
    """Return the XML of a domain with two processors, 512 MiB, a network device and the agent's channel.

    Args:
        name: the domain's.
        environment: of the emulator: ``QGASIM_SCENARIO`` and the like.
        more: more devices.
    """
    variables = "".join(
        f"<qemu:env name={quoteattr(key)} value={quoteattr(value)}/>"
        for key, value in environment.items()
    )
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>512</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='yes'/></pm>
  <devices>
    <interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    {more}
  </devices>
  <qemu:commandline>{variables}</qemu:commandline>
</domain>
"""
