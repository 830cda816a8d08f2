"""The simulated qemu-ga process, without any I/O.

Nothing here may wait, read a clock of the host or know about sockets: bytes come in, effects go
out. What the guest looks like is `qgasim.guest`'s business, what a command means `qgasim.commands`'.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Final

from msgspec import structs

from qgasim.agent.answering import Answering
from qgasim.agent.command_set import CommandSet
from qgasim.agent.failures import refuse
from qgasim.agent.options import AgentOptions
from qgasim.agent.state import new_state
from qgasim.agent.target import Past, Target
from qgasim.dialect import Dialect
from qgasim.effects import Effect, Wait
from qgasim.faults import FaultInjector
from qgasim.faults.base import join_bytes
from qgasim.guest import Guest
from qgasim.qapi.envelope import write_error
from qgasim.qapi.registry import Command
from qgasim.wire import Message

__all__ = ["FIRST_HANDLE", "Agent"]

#: The number of the first file handle (qga/main.c, QGA_PSTATE_DEFAULT_FD_COUNTER).
FIRST_HANDLE: Final = 1000


class Agent(Answering):
    """A qemu-ga process: bytes in, effects out.

    It lives as long as the guest, not as long as a connection: file handles, the frozen state and
    half-read requests survive a reconnect, as they do in the real agent. When the process in the
    guest is killed, its `state` is lost, and it starts again as *options* say.
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
        self._all_commands = tuple(commands)
        self.commands = self._install()
        #: The next handle's number: kept in a state file, so that it survives the process.
        self.next_handle = FIRST_HANDLE
        #: A marker file: an agent killed while frozen starts frozen.
        self.is_frozen = False
        #: The uptime of the latest freeze.
        self.frozen_since = 0
        self._planned_thaw: Callable[[], None] | None = None
        #: The helper programs that were run, latest last.
        self.helpers: deque[list[str]] = deque(maxlen=100)
        self.state = new_state(self.options, self.dialect)
        self.injector = FaultInjector(self.options.faults, Target(self, past), self.options.seed)
        guest.on_failure = partial(self.fail, "what was planned")
        guest.processes.on_overrun = self.note_limit
        guest.on_boot = self._boot
        guest.power.on_change = self.machine_changed
        self.start()

    def _install(self) -> CommandSet:
        self.guest.agent_version = self.dialect.full_version
        return CommandSet(self._all_commands, self.dialect, self.guest.settings.os, self.options)

    @property
    def has_half_request(self) -> bool:
        """Return whether it has read the beginning of a request, and waits for the rest."""
        return not self.state.reader.is_between_messages

    def on_start(self) -> None:
        """Refuse what the command line says, and what may not be done in a frozen guest."""
        self.commands.refuse_at_start(is_frozen=self.is_frozen)
        self.guest.states.happen("agent starts")
        if self.is_frozen:
            self.guest.states.happen("freeze")

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
        self.guest.states.happen("agent ends")
        self.injector.forget()
        for handle in self.state.handles.values():
            handle.stream.file.close()
        for execution in self.state.executions.values():
            execution.abandon()
        self.state = new_state(self.options, self.dialect)

    def changed(self) -> None:
        """Notify observers that the guest or its agent may be in another state."""
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
        """Change to another release; a process that runs ends, and one of the new release is started."""

        def install() -> None:
            self.dialect = dialect
            earlier, self.commands = self.commands, self._install()
            self.commands.keep_stubs(earlier)

        self.restart_with(install)

    def block(self, names: Iterable[str]) -> None:
        """Refuse these commands from now on, and no others that were; a process that runs is restarted."""
        self.options = structs.replace(self.options, block_rpcs=tuple(names))
        self.restart_with(lambda: self.commands.block(self.options.block_rpcs))

    def terminate(self) -> None:
        """Take SIGTERM: end, but not while frozen (qga/main.c, quit_handler())."""
        if not self.is_frozen:
            self.stop()

    def save(self) -> Callable[[], None]:
        """Return a function that puts back what is installed, and which process there is, as it is now.

        The contents of `state` are the caller's to keep.
        """
        attributes, put_commands_back = vars(self).copy(), self.commands.save()
        # A failure is the simulator's, and stays; so does what the channel is about.
        del attributes["failure"], attributes["is_heard"]

        def put_back() -> None:
            vars(self).update(attributes)
            put_commands_back()

        return put_back

    # -- freezing --------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Enter the frozen state."""
        self.is_frozen = True
        self.frozen_since = started = self.guest.clock.uptime()
        self.commands.refuse_frozen()
        self.guest.states.happen("freeze")
        self.changed()
        limit = self.options.personality.thaw_after

        def thaw() -> None:
            if self.is_frozen and self.frozen_since == started:
                self.guest.thaw()
                self.thaw()

        if limit is not None:
            self._planned_thaw = thaw
            self.guest.call_at(started + limit, thaw)

    def thaw(self) -> None:
        """Serve everything again that is not blocked."""
        if self._planned_thaw is not None:
            self.guest.forget_call(self._planned_thaw)
            self._planned_thaw = None
        self.is_frozen = False
        self.commands.serve_thawed()
        self.guest.states.happen("thaw")
        self.changed()

    # -- requests --------------------------------------------------------------------------------

    def receive(self, data: bytes, parts: Iterable[bytes] | None = None) -> Iterator[Effect]:
        """Take bytes from the client; yield what they cause, one request at a time.

        *parts* are *data* in the pieces in which it came, each taken when it is read.

        A request is executed when the effects of those before it have been taken, so a client that
        does not read is not served ahead of its reading. The effects must be taken to the end.
        """
        state, observers, injector = self.state, self.observers, self.injector
        reader = state.reader
        messages = (
            reader.feed(data) if parts is None else chain.from_iterable(map(reader.feed, parts))
        )
        try:
            for message in messages:
                if reader is not self.state.reader:
                    return
                # Of a guest that is late, each look would take as long as one may.
                if self.guest.is_busy and not self.guest.processes.is_late:
                    self.guest.look()
                    if reader is not self.state.reader:
                        return
                    if not self.is_up:
                        self.state.deferred.append(message)
                        continue
                if injector.concerns(message):
                    for effect in self._disturb(message):
                        yield effect
                        if reader is not self.state.reader:
                            return
                    continue
                reply = self.answer(message)
                if observers:
                    self.tell(message, reply)
                if state.busy_until:
                    until, state.busy_until = state.busy_until, 0
                    yield Wait(until)
                    if reader is not self.state.reader:
                        return
                if reply:
                    yield reply
        except Exception as error:  # noqa: BLE001
            yield self._recover(error)
        if not injector.is_idle:
            yield from injector.finish()

    def _recover(self, error: Exception) -> bytes:
        """Note what the reader, a fault or an observer has raised; return the reply, and begin anew."""
        self.fail("a request", error)
        self.state.reader = new_state(self.options, self.dialect).reader
        return write_error(refuse("a request", error), "")

    def _disturb(self, message: Message) -> list[Effect]:
        """Execute a request that a fault may disturb; return what becomes of its effects."""
        effects = self.injector.disturb(message, self.execute)
        if self.observers:
            self.state.busy_until = max(
                (effect.until for effect in effects if isinstance(effect, Wait)), default=0
            )
            self.tell(message, join_bytes(effects))
            self.state.busy_until = 0
        return effects

    def execute(self, message: Message) -> list[Effect]:
        """Execute a request; return the effects all at once."""
        reply = self.answer(message)
        until, self.state.busy_until = self.state.busy_until, 0
        waits: list[Effect] = [Wait(until)] if until else []
        return [*waits, reply] if reply else waits

    def resume(self) -> Iterator[Effect]:
        """Execute what was read before the machine fell asleep."""
        deferred, self.state.deferred = self.state.deferred, []
        for message in deferred:
            reply = self.answer(message)
            self.tell(message, reply)
            yield reply

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
