"""``qgasim-ga``: stands in for qemu-ga where a program is to be spawned.

It takes qemu-ga's command line and serves a simulated guest: that of ``QGASIM_SCENARIO`` with the
release of ``QGASIM_AGENT``. Texts and exit statuses are those of qemu-ga 7.2.22.
"""

import os
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from qgasim.dialect import Dialect, find_dialect
from qgasim.errors import ListenError, QgaSimError
from qgasim.standin import keyfile
from qgasim.standin.config import Config, Done, Refused, read_config, set_default_path
from qgasim.standin.getopt import WrongOption

if TYPE_CHECKING:
    from qgasim.agent import Agent
    from qgasim.channel import Channel
    from qgasim.listen import Address

__all__ = ["main"]

_FIRST_HANDLE: Final = 1000
_OS_RELEASE_LIMIT: Final = 1 << 16


def main() -> int:
    """Be qemu-ga; give the exit status."""
    release = os.environ.get("QGASIM_AGENT")
    scenario = os.environ.get("QGASIM_SCENARIO")
    log = _Log()
    try:
        dialect = find_dialect(release or "7.2") if release or not scenario else None
        if dialect is None:
            # The scenario knows its release, or knows how to refuse this one.
            dialect = _build(Config(texts={"method": "unix-listen"})).agent.dialect
        return _run(dialect, log)
    except Done as done:
        sys.stdout.write(str(done))
        return 0
    except WrongOption as error:
        program = sys.argv[0]
        sys.stderr.write(f"{program}: {error}\n")
        sys.stdout.write(f"Unknown option, try '{program} --help' for more information.\n")
        return 1
    except (Refused, QgaSimError) as error:
        log.write("critical", str(error))
        return 1


def _run(dialect: Dialect, log: "_Log") -> int:
    from qgasim.commands import ALL_COMMANDS  # noqa: PLC0415

    names = [command.name for command in ALL_COMMANDS if command.is_in(dialect, "linux")]
    conf = os.environ.get("QGA_CONF")
    config = read_config(sys.argv[0], sys.argv[1:], conf, dialect, names)
    set_default_path(config)
    if config.dumps:
        sys.stdout.write(config.dump(dialect))
        return 0
    if config.flags["daemon"]:
        raise Refused("qgasim-ga does not become a daemon")
    log.begin(config)
    directory = config.texts["statedir"]
    try:
        handle = _read_state(directory)
    except (OSError, keyfile.KeyFileError) as error:
        log.write("critical", str(error))
        log.write("critical", "failed to load persistent state")
        log.write("critical", "error initializing guest agent")
        # So does the real one (qga/main.c, main(): ret is still EXIT_SUCCESS).
        return 0
    try:
        address = _address(config)
        channel = _build(config)
        _attach(channel.agent, directory, handle, log)
        _serve(channel, address)
    except (ListenError, Refused) as error:
        log.write("critical", str(error))
        log.write("critical", "failed to initialize guest agent channel")
        return 1
    return 0


def _address(config: Config) -> "Address":
    from qgasim.listen import UnixAddress, parse_address  # noqa: PLC0415

    method, path = config.texts["method"], config.texts["path"]
    if method == "unix-listen":
        return UnixAddress(path)
    if method == "vsock-listen":
        try:
            return parse_address(f"vsock:{path}")
        except ValueError as error:
            raise Refused(str(error)) from None
    if method in ("virtio-serial", "isa-serial"):
        raise Refused("qgasim-ga has no devices: use unix-listen or vsock-listen")
    raise Refused(f"unsupported channel method/type: {method}")


def _build(config: Config) -> "Channel":
    from qgasim.scenario import load  # noqa: PLC0415

    scenario = load(os.environ.get("QGASIM_SCENARIO") or "debian-12")
    settings = scenario.agent
    if release := os.environ.get("QGASIM_AGENT"):
        settings.release = release
    method = config.texts["method"]
    settings.channel = "vsock-listen" if method == "vsock-listen" else "unix-listen"
    settings.respawn = "never"
    settings.block_rpcs = [*settings.block_rpcs, *config.blocked]
    settings.allow_rpcs = [*settings.allow_rpcs, *config.allowed]
    settings.fsfreeze_hook = config.texts.get("fsfreeze-hook", settings.fsfreeze_hook)
    return scenario.build()


def _attach(agent: "Agent", directory: str, handle: int, log: "_Log") -> None:
    """Let the agent go on where the last one with this state directory ended."""
    agent.next_handle = handle
    agent.on_handle = lambda: _write_state(directory, agent.next_handle)
    if log.is_verbose:
        agent.on_exchange = lambda _, reply: log.write("debug", f"reply: {reply!r}")
    if path := os.environ.get("QGA_OS_RELEASE"):
        try:
            with open(path, "rb") as file:
                content = file.read(_OS_RELEASE_LIMIT)
        except OSError as error:
            raise QgaSimError(f"{path}: {error.strerror}") from None
        agent.guest.files.remove_if_there("/etc/os-release")
        agent.guest.files.write("/etc/os-release", content)


def _serve(channel: "Channel", address: "Address") -> None:
    from qgasim.server import run  # noqa: PLC0415

    run(channel, address, lambda _: None, is_process=True)


# -- the state directory ---------------------------------------------------------------------------


def _read_state(directory: str) -> int:
    """Give the next handle; begin a state file if there is none."""
    try:
        with open(f"{directory}/qga.state", encoding="utf-8") as file:
            text = file.read(_OS_RELEASE_LIMIT)
    except FileNotFoundError:
        _write_state(directory, _FIRST_HANDLE)
        return _FIRST_HANDLE
    value = keyfile.parse(text).get("global", {}).get("fd_counter")
    if value is None:
        return _FIRST_HANDLE
    # g_key_file_get_integer() gives 0 for what is no number.
    return int(value) if value.isascii() and value.isdigit() else 0


def _write_state(directory: str, handle: int) -> None:
    """Replace the state file, so that it is never half a file."""
    path = f"{directory}/qga.state"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(keyfile.dump("global", {"fd_counter": handle}))
    os.replace(f"{path}.new", path)


# -- the log ---------------------------------------------------------------------------------------


class _Log:
    """What qemu-ga says: as glib does before it knows its log, with a time stamp from then on."""

    def __init__(self) -> None:
        self.is_verbose = False
        self._file: TextIO | None = None

    def begin(self, config: Config) -> None:
        """Write where *config* says."""
        self.is_verbose = config.flags["verbose"]
        self._file = sys.stderr
        if path := config.texts.get("logfile"):
            try:
                self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise Refused(f"unable to open specified log file: {error.strerror}") from None

    def write(self, level: str, text: str) -> None:
        """Write a line."""
        now = time.time()
        if self._file is None:
            clock = time.strftime("%H:%M:%S", time.localtime(now))
            stamp = f"{clock}.{int(now * 1000) % 1000:03d}"
            line = f"\n** (process:{os.getpid()}): {level.upper()} **: {stamp}: {text}"
            print(line, file=sys.stderr)
        else:
            print(f"{now:.6f}: {level}: {text}", file=self._file, flush=True)
