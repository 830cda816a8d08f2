"""``qgasim-qemu``: the emulator of a libvirt domain, without a virtual machine.

It takes QEMU's command line and is the machine that this describes, with its monitor and the agent's
socket. The guest is that of ``QGASIM_SCENARIO`` with the release of ``QGASIM_AGENT``, the hardware that of
the command line, and QEMU's release that of ``QGASIM_QEMU``. Nothing of the host is touched but the
sockets, terminals and the pid file that the command line names.
"""

import gc
import os
import sys
from typing import Final

from qgasim.emulator.command_line import CommandLine, CommandLineError, parse
from qgasim.errors import QgaSimError
from qgasim.qmp.release import RELEASES, Release

__all__ = ["main"]

DEFAULT_RELEASE: Final = "7.2"
_HELP: Final = (__doc__ or "").replace("``", "")


def main() -> int:
    """Run as QEMU does; return the exit status."""
    program = os.path.basename(sys.argv[0])
    # Until the machine runs: see `settle_memory`.
    gc.disable()
    try:
        return _run(parse(sys.argv[1:]), program)
    except (QgaSimError, OSError) as error:
        text = " ".join(str(error).splitlines())
        sys.stderr.write(f"{program}: {text}\n")
        return 1


def _run(line: CommandLine, program: str) -> int:
    release = _release()
    if line.has("version"):
        sys.stdout.write(_version(release))
        return 0
    if line.has("h") or line.has("help"):
        sys.stdout.write(f"{_version(release)}usage: {program} [options] [disk_image]\n\n{_HELP}")
        return 0
    return _be_machine(line, release)


def _be_machine(line: CommandLine, release: Release) -> int:
    # Only now: `-version` is asked for often.
    from qgasim.emulator.daemon import detach
    from qgasim.emulator.process import Emulator, block_signals
    from qgasim.standin.daemon import PidFile

    parent = detach() if line.has("daemonize") else None
    block_signals()
    path = line.value("pidfile")
    try:
        pid_file = None if path is None else PidFile(path)
    except OSError as error:
        raise CommandLineError(f"cannot create PID file: {error}") from None
    try:
        emulator = Emulator(line, release.name)
        emulator.listen()
        if parent is not None:
            parent.release()
        return emulator.run()
    finally:
        if pid_file is not None:
            pid_file.remove()


def _release() -> Release:
    name = os.environ.get("QGASIM_QEMU") or DEFAULT_RELEASE
    for release in RELEASES:
        if release.name == name:
            return release
    known = ", ".join(release.name for release in RELEASES)
    raise CommandLineError(f"QGASIM_QEMU: no such release: {name!r} (expected one of: {known})")


def _version(release: Release) -> str:
    """Return what ``-version`` prints (softmmu/vl.c, version())."""
    numbers = ".".join(map(str, release.version))
    return (
        f"QEMU emulator version {numbers}\n"
        "Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\n"
    )
