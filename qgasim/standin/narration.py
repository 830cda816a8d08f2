"""What an agent does, told to a log as qemu-ga tells it (qga/main.c), and to its state directory."""

from collections.abc import Callable, Iterator

from qgasim.agent.observer import Observer
from qgasim.errors import CommandError
from qgasim.qapi.registry import Entry
from qgasim.simulation.simulation import Simulation
from qgasim.standin.config import Config
from qgasim.standin.log import Log
from qgasim.standin.state import StateDirectory
from qgasim.wire import Message

__all__ = ["Narration"]


class Narration(Observer):
    """Follows an agent.

    Commands log more in the real one (what they were given, what they found): that is left out.
    """

    def __init__(self, simulation: Simulation, log: Log, state: StateDirectory) -> None:
        agent = self._agent = simulation.agent
        self._log = log
        self._state = state
        #: What had to wait for the thaw.
        self.delayed: list[Callable[[], None]] = []
        self._is_frozen = agent.is_frozen
        #: Whether the request that is being executed was told already.
        self._has_told = False
        simulation.observe(self)

    def begin(self, config: Config) -> None:
        """Return which commands are disabled from the start."""
        for name in self._disabled_first(config):
            self._log("debug", f"disabling command: {name}")

    def _disabled_first(self, config: Config) -> Iterator[str]:
        entries = list(self._entries())
        if self._agent.dialect.takes_block_with_allow:
            yield from (name for name, _ in entries if name in self._agent.commands.refused)
            return
        if self._is_frozen:
            yield from (name for name, entry in entries if not entry.command.while_frozen)
        if config.allowed:
            yield from (name for name, _ in entries if name not in config.allowed)
        yield from config.blocked
        yield from (name for name, entry in entries if not entry.is_supported)

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        """Return the commands in the order in which they were registered."""
        return iter(self._agent.commands.table.items())

    def handle_given(self, next_handle: int) -> None:
        """Keep the number of the next handle."""
        self._state.write(next_handle)

    def failed(self, text: str) -> None:
        """Log that the simulator has failed."""
        self._log("critical", text)

    def exchanged(self, request: Message, reply: bytes) -> None:
        """Log a request and its reply, if the log is verbose."""
        if not self._log.is_verbose:
            return
        if not self._has_told:
            self._tell_request(is_parsed=not isinstance(request, CommandError))
        self._has_told = False
        if reply:
            self._log("debug", f"sending data, count: {len(reply)}")

    def _tell_request(self, *, is_parsed: bool) -> None:
        self._log("debug", "process_event: called")
        if is_parsed:
            self._log("debug", "processing command")

    def changed(self) -> None:
        """Log a freeze and a thaw, and mark them in the state directory."""
        if self._agent.is_frozen == self._is_frozen:
            return
        self._is_frozen = self._agent.is_frozen
        self._has_told = self._log.is_verbose
        if self._is_frozen:
            self._tell_request(is_parsed=True)
            self._froze()
        else:
            self._thawed()

    def _froze(self) -> None:
        for name, entry in self._entries():
            if not entry.command.while_frozen:
                self._log("debug", f"disabling command: {name}")
        self._log("warning", "disabling logging due to filesystem freeze")
        self._log.is_suspended = True
        mounts = self._agent.guest.files.mounts
        self._state.mark_frozen(mount.path for mount in mounts if mount.volume.is_frozen)

    def _thawed(self) -> None:
        self._log.is_suspended = False
        delayed, self.delayed = self.delayed, []
        for do in delayed:
            do()
        self._log("warning", "logging re-enabled due to filesystem unfreeze")
        for name, entry in self._entries():
            if not entry.command.while_frozen and name not in self._agent.commands.blocked:
                self._log("debug", f"enabling command: {name}")
        self._state.mark_thawed()
