"""The simulated qemu-ga process, without any I/O.

Nothing here may wait, read a clock of the host or know about sockets: bytes come in, effects go
out. What the guest looks like is `qgasim.guest`'s business, what a command means `qgasim.commands`'.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, Protocol, TypeVar

from qgasim.agent.dispatch import find_answer, resolve
from qgasim.agent.lifecycle import Lifecycle
from qgasim.agent.observer import Observer
from qgasim.agent.options import AgentOptions
from qgasim.agent.personality import alter
from qgasim.agent.refusals import Refusals, refuse_blocked, refuse_frozen, serve_thawed
from qgasim.agent.state import AgentState
from qgasim.agent.stubs import ArmedStub, Stub, write_stubbed
from qgasim.dialect import Dialect
from qgasim.effects import Effect, Wait
from qgasim.errors import CommandError
from qgasim.faults import Fault, FaultInjector
from qgasim.faults.base import join_bytes
from qgasim.guest import Guest
from qgasim.guest.files.open_files import OpenFile, Sink, Source
from qgasim.guest.processes.process import Exit
from qgasim.guest.units import SECOND
from qgasim.matching import Match
from qgasim.qapi.envelope import show_id, write_error, write_return
from qgasim.qapi.registry import Command, Table, compile_table, make_added
from qgasim.states import State, name_state
from qgasim.wire import LineReader, LocatingReader, Message, MessageReader

__all__ = ["FIRST_HANDLE", "Agent", "Past"]

T = TypeVar("T")
#: The number of the first file handle (qga/main.c, QGA_PSTATE_DEFAULT_FD_COUNTER).
FIRST_HANDLE: Final = 1000
#: How long a helper program may run that the agent waits for (ns).
HELPER_LIMIT: Final = 3600 * SECOND


class Past(Protocol):
    """The earlier states of a guest and its agent, as far as they are kept."""

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime*, for `as_of`."""

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that state is not kept."""


class _NoPast:
    """An agent by itself keeps no earlier states."""

    def keep(self, uptime: int) -> None:
        """Keep nothing."""

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:  # noqa: ARG002
        return None


class Agent(Lifecycle):
    """A qemu-ga process: bytes in, effects out.

    It lives as long as the guest, not as long as a connection: file handles, the frozen state and
    half-read requests survive a reconnect, as they do in the real agent. When the process in the
    guest is killed, its `state` is lost, and it starts again as *options* say.

    The tables of releases are shared by all agents and never change; what is refused, stubbed or
    altered is the agent's own.
    """

    def __init__(
        self,
        guest: Guest,
        dialect: Dialect,
        commands: Iterable[Command],
        options: AgentOptions | None = None,
        past: Past | None = None,
    ) -> None:
        self.options = options or AgentOptions()
        super().__init__(guest, self.options.respawn)
        self.dialect = dialect
        self._commands = tuple(commands)
        #: Called in this order as things happen.
        self.observers: list[Observer] = []
        self._past: Past = past or _NoPast()
        self._install()
        #: The next handle's number: kept in a state file, so that it survives the process.
        self.next_handle = FIRST_HANDLE
        #: A marker file: an agent killed while frozen starts frozen.
        self.is_frozen = False
        #: The uptime of the latest freeze.
        self.frozen_since = 0
        #: The helper programs that were run, latest last.
        self.helpers: deque[list[str]] = deque(maxlen=100)
        self.state = AgentState(self._make_reader())
        self.injector = FaultInjector(self.options.faults, self, self.options.seed)
        guest.on_boot = self._boot
        guest.power.on_change = self.changed
        self.start()

    def _make_reader(self) -> MessageReader:
        if self.options.needs_newline:
            return LineReader()
        return LocatingReader() if self.dialect.locates_parse_errors else MessageReader()

    def _install(self) -> None:
        """Have the commands of the release, and the stubs in their places."""
        self.guest.agent_version = self.dialect.full_version
        settings = self.guest.settings.os
        table = compile_table(
            self._commands, self.dialect, settings.family, has_vss=settings.has_vss
        )
        table = alter(table, self.options.personality)
        for stub in self.options.stubs:
            if stub.adds:
                name = stub.on.command if isinstance(stub.on, Match) else stub.on
                table = {**table, name: make_added(name, self.dialect)}
        self.table: Table = table
        #: What answers in place of the guest, first match first, by command.
        self.stubs: dict[str, tuple[ArmedStub, ...]] = {}
        for stub in reversed(self.options.stubs):
            self._arm(ArmedStub(stub))
        #: What is refused at present, and what for good.
        self.refused: Refusals = {}
        self.blocked: Refusals = {}

    def _arm(self, stub: ArmedStub) -> bool:
        """Let *stub* answer before all others; return whether the release has such a command."""
        names = [name for name in self.table if stub.matches_command(name)]
        for name in names:
            self.stubs[name] = (stub, *self.stubs.get(name, ()))
        return bool(names)

    def add_stub(self, stub: Stub) -> None:
        """Let *stub* answer before all others.

        Raises:
            KeyError: the release has no such command.
        """
        if not self._arm(ArmedStub(stub)):
            raise KeyError(stub.on.command if isinstance(stub.on, Match) else stub.on)

    # -- the process -----------------------------------------------------------------------------

    @property
    def has_half_request(self) -> bool:
        """Whether it has read the beginning of a request, and waits for the rest."""
        return not self.state.reader.is_between_messages

    def on_start(self) -> None:
        """Refuse what the command line says, and what may not be done in a frozen guest."""
        self.blocked = self.refused = refuse_blocked(
            self.table,
            self.dialect,
            blocked=self.options.block_rpcs,
            allowed=self.options.allow_rpcs or None,
        )
        if self.is_frozen:
            self.refused = refuse_frozen(self.blocked, self.table, self.dialect, at_start=True)

    def on_stop(self) -> None:
        """Write what is buffered in open files."""
        for handle in self.state.handles.values():
            try:
                handle.stream.close()
            except OSError:
                continue
        self.state.handles.clear()

    def on_end(self) -> None:
        """Lose the memory of the process; what is buffered in open files is lost with it."""
        self.injector.forget()
        for handle in self.state.handles.values():
            handle.stream.file.close()
        for execution in self.state.executions.values():
            execution.abandon()
        self.state = AgentState(self._make_reader())

    def changed(self) -> None:
        """Tell observers that the guest or its agent may be in another state."""
        for observer in self.observers:
            observer.changed()

    def _boot(self) -> None:
        """Start in a guest that has booted: nothing is frozen there.

        /run, in which the marker lies, is empty then. (Where it were not, the real agent would take
        itself to be frozen: qga/main.c, check_is_frozen(), calls the marker stale after a reboot.)
        """
        self.is_frozen = False
        self.injector.note_boot()
        self.start()

    def upgrade(self, dialect: Dialect) -> None:
        """Be another release from now on; a process that runs ends, and the new one is started."""

        def install() -> None:
            self.dialect = dialect
            self._install()

        self.restart_with(install)

    def terminate(self) -> None:
        """Take SIGTERM: end, but not while frozen (qga/main.c, quit_handler())."""
        if not self.is_frozen:
            self.stop()

    def save(self) -> Callable[[], None]:
        """Return a function that puts back what is installed, and which process there is, as it is now.

        The contents of `state` are the caller's to keep.
        """
        attributes = vars(self).copy()

        def put_back() -> None:
            vars(self).update(attributes)

        return put_back

    # -- what faults see (`qgasim.faults.Faultable`) ---------------------------------------------

    @property
    def guest_state(self) -> State:
        """The state of the guest, by name."""
        power = self.guest.power
        return name_state(
            power.state,
            is_paused=power.is_paused,
            has_agent=self.process is not None,
            is_frozen=self.is_frozen,
        )

    @property
    def frozen_for(self) -> int | None:
        """How long file systems have been frozen (ns); None: they are not."""
        return self.uptime() - self.frozen_since if self.is_frozen else None

    @property
    def booted_at(self) -> int:
        """The uptime of the guest's latest boot, in ns."""
        return self.guest.booted_at

    def uptime(self) -> int:
        """Return the guest's uptime in ns, counted from the beginning of the scenario."""
        return self.guest.clock.uptime()

    def look_at(self, uptime: int) -> None:
        """Have the driver look at the channel when the guest's uptime is *uptime*."""
        self.guest.call_at(uptime, lambda: None, by_guest=False)

    def keep(self, uptime: int) -> None:
        """Keep the state that there is at *uptime*, for `as_of`."""
        self._past.keep(uptime)

    def as_of(self, uptime: int, function: Callable[[], T]) -> T | None:
        """Call *function* as if it were *uptime*; None if that state is not kept."""
        return self._past.as_of(uptime, function)

    def tell_fired(self, faults: tuple[Fault, ...]) -> None:
        """Tell observers that *faults* fire, if there are any."""
        if faults:
            for observer in self.observers:
                observer.fault_fired(faults)

    # -- freezing --------------------------------------------------------------------------------

    def refuse_frozen(self) -> None:
        """Refuse from now on what may not be done while file systems are frozen."""
        self.refused = refuse_frozen(self.refused, self.table, self.dialect)

    def freeze(self) -> None:
        """Be frozen from now on."""
        self.is_frozen = True
        self.frozen_since = started = self.guest.clock.uptime()
        self.refuse_frozen()
        self.changed()
        limit = self.options.personality.thaw_after

        def thaw() -> None:
            if self.is_frozen and self.frozen_since == started:
                self.guest.thaw()
                self.thaw()

        if limit is not None:
            self.guest.call_at(started + limit, thaw)

    def thaw(self) -> None:
        """Serve everything again that is not blocked."""
        self.is_frozen = False
        self.refused = serve_thawed(self.refused, self.blocked, self.dialect)
        self.changed()

    # -- requests --------------------------------------------------------------------------------

    def receive(self, data: bytes, parts: Iterable[bytes] | None = None) -> Iterator[Effect]:
        """Take bytes from the client; yield what they cause, one request at a time.

        *parts* are *data* in the pieces in which it came, each taken when it is read.

        A request is executed when the effects of those before it have been taken, so a client that
        does not read is not served ahead of its reading. The effects must be taken to the end.
        """
        state = self.state
        reader = state.reader
        observers = self.observers
        injector = self.injector
        messages = (
            reader.feed(data) if parts is None else chain.from_iterable(map(reader.feed, parts))
        )
        for message in messages:
            if self.guest.is_busy:
                self.guest.settle()
                if reader is not self.state.reader:
                    return
                if not self.is_up:
                    self.state.deferred.append(message)
                    continue
            if injector.concerns(message):
                effects = injector.disturb(message, self._effects)
                if observers:
                    self._tell(message, join_bytes(effects))
                for effect in effects:
                    yield effect
                    if reader is not self.state.reader:
                        return
                continue
            reply = self._answer(message)
            if observers:
                self._tell(message, reply)
            if state.busy_until:
                until, state.busy_until = state.busy_until, 0
                yield Wait(until)
                if reader is not self.state.reader:
                    return
            if reply:
                yield reply
        if not injector.is_idle:
            yield from injector.finish()

    def _effects(self, message: Message) -> list[Effect]:
        """Execute a request; return the effects all at once."""
        reply = self._answer(message)
        until, self.state.busy_until = self.state.busy_until, 0
        waits: list[Effect] = [Wait(until)] if until else []
        return [*waits, reply] if reply else waits

    def resume(self) -> Iterator[Effect]:
        """Execute what was read before the machine fell asleep."""
        deferred, self.state.deferred = self.state.deferred, []
        for message in deferred:
            reply = self._answer(message)
            self._tell(message, reply)
            yield reply

    def _tell(self, message: Message, reply: bytes) -> None:
        for observer in self.observers:
            observer.exchanged(message, reply)

    def _answer(self, message: Message) -> bytes:
        shown_id = ""
        try:
            if type(message) is dict:
                dialect = self.dialect
                if "id" in message:
                    shown_id = show_id(message, dialect)
                entry, arguments = resolve(
                    message, self.table, self.refused, has_id=dialect.echoes_id
                )
                name = entry.command.name
                if (stubs := self.stubs.get(name)) and (
                    stubbed := find_answer(stubs, entry, arguments)
                ) is not None:
                    return write_stubbed(stubbed, entry, shown_id)
                result = entry.call(self, arguments)
                for observer in self.observers:
                    observer.executed(name, arguments, result)
                if entry.command.replies:
                    return write_return(entry.write(result), entry, shown_id)
                return b""
            if isinstance(message, CommandError):
                return write_error(message, "")
            raise CommandError("QMP input must be a JSON object")  # noqa: TRY301
        except CommandError as error:
            return write_error(error, shown_id)

    def number_handle(self) -> int:
        """Return the number for a new handle.

        Raises:
            OSError: an observer keeps the numbers on a disk, and could not.
        """
        number = self.next_handle
        self.next_handle += 1
        for observer in self.observers:
            observer.handle_given(self.next_handle)
        return number

    # -- helpers ---------------------------------------------------------------------------------

    def run(self, path: str, argv: Iterable[str], stdin: bytes = b"") -> tuple[Exit, bytes]:
        """Run a program of the guest and wait for it; return its end, and what it wrote.

        The reply waits as long as the program runs. A program that cannot be started ends with
        status 1, as after a failed exec in the child.
        """
        guest = self.guest
        argv = list(argv)
        output = Sink()
        null = guest.files.open("/dev/null", os.O_RDWR)
        files: dict[int, OpenFile] = {0: Source(stdin) if stdin else null, 1: output, 2: output}
        assert self.process is not None
        try:
            process = guest.processes.spawn(
                argv, env=self.process.env, files=files, parent=self.process.pid, program=path
            )
        except OSError as error:
            return Exit(1), f"failed to exec '{path}': {error.strerror}\n".encode()
        finally:
            null.close()
        self.helpers.append(argv)
        process.on_exit = lambda _: None
        now = guest.clock.uptime()
        ended = guest.processes.run(process, now + HELPER_LIMIT)
        guest.processes.reap(process)
        if ended > now:
            self.state.busy_until = max(self.state.busy_until, ended)
        return process.exit or Exit(signal=9), bytes(output.data)
