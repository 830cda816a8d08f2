"""One monitor of a QEMU process (``-qmp``), and the client that is connected to it. No I/O.

Theory of operation
===================

A driver owns the connection and calls the monitor, from one task at a time; every call returns at once:

1. `is_open`: while it is false, nothing listens. `connect()`, once for each client.
2. `receive(data)` for each chunk, however it is split: requests are executed at once, one after the other.
   While `is_full`, read nothing.
3. `take_output()`: what is to be sent, in order. `on_output` is called when there is something new.
4. When `has_hung_up` and all is sent, close. `lose_client()`, once for each `connect`.

What the client does not read is kept, as QEMU does; unlike there, no more than `OUTPUT_LIMIT`: then
nothing more is read from it, and a client that gets so many events loses them.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from qgasim.agent.failures import is_of_guest, refuse
from qgasim.agent.state import make_reader
from qgasim.effects import Close, Effect, Wait
from qgasim.errors import CommandError, CommandNotFound
from qgasim.faults import OF_MONITOR
from qgasim.faults.base import join_bytes
from qgasim.qapi.envelope import check_envelope, read_request, show_id, write_error, write_return
from qgasim.qapi.registry import Arguments, Entry
from qgasim.qmp.events import Event, write_event
from qgasim.qmp.hypervisor import Hypervisor
from qgasim.qmp.registry import table_of
from qgasim.wire import JsonValue, Message, encode

__all__ = ["OUTPUT_LIMIT", "Monitor"]

#: How many bytes are kept for a client that does not read. QEMU keeps all.
OUTPUT_LIMIT: Final = 16 << 20
_BARE_END: Final = re.compile(rb"(?<!\r)\n")
#: How much of a command's name an error about a failure shows.
NAME_LIMIT: Final = 100


class Monitor:
    """A monitor: bytes in, bytes out.

    Args:
        hypervisor: the process whose monitor it is.
        address: where its clients connect, as query-chardev names it: ``unix:/path``.
        label: the id of its character device (``-chardev``, ``-mon``); None: it is made by ``-qmp``.
    """

    def __init__(
        self, hypervisor: Hypervisor, address: str = "unix:qmp.sock", label: str | None = None
    ) -> None:
        self.hypervisor = hypervisor
        self.address = address
        #: The how many'th monitor it is.
        self.number = len(hypervisor.monitors) + 1
        #: The id of its character device; QEMU names those of ``-qmp``.
        self.label = label or f"compat_monitor{self.number - 1}"
        self.release = hypervisor.release
        #: Called when there is something to send, or to plan, that does not follow from `receive`.
        self.on_output: Callable[[], None] = lambda: None
        self.has_client = False
        self.has_hung_up = False
        #: How many clients have come.
        self.connections = 0
        self.has_negotiated = False
        self.has_oob = False
        self._commands: Mapping[str, Entry] = table_of(self.release)
        self._reader = make_reader(self.release.dialect)
        self._output: list[bytes] = []
        self._output_size = 0
        self._is_executing = False
        #: An event that a fault sends to the next client before it is greeted.
        self._early = b""
        #: Replies behind one that a fault has delayed; None: there is no such.
        self._blocked: list[Effect] | None = None
        hypervisor.monitors.append(self)

    # -- the driver ------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Return whether a client can connect."""
        return not self.hypervisor.has_ended

    @property
    def is_full(self) -> bool:
        """Return whether nothing more should be read from the client now."""
        return self._output_size >= OUTPUT_LIMIT

    def next_look(self) -> float:
        """Return the seconds until `wake_alone` should next be called; infinity: only when told."""
        hypervisor = self.hypervisor
        clock, event = hypervisor.guest.clock, hypervisor.guest.next_event()
        at = hypervisor.next_time()
        return min(
            math.inf if event is None else clock.host_delay(event),
            math.inf if at is None else clock.delay_until(at),
        )

    def wake_alone(self) -> None:
        """Let the guest catch up with time, and do what is due."""
        self.hypervisor.guest.settle()
        self.hypervisor.run()

    def connect(self) -> None:
        """Take a client and greet it. It has to negotiate, and what an earlier one had begun to ask is forgotten."""
        self.has_client, self.has_hung_up = True, False
        self.connections += 1
        self.has_negotiated = self.has_oob = False
        self._reader = make_reader(self.release.dialect)
        self._forget_output()
        self._blocked = None
        early, self._early = self._early, b""
        if early:
            self._send(early)
        self._send(f'{{"QMP": {encode(self._greeting())}}}\r\n'.encode("ascii"))

    def _greeting(self) -> JsonValue:
        return {"capabilities": ["oob"], "version": self.version()}

    def version(self) -> dict[str, JsonValue]:
        """Return QAPI ``VersionInfo``."""
        major, minor, micro = self.release.version
        numbers: dict[str, JsonValue] = {"major": major, "minor": minor, "micro": micro}
        return {"package": self.hypervisor.settings.package, "qemu": numbers}

    def lose_client(self) -> None:
        """Note that the client has gone."""
        self.has_client = self.has_negotiated = False
        self._forget_output()

    def _forget_output(self) -> None:
        self._output.clear()
        self._output_size = 0

    @property
    def has_output(self) -> bool:
        """Return whether there is something to be sent."""
        return bool(self._output)

    def take_output(self) -> bytes:
        """Return what is to be sent now."""
        output = b"".join(self._output)
        self._forget_output()
        return output

    def _send(self, data: bytes) -> None:
        self._output.append(data)
        self._output_size += len(data)

    def tell(self, event: Event, *, is_early: bool = False) -> None:
        """Send an event to the client, if there is one that has negotiated; *is_early*: in any case."""
        if is_early and not self.has_client:
            self._early = write_event(event)
        elif self.has_client and (self.has_negotiated or is_early) and not self.is_full:
            self._send(write_event(event))
            self.poke()

    def poke(self) -> None:
        """Let the driver look: there is something to send, or to do later."""
        if not self._is_executing:
            self.on_output()

    def end(self) -> None:
        """Hang up: the process has ended."""
        self.has_hung_up = True
        self.poke()

    # -- requests --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the client, and execute the requests that they complete."""
        hypervisor = self.hypervisor
        hypervisor.guest.settle()
        hypervisor.run()
        self._is_executing = True
        try:
            for message in self._reader.feed(data):
                if self.has_hung_up or hypervisor.has_ended:
                    return
                effects = self._disturb(message)
                self._perform(effects)
                reply = join_bytes(effects)
                for observer in hypervisor.agent.observers:
                    observer.monitored(self.number, self.connections, message, reply)
                while hypervisor.after_reply:
                    hypervisor.after_reply.pop(0)()
        finally:
            self._is_executing = False
            if hypervisor.is_touched:
                hypervisor.is_touched = False
                hypervisor.on_change()
                self.on_output()

    def _disturb(self, message: Message) -> list[Effect]:
        """Execute a request that a fault may disturb; return what becomes of its reply."""
        injector = self.hypervisor.injector
        name = read_request(message)[0]
        if injector.is_idle or name is None or not injector.find(OF_MONITOR + name):
            return [self._answer(message)]
        effects = injector.disturb(message, lambda each: [self._answer(each)])
        # What a fault has written ends as the agent's lines do.
        return [_BARE_END.sub(b"\r\n", e) if isinstance(e, bytes) else e for e in effects]

    def _perform(self, effects: list[Effect]) -> None:
        """Send replies in their order; what follows one that has to wait, waits behind it."""
        if self._blocked is not None:
            self._blocked += effects
            return
        for index, effect in enumerate(effects):
            if isinstance(effect, bytes):
                self._send(effect)
            elif isinstance(effect, Close):
                self.end()
            else:
                self._block(effect, effects[index + 1 :])
                return

    def _block(self, wait: Wait, rest: list[Effect]) -> None:
        self._blocked = rest
        client = self.connections
        delay = wait.until - self.hypervisor.guest.clock.uptime()

        def go_on() -> None:
            if self.has_client and self.connections == client:
                blocked, self._blocked = self._blocked or [], None
                self._perform(blocked)
                self.poke()

        self.hypervisor.call_later(max(0, delay), go_on)

    def _answer(self, message: Message) -> bytes:
        """Execute a request; return the reply."""
        shown_id = ""
        try:
            if isinstance(message, CommandError):
                raise message.with_traceback(None)  # noqa: TRY301
            shown_id = show_id(message, self.release.dialect)
            if not isinstance(message, dict):
                raise CommandError(self.release.dialect.no_object_text)  # noqa: TRY301
            entry, arguments = self._resolve(message)
            result = entry.call(self, arguments)
            reply = write_return(entry.write(result), entry, shown_id)
        except CommandError as error:
            reply = write_error(error, shown_id)
        except Exception as error:  # noqa: BLE001
            command = str(read_request(message)[0])[:NAME_LIMIT]
            if not is_of_guest(error):
                self.hypervisor.agent.fail(command, error)
            reply = write_error(refuse(command, error), shown_id)
        return reply[:-1] + b"\r\n"

    def _resolve(self, request: dict[str, JsonValue]) -> tuple[Entry, Arguments]:
        """Return the command of a request and its arguments (qapi/qmp-dispatch.c)."""
        check_envelope(request, self.release.dialect, allows_oob=self.has_oob)
        is_oob = "exec-oob" in request
        name = request["exec-oob" if is_oob else "execute"]
        arguments = request.get("arguments", {})
        assert isinstance(name, str)
        assert isinstance(arguments, dict)
        entry = self._commands.get(name)
        if not self.has_negotiated and name != "qmp_capabilities":
            # Only this one is registered before (monitor/qmp.c, monitor_qmp_dispatch()).
            text = "Expecting capabilities negotiation with 'qmp_capabilities'"
            raise CommandNotFound(text)
        if entry is None:
            raise CommandNotFound(f"The command {name} has not been found")
        if is_oob and name not in self.release.oob_commands:
            raise CommandError(f"The command {name} does not support OOB")
        return entry, arguments

    def negotiate(self, *, oob: bool) -> None:
        """Let the client ask for all other commands from now on.

        Raises:
            CommandNotFound: it has done so already.
        """
        if self.has_negotiated:
            raise CommandNotFound("Capabilities negotiation is already complete, command ignored")
        self.has_negotiated = True
        self.has_oob = oob
