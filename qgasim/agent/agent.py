"""The simulated qemu-ga process, without any I/O.

Nothing here may wait, read a clock of the host or know about sockets: bytes come in, effects go
out. What the guest looks like is `qgasim.guest`'s business, what a command means `qgasim.commands`'.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from qgasim.agent.handles import Execution, FileHandle
from qgasim.agent.personality import Personality, alter
from qgasim.agent.refusals import refuse_blocked, refuse_frozen, serve_thawed
from qgasim.agent.stubs import LiveStub, Reply, Stub, write_stubbed
from qgasim.dialect import Dialect
from qgasim.effects import Effect, Wait
from qgasim.errors import CommandError, CommandNotFound
from qgasim.faults import Fault, FaultInjector
from qgasim.faults.base import join_bytes
from qgasim.guest import Guest
from qgasim.guest.files.open_files import OpenFile, Sink, Source
from qgasim.guest.processes.process import Exit, Process, wait_for_ever
from qgasim.guest.units import SECOND
from qgasim.matching import Match
from qgasim.qapi.envelope import (
    check_envelope,
    read_request,
    show_id,
    write_error,
    write_return,
)
from qgasim.qapi.registry import Command, Entry, Table, compile_table, make_added
from qgasim.simulation.snapshot import Snapshots
from qgasim.wire import (
    JsonValue,
    LineReader,
    LocatingReader,
    Message,
    MessageReader,
)

if TYPE_CHECKING:
    from qgasim.simulation.journal import Journal

__all__ = ["FIRST_HANDLE", "Agent", "AgentOptions"]

#: The number of the first file handle (qga/main.c, QGA_PSTATE_DEFAULT_FD_COUNTER).
FIRST_HANDLE: Final = 1000
#: How long a helper program may run, which is waited for (ns).
HELPER_LIMIT: Final = 3600 * SECOND
#: Stands in for a delay: the agent is not started again.
NEVER: Final = -1


class AgentOptions(Struct, kw_only=True, frozen=True):
    """How the agent was started."""

    #: Commands that are refused; unknown names are ignored, as qemu-ga does.
    block_rpcs: tuple[str, ...] = ()
    #: If not empty, all other commands are refused.
    allow_rpcs: tuple[str, ...] = ()
    #: The script of ``--fsfreeze-hook``; None: none.
    fsfreeze_hook: str | None = None
    #: How long after its end the service manager starts it again (ns); None: never.
    respawn: int | None = 0
    #: Whether a request is read only when its line ends.
    needs_newline: bool = False
    #: What answers in place of the guest, first match first.
    stubs: tuple[Stub, ...] = ()
    #: What goes wrong, in this order.
    faults: tuple[Fault, ...] = ()
    #: What is left to chance in faults follows from it.
    seed: int = 0
    #: What it does differently from qemu-ga.
    personality: Personality = Personality()


class Agent:
    """A qemu-ga process: bytes in, effects out.

    It lives as long as the guest, not as long as a connection: file handles, the frozen state and
    half-read requests survive a reconnect, as they do in the real agent. When the process in the
    guest is killed, all that is lost, and it starts again as *options* say.
    """

    #: `reader` is kept apart: who reads from the old one must see that it is another.
    NOT_THE_GUESTS: ClassVar[frozenset[str]] = frozenset({
        "options", "_commands", "injector", "snapshots", "reader", "helpers", "journal",
        "on_exchange", "on_command", "on_change",
    })  # fmt: skip

    def __init__(
        self,
        guest: Guest,
        dialect: Dialect,
        commands: list[Command],
        options: AgentOptions | None = None,
    ) -> None:
        self.guest = guest
        self.dialect = dialect
        self.options = options or AgentOptions()
        self._commands = commands
        self._compile()
        #: What it was like earlier.
        self.snapshots = Snapshots(self)
        self.injector = FaultInjector(self.options.faults, self, self.options.seed)
        self.process: Process | None = None
        #: The uptime at which it is started again, if it is.
        self.respawn_at: int | None = None
        #: After how many ns it is to be started when it next ends; None: as the options say.
        self._respawn_after: int | None = None
        #: The next handle's number: kept in a state file, so that it survives the process.
        self.next_handle = FIRST_HANDLE
        #: A marker file: an agent killed while frozen starts frozen.
        self.is_frozen = False
        #: The uptime of the latest freeze.
        self.frozen_since = 0
        #: The helper programs that were run, latest last.
        self.helpers: deque[list[str]] = deque(maxlen=100)
        #: What keeps account of all that is said and done, if anything does.
        self.journal: Journal | None = None
        #: Called with each request and its reply (b"" for none).
        self.on_exchange: Callable[[Message, bytes], None] | None = None
        #: Called with the command and the arguments of each request that was read.
        self.on_command: Callable[[str, dict[str, JsonValue]], None] | None = None
        #: Called when the process ends and when it starts, when it freezes and when it thaws.
        self.on_change: Callable[[], None] = lambda: None
        #: Called when a handle was given.
        self.on_handle: Callable[[], None] = lambda: None
        guest.agent_version = dialect.full_version
        guest.on_boot = self._boot
        self._reset()
        self.start()

    def _reset(self) -> None:
        """Have the memory of a new process."""
        self.handles: dict[int, FileHandle] = {}
        #: What guest-exec started and guest-exec-status has not yet reported, by pid.
        self.executions: dict[int, Execution] = {}
        #: What a command has found out and keeps for good, by name (C's static variables).
        self.known: dict[str, bool] = {}
        #: The guest's name when it was first asked for, in releases that keep it.
        self.host_name: str | None = None
        #: The uptime at which it began to form averages of the load (Windows).
        self.load_since: int | None = None
        #: What is read, and half read.
        self.reader = self._make_reader()
        self._busy_until = 0
        self._held: list[Message] = []

    def _make_reader(self) -> MessageReader:
        if self.options.needs_newline:
            return LineReader()
        return LocatingReader() if self.dialect.locates_parse_errors else MessageReader()

    def _compile(self) -> None:
        """Make the table of the release, with the stubs in their places."""
        family = self.guest.settings.os.family
        has_vss = self.guest.settings.os.has_vss
        self.table: Table = compile_table(self._commands, self.dialect, family, has_vss=has_vss)
        alter(self.table, self.options.personality, self.dialect)
        stubs = [LiveStub(stub) for stub in self.options.stubs]
        for stub in self.options.stubs:
            if stub.adds:
                name = stub.on.command if isinstance(stub.on, Match) else stub.on
                self.table[name] = make_added(name, self.dialect)
        for name, entry in self.table.items():
            entry.stubs = tuple(stub for stub in stubs if stub.matches_command(name))

    def add_stub(self, stub: Stub) -> None:
        """Let *stub* answer before all others; KeyError if the release has no such command."""
        live = LiveStub(stub)
        found = [e for name, e in self.table.items() if live.matches_command(name)]
        if not found:
            raise KeyError(stub.on.command if isinstance(stub.on, Match) else stub.on)
        for entry in found:
            entry.stubs = (live, *entry.stubs)

    # -- the process -----------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether there is a process, and a machine that runs it."""
        process = self.process
        return process is not None and not process.is_stopped and self.guest.power.is_running

    @property
    def has_half_request(self) -> bool:
        """Whether it has read the beginning of a request, and waits for the rest."""
        return not self.reader.is_between_messages

    def start(self) -> None:
        """Start the process in the guest."""
        self.respawn_at = None
        self.process = self.guest.processes.start(
            wait_for_ever,
            argv=["/usr/sbin/qemu-ga"],
            env=[f"{k}={v}" for k, v in self.guest.settings.environment.items()],
            cwd="/",
            files={},
            parent=1,
            path="/usr/sbin/qemu-ga",
        )
        self.process.handlers[15] = self.process.handlers[2] = self.terminate
        self.process.on_exit = self._ended
        refuse_blocked(
            self.table,
            self.dialect,
            blocked=self.options.block_rpcs,
            allowed=self.options.allow_rpcs or None,
            is_frozen=self.is_frozen,
        )
        self.on_change()

    def _boot(self) -> None:
        """Start in a guest that has booted: nothing is frozen there.

        /run, in which the marker lies, is empty then. (Where it were not, the real agent would take
        itself to be frozen: qga/main.c, check_is_frozen(), calls the marker stale after a reboot.)
        """
        self.is_frozen = False
        self.start()

    def upgrade(self, dialect: Dialect) -> None:
        """Be another release from now on; a process that runs ends, and the new one is started."""
        was_running = self.process is not None
        self.stop(respawn=False)
        self.guest.settle()
        self.dialect = dialect
        self.guest.agent_version = dialect.full_version
        self._compile()
        if was_running:
            self.start()

    def terminate(self) -> None:
        """Take SIGTERM: end, but not while frozen (qga/main.c, quit_handler())."""
        if not self.is_frozen:
            self.stop()

    def stop(self, *, respawn: bool = True) -> None:
        """End in good order: what is buffered in open files gets written.

        *respawn*: it may be started again as the options say.
        """
        if self.process is None:
            return
        if not respawn:
            self._respawn_after = NEVER
        for handle in self.handles.values():
            try:
                handle.stream.close()
            except OSError:
                continue
        self.handles.clear()
        self.guest.processes.kill(self.process.pid, 9)

    def crash(self, respawn: int | None = None) -> None:
        """Die at once: what is buffered in open files is lost.

        *respawn* is after how many ns it is started again; None: as the options say.
        """
        if self.process is not None:
            self._respawn_after = respawn
            self.guest.processes.kill(self.process.pid, 9)
            self.guest.settle()

    def _ended(self, _: Exit) -> None:
        assert self.process is not None
        self.guest.processes.reap(self.process)
        self.process = None
        self.injector.forget()
        for handle in self.handles.values():
            handle.stream.file.close()
        for execution in self.executions.values():
            execution.abandon()
        self._reset()
        respawn, self._respawn_after = self._respawn_after, None
        if respawn is None:
            respawn = self.options.respawn
        if respawn is not None and respawn != NEVER and self.guest.power.is_running:
            self.respawn_at = self.guest.clock.uptime() + respawn
            self.guest.call_at(self.respawn_at, self._respawn)
        self.on_change()

    def _respawn(self) -> None:
        if self.process is None and self.guest.power.is_running:
            self.start()

    # -- freezing --------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Refuse from now on what may not be done while file systems are frozen."""
        self.is_frozen = True
        self.frozen_since = started = self.guest.clock.uptime()
        refuse_frozen(self.table, self.dialect)
        self.on_change()
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
        serve_thawed(self.table, self.dialect)
        self.on_change()

    # -- requests --------------------------------------------------------------------------------

    def receive(
        self, data: bytes, parts: Callable[[bytes], Iterable[bytes]] | None = None
    ) -> Iterator[Effect]:
        """Take bytes from the client; give what they cause, one request at a time.

        *parts* cuts *data* as it came, for a journal to tell apart what came at different times.

        A request is executed when the effects of those before it have been taken, so a client that
        does not read is not served ahead of its reading. The effects must be taken to the end.
        """
        reader = self.reader
        injector = self.injector
        messages = reader.feed(data)
        if parts is not None:
            messages = chain.from_iterable(map(reader.feed, parts(data)))
        for message in messages:
            if self.guest.is_busy:
                self.guest.settle()
                if reader is not self.reader:
                    return
                if not self.is_up:
                    self._held.append(message)
                    continue
            if injector.concerns(message):
                effects = injector.disturb(message, self._effects)
                self._note(message, join_bytes(effects))
                for effect in effects:
                    yield effect
                    if reader is not self.reader:
                        return
                continue
            reply = self._answer(message)
            if (
                self.journal is not None
                or self.on_exchange is not None
                or self.on_command is not None
            ):
                self._note(message, reply)
            if self._busy_until:
                until, self._busy_until = self._busy_until, 0
                yield Wait(until)
                if reader is not self.reader:
                    return
            if reply:
                yield reply
        if not injector.is_idle:
            yield from injector.finish()

    def _effects(self, message: Message) -> list[Effect]:
        """Execute a request; give the effects all at once."""
        reply = self._answer(message)
        until, self._busy_until = self._busy_until, 0
        waits: list[Effect] = [Wait(until)] if until else []
        return [*waits, reply] if reply else waits

    def resume(self) -> Iterator[Effect]:
        """Execute what was read before the machine fell asleep."""
        held, self._held = self._held, []
        for message in held:
            reply = self._answer(message)
            self._note(message, reply)
            yield reply

    def _note(self, message: Message, reply: bytes) -> None:
        """Tell who wants to know of a request and of what is answered (b"" for nothing)."""
        if self.journal is not None:
            self.journal.record(message, reply)
        if self.on_exchange is not None:
            self.on_exchange(message, reply)
        if self.on_command is not None:
            command, arguments = read_request(message)
            if command is not None:
                self.on_command(command, arguments)

    def _answer(self, message: Message) -> bytes:
        shown_id = ""
        try:
            if type(message) is dict:
                if "id" in message:
                    shown_id = show_id(message, self.dialect)
                entry, arguments = self._resolve(message)
                if entry.stubs and (stubbed := _find_answer(entry, arguments)) is not None:
                    return write_stubbed(stubbed, entry, shown_id)
                result = entry.call(self, arguments)
                if self.journal is not None:
                    self.journal.executed(entry.command.name, arguments, result)
                if entry.command.replies:
                    return write_return(entry.write(result), entry, shown_id)
                return b""
            if isinstance(message, CommandError):
                return write_error(message, "")
            raise CommandError("QMP input must be a JSON object")  # noqa: TRY301
        except CommandError as error:
            return write_error(error, shown_id)

    def _resolve(self, request: dict[str, JsonValue]) -> tuple[Entry, dict[str, JsonValue]]:
        """Check a request as qapi/qmp-dispatch.c does; find its command."""
        name = request.get("execute")
        arguments = request.get("arguments")
        count = len(request)
        if "id" in request and self.dialect.echoes_id:
            count -= 1
        if not (type(name) is str and (count == 1 or (count == 2 and type(arguments) is dict))):
            check_envelope(request, has_id=self.dialect.echoes_id)
        assert isinstance(name, str)
        entry = self.table.get(name)
        if entry is None:
            raise CommandNotFound(f"The command {name} has not been found")
        if entry.disabled is not None:
            raise CommandNotFound(entry.disabled)
        return entry, arguments if isinstance(arguments, dict) else {}

    # -- helpers -----------------------------------------------------------------------------------

    def run(self, path: str, argv: Iterable[str], stdin: bytes = b"") -> tuple[Exit, bytes]:
        """Run a program of the guest and wait for it: its end, and what it wrote.

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
            self._busy_until = max(self._busy_until, ended)
        return process.exit or Exit(signal=9), bytes(output.data)


def _find_answer(entry: Entry, arguments: dict[str, JsonValue]) -> Reply | None:
    entry.check(arguments)
    for stub in entry.stubs:
        reply: Reply | None = stub.answer(arguments)
        if reply is not None:
            return reply
    return None
