"""The start of the process, from its configuration to its end: main() of qga/main.c."""

import os
from typing import Final

from qgasim.dialect import Dialect
from qgasim.errors import ListenError
from qgasim.serving.listen import AgentSocket, InheritedSocket, SocketAddress, VsockAddress
from qgasim.simulation.simulation import Simulation
from qgasim.standin.activation import FIRST_FD
from qgasim.standin.channel_log import log_no_channel
from qgasim.standin.config import PORT_METHODS, Config
from qgasim.standin.daemon import PidFile, become_daemon
from qgasim.standin.guest import build, find_share, freeze
from qgasim.standin.log import Log
from qgasim.standin.narration import Narration
from qgasim.standin.ports import Port
from qgasim.standin.process import AgentProcess
from qgasim.standin.state import NoState, StateDirectory

__all__ = ["start"]

_VSOCK_LIMIT: Final = 1 << 32


class _NotInitialized(Exception):
    """The agent cannot be initialized. Why is in the log."""


def start(config: Config, dialect: Dialect, log: Log) -> int:
    """Serve a guest as *config* says; return the exit status.

    Raises:
        QgaSimError: there is no such guest.
    """
    if config.flags["daemon"]:
        # qemu-ga takes these to be relative to /, where a daemon goes.
        for key in ("path", "logfile", "pidfile", "statedir"):
            if config.texts.get(key):
                config.texts[key] = os.path.abspath(config.texts[key])
    simulation = build(config)
    beginning = _Start(config, dialect, log)
    try:
        beginning.initialize(simulation)
        address = beginning.find_address()
        with AgentProcess(simulation, address, log, retries=config.flags["retry-path"]) as process:
            process.open()
            if dialect.opens_channel_first:
                beginning.become_daemon()
            return process.run()
    except (_NotInitialized, ListenError) as error:
        if dialect.opens_channel_first or isinstance(error, _NotInitialized):
            log("critical", "error initializing guest agent")
        # Before 10.0 it ends well if it was not even initialized.
        return 1 if dialect.opens_channel_first or isinstance(error, ListenError) else 0
    except _NoDaemon as error:
        log("critical", str(error))
        return 1
    finally:
        if beginning.pid_file is not None:
            beginning.pid_file.remove()


class _NoDaemon(Exception):
    """This is the child, and cannot be a daemon."""


class _Start:
    """The steps before there are clients."""

    def __init__(self, config: Config, dialect: Dialect, log: Log) -> None:
        self._config = config
        self._dialect = dialect
        self._log = log
        self._is_frozen = False
        self.pid_file: PidFile | None = None

    def initialize(self, simulation: Simulation) -> None:
        """Begin the log and read the state directory: initialize_agent()."""
        config, log = self._config, self._log
        state = StateDirectory(config.texts["statedir"], log)
        frozen_paths = state.find_frozen()
        self._is_frozen = frozen_paths is not None
        log.begin(is_verbose=config.flags["verbose"])
        # UNVERIFIED: in which release that came; 7.2 has it.
        log("debug", f"Guest agent version {self._dialect.full_version} started")
        if share := find_share():
            # Logged whether the log is verbose or not.
            log("qgasim", f"sharing {share.host} as {share.guest}")
        log.is_suspended = self._is_frozen
        if not self._dialect.opens_channel_first:
            self.become_daemon()
        if not self._is_frozen:
            self._open_log(falls_back=False)
        try:
            simulation.agent.next_handle = state.read(is_frozen=self._is_frozen)
        except NoState:
            log("critical", "failed to load persistent state")
            raise _NotInitialized from None
        if frozen_paths is not None:
            freeze(simulation.agent, frozen_paths)
        narration = Narration(simulation, log, state)
        narration.begin(config)
        if self._is_frozen:
            narration.delayed += [lambda: self._open_log(falls_back=True), self._write_pid_file]

    def _open_log(self, *, falls_back: bool) -> None:
        path = self._config.texts.get("logfile")
        if path is None:
            return
        try:
            self._log.open(path)
        except OSError as error:
            if not falls_back:
                self._log("critical", f"unable to open specified log file: {error.strerror}")
                raise _NotInitialized from None

    def _write_pid_file(self) -> None:
        """Write what had to wait for the thaw."""
        if self._config.flags["daemon"]:
            try:
                self.pid_file = PidFile(self._config.texts["pidfile"])
            except OSError as error:
                self._log("warning", str(error))

    def become_daemon(self) -> None:
        """Go on as a daemon, if the configuration says so."""
        if self._config.flags["daemon"]:
            path = None if self._is_frozen else self._config.texts["pidfile"]
            try:
                self.pid_file = become_daemon(path)
            except OSError as error:
                raise _NoDaemon(str(error)) from None

    def find_address(self) -> SocketAddress | Port:
        """Return what is to be served, or where; raise ListenError if it cannot be."""
        method, path = self._config.texts["method"], self._config.texts.get("path")
        if path is None:
            return InheritedSocket(FIRST_FD)
        if method == "unix-listen":
            return AgentSocket(path)
        if method in PORT_METHODS:
            return Port(path, is_virtio=method == "virtio-serial")
        if method == "vsock-listen":
            try:
                return _parse_vsock(path)
            except ListenError as error:
                log_no_channel(self._log, str(error), "failed to create guest agent channel")
                raise
        log_no_channel(self._log, f"unsupported channel method/type: {method}")
        raise ListenError


def _parse_vsock(path: str) -> VsockAddress:
    cid, _, port = path.partition(":")
    if not cid or not port:
        raise ListenError(f"error parsing address '{path}'")
    for name, text in (("cid", cid), ("port", port)):
        if not (text.isascii() and text.isdigit() and int(text) < _VSOCK_LIMIT):
            raise ListenError(f"Failed to parse {name} '{text}'")
    return VsockAddress(int(cid), int(port))
