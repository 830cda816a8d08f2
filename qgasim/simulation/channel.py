"""What lies between a client on the host and the agent in the guest. No I/O.

Theory of operation
===================

A channel knows when bytes reach the agent, what becomes of its replies and what a connection's end does
to it. A driver owns the connection and calls the channel, from one task at a time; every call returns at
once. Effects are iterators, executed lazily: taking the next effect may run the next request. So a
client that does not read is not served ahead.

For each client, in this order:

1. `is_open`. While it is false, nothing listens. The driver then waits (see 6).
2. `connect()`, once. Perform its effects before anything is read: they are what the client finds.
3. `receive(data)` for each chunk, however it is split. Perform the effects before the next call of
   `receive` or `wake`. While `is_full`, read nothing.
4. Perform effects in order: `bytes` are sent; they may be joined up to a size, but never across another
   effect. With `writes_singly`, each goes out alone once the client falls behind. `Close` "end" and
   "reset" end the connection: drop the iterator. "half" ends sending only: go on with the iterator.
   `Wait(until)` ends this performance: call `defer(until, effects)` with the same iterator, and go back
   to waiting.
5. An iterator ends in one of four ways: taken to the end, `Close`, `defer`, or `return_unsent(data,
   effects)` when sending failed (*data*: the unsent bytes). It is never just dropped otherwise:
   requests that the agent has read would not be executed. `return_unsent` returns an iterator of its
   own, which must be taken to the end; what it yields is not sent.
6. While `needs_attention`, wait for the client no longer than until `next_event()` (an uptime; None:
   without limit). Then, or when poked (the guest was changed from outside), call `wake()` and perform
   its effects. Deferred effects come back through `wake`.
7. A client that stops sending has left if `ends_when_sending_ends`. Otherwise it is served until
   `is_pending` is false. What it sent before it left is still received; the effects go to
   `return_unsent`.
8. `lose_client(unread=...)`, once for each `connect`, however the connection ended, and before the
   socket is closed. *unread* is not None only if a read failed with ECONNRESET. It holds what was sent
   since the client last sent anything, if `keeps_unread`; else b"". Then ask `is_open` again: an agent
   that is gone refuses connects by the time its client sees the end.

Without a client, call `wake_alone()` in place of `wake()`. `is_lost`: a client broke the channel of an
agent with `--retry-path`. `is_open` is false until the driver has opened its socket again and called
`reopen()`. The channel, the agent and half-read requests stay the same throughout.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from qgasim.agent import Agent
from qgasim.agent.observer import Observer
from qgasim.effects import Close, Effect, Wait
from qgasim.guest.units import SECOND

__all__ = [
    "QUEUE_LIMIT",
    "WRITE_SIZE",
    "Channel",
    "ChannelKind",
    "IsaSerial",
    "Sender",
    "UnixListen",
    "VirtioSerial",
    "make_channel",
]

ChannelKind: TypeAlias = Literal["virtio-serial", "isa-serial", "unix-listen", "vsock-listen"]
#: How much waits in front of an agent that does not read, before the driver stops reading.
QUEUE_LIMIT: Final = 1 << 20
#: How many bytes of a reply qemu-ga writes at once: as many as glib's buffer of a channel holds (strace of
#: 5.2, 7.2, 10.0 and 11.1).
WRITE_SIZE: Final = 2047
#: How many bytes the agent may write with no client connected before it blocks (the virtio queue's
#: 128 buffers of 4 KiB).
KEPT_LIMIT: Final = 128 * 4096
#: How many pieces of what waits are told apart.
PIECES_LIMIT: Final = 1000


class Sender(Struct, frozen=True):
    """The client that sent something, and when it did."""

    #: The how many'th client it is.
    connection: int
    #: The guest's uptime (ns).
    sent: int


class Piece(Struct):
    """A part of what waits in front of the agent: what came at once."""

    length: int
    sender: Sender


class Channel:
    """The way to an agent: one client at a time."""

    #: Whether a client that only stops sending has left.
    ends_when_sending_ends: bool = False
    #: Whether replies that a client left unread go to the next one.
    keeps_unread: bool = False
    #: Whether a client that falls behind gets each reply in a write of its own: many small writes fill a
    #: socket sooner than a large one.
    writes_singly: bool = False
    #: Whether a client has broken the channel, and the agent has not yet opened it again.
    is_lost: bool = False

    #: How many bytes of a reply the agent writes at once.
    write_size: int = WRITE_SIZE

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        #: How many clients have come.
        self.connections = 0
        #: Whose request is executed now, if it is not that of the client that is there, just sent.
        self.sender: Sender | None = None
        self._observers: list[Observer] = agent.observers
        self._queue = bytearray()
        self._pieces: deque[Piece] = deque()
        #: What is to go on at a time: a reply that waits, and all that comes after it.
        self._deferred: tuple[int, Iterator[Effect]] | None = None
        #: The process whose effects are deferred, and the client that they are for.
        self._deferred_process = agent.process
        self._deferred_sender = Sender(0, 0)

    def save(self) -> Callable[[], None]:
        """Return a function that puts the port's contents back as they are; the connection is the host's."""
        queue = bytes(self._queue)
        deferred: tuple[int, bytes] | None = None
        if self._deferred is not None:
            until, effects = self._deferred
            # A reply that waits, but not what is only to be done after it.
            reply = next(effects, None)
            if reply is not None:
                self._deferred = until, chain([reply], effects)
            if type(reply) is bytes:
                deferred = until, reply

        pieces = list(self._pieces)

        def put_back() -> None:
            self._queue[:] = queue
            self._pieces = deque(pieces)
            self._deferred = None
            if deferred is not None:
                self.defer(deferred[0], iter([deferred[1]]))

        return put_back

    @property
    def is_open(self) -> bool:
        """Return whether a client can connect."""
        return not self.agent.injector.is_refusing

    @property
    def port_is_open(self) -> bool | None:
        """Return whether the guest has opened the port, as QEMU tells by VSERPORT_CHANGE; None: no port tells."""
        return None

    @property
    def waiting(self) -> list[tuple[Sender, bytes]]:
        """What was sent and has not yet been read by the agent, in the pieces in which it came."""
        return list(_cut_up(bytes(self._queue), self._pieces))

    def leftovers(self) -> list[str]:
        """Name what a client that connects now finds of those before it."""
        found = ["half a request"] if self.agent.has_half_request else []
        return [*found, "requests not yet answered"] if self._deferred or self._queue else found

    @property
    def is_full(self) -> bool:
        """Return whether nothing more should be read from the client now."""
        return len(self._queue) >= QUEUE_LIMIT

    @property
    def may_reset(self) -> bool:
        """Return whether the connection may end by a reset."""
        return self.agent.injector.may_reset

    @property
    def is_pending(self) -> bool:
        """Return whether something that was asked is not yet answered, and can be."""
        return self._deferred is not None or (bool(self._queue) and self.agent.is_up)

    @property
    def needs_attention(self) -> bool:
        """Return whether `wake` may have effects now or by itself later."""
        agent = self.agent
        deferred = self._deferred is not None
        return deferred or agent.guest.is_busy or bool(self._queue) or not agent.is_up

    def next_event(self) -> int | None:
        """Return the uptime at which `wake` should next be called; None: only when told."""
        if self._deferred is None and self._queue and self.agent.is_up:
            return 0
        event = self.agent.guest.next_event()
        if self._deferred is None or not self.agent.is_up:
            return event
        return self._deferred[0] if event is None else min(event, self._deferred[0])

    def next_look(self) -> float:
        """Return the seconds until `wake` should next be called; infinity: only when told."""
        event = self.next_event() if self.needs_attention else None
        return math.inf if event is None else self.agent.guest.clock.host_delay(event)

    def connect(self) -> Iterator[Effect]:
        """Take a client; return what it finds in the channel."""
        self.connections += 1
        effects = list(self.agent.injector.connect())
        for observer in self._observers:
            observer.connected()
        yield from effects

    def receive(self, data: bytes) -> Iterator[Effect]:
        """Take bytes from the client; return their effects."""
        if self.agent.injector.is_deaf:
            for observer in self._observers:
                observer.swallowed(data)
            return iter(())
        if self.needs_attention:
            # What was due before these bytes came may undo what is in the port.
            self.agent.guest.look()
            self._enqueue(data)
            return self._look()
        self.sender = None
        return self.agent.receive(data)

    def _enqueue(self, data: bytes) -> None:
        if not self._queue:
            self._pieces.clear()
        self._queue += data
        pieces, last = self._pieces, self._pieces[-1] if self._pieces else None
        if len(pieces) >= PIECES_LIMIT and last and last.sender.connection == self.connections:
            last.length += len(data)
        else:
            sender = Sender(self.connections, self.agent.guest.clock.uptime())
            pieces.append(Piece(len(data), sender))
        for observer in self._observers:
            observer.queued(len(data))

    def _dequeue(self) -> Iterator[bytes]:
        """Take all that waits; return the pieces in which it came, each with its `sender`."""
        waiting = list(_cut_up(bytes(self._queue), self._pieces))
        self._queue.clear()
        self._pieces.clear()
        return self._one_by_one(waiting)

    def _one_by_one(self, waiting: list[tuple[Sender, bytes]]) -> Iterator[bytes]:
        for self.sender, piece in waiting:
            yield piece
        self.sender = None

    def wake(self) -> Iterator[Effect]:
        """Let the guest catch up with time, and the agent read what waits for it."""
        self.agent.guest.look()
        return self._look()

    def _look(self) -> Iterator[Effect]:
        """Do as `wake`, for a guest that has caught up."""
        if self._deferred is not None and self._deferred_process is not self.agent.process:
            # A process that has died says nothing more.
            self._deferred = None
        if self._deferred is not None:
            until, effects = self._deferred
            if not self.agent.is_up or self.agent.guest.clock.uptime() < until:
                return iter(())
            self._deferred = None
            self.sender = self._deferred_sender
            for observer in self._observers:
                observer.resumed()
            return effects
        self.sender = None
        return self._go_on()

    def _go_on(self) -> Iterator[Effect]:
        if self.agent.is_up:
            yield from self.agent.resume()
            if self._queue:
                yield from self._feed(bytes(self._queue), self._dequeue())
        power = self.agent.guest.power
        if power.state == "off" and not power.keeps_machine:
            yield Close()

    def _feed(self, data: bytes, parts: Iterator[bytes] | None) -> Iterator[Effect]:
        """Let the agent read *data*, which had waited, in the *parts* in which it came."""
        return self.agent.receive(data, parts)

    def defer(self, until: int, effects: Iterator[Effect]) -> None:
        """Go on with *effects* when the guest's uptime is *until*."""
        self._deferred = (until, effects)
        self._deferred_process = self.agent.process
        now = self.agent.guest.clock.uptime()
        self._deferred_sender = self.sender or Sender(self.connections, now)
        for observer in self._observers:
            observer.deferred()

    def return_unsent(self, data: bytes, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Take back what could not be sent: *data*, and then *effects*.

        Return the effects that no client gets: take them to the end, or the requests are not executed.
        """
        for observer in self._observers:
            observer.unsent(is_cut=bool(data))
        return self._keep(data, effects)

    def _keep(self, data: bytes, effects: Iterator[Effect]) -> Iterator[Effect]:  # noqa: ARG002
        """Go on without a client; keep for the next one what this kind of channel keeps: nothing."""
        for effect in effects:
            if isinstance(effect, Wait):
                self.defer(effect.until, effects)
                return
            yield effect

    def wake_alone(self) -> None:
        """Do as `wake` while there is no client."""
        for _ in self._keep(b"", self.wake()):
            pass

    def reopen(self) -> None:
        """Let clients connect again after the channel was lost; the agent remembers what it did."""
        self.is_lost = False

    def lose_client(self, *, unread: bytes | None) -> None:
        """Note that the client has gone.

        *unread* is what it got since it last sent anything, if it left some of that unread
        (ECONNRESET); else None.
        """
        for observer in self._observers:
            observer.disconnected(is_unread=unread is not None)


class VirtioSerial(Channel):
    """A virtio-serial port behind a socket of QEMU: bytes outlive connections.

    The agent sees no connections. What it writes while no client is connected goes to the next
    client; what was written to a client is lost with it, read or not (recorded:
    tests/golden/7.2/conn-virtio.jsonl).
    """

    ends_when_sending_ends = True

    def __init__(
        self, agent: Agent, *, stale_bytes: bytes = b"", keeps_unread: bool = False
    ) -> None:
        super().__init__(agent)
        self.keeps_unread = keeps_unread
        self._kept = bytearray(stale_bytes)

    @property
    def port_is_open(self) -> bool | None:
        """Return whether the guest has opened the port: whether the agent runs, which keeps it open."""
        return self.agent.process is not None

    def save(self) -> Callable[[], None]:
        """Return a function that puts the port's contents back, those for the next client included."""
        kept, put_rest_back = bytes(self._kept), super().save()

        def put_back() -> None:
            self._kept[:] = kept
            put_rest_back()

        return put_back

    def connect(self) -> Iterator[Effect]:
        """Take a client; return what was written while none was connected."""
        yield from super().connect()
        kept = bytes(self._kept)
        self._kept.clear()
        if kept:
            yield kept

    def leftovers(self) -> list[str]:
        """Name what a client that connects now finds of those before it."""
        found = super().leftovers()
        return [*found, "bytes for an earlier client"] if self._kept else found

    def _keep(self, data: bytes, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Keep what could not be sent for the next client, as much as the port holds."""
        self._kept += data
        until = 0
        while len(self._kept) < KEPT_LIMIT:
            effect = next(effects, None)
            if effect is None:
                return iter(())
            if isinstance(effect, Wait):
                until = effect.until
                break
            if type(effect) is bytes:
                self._kept += effect
        self.defer(until, effects)
        return iter(())

    def next_event(self) -> int | None:
        """Return the uptime at which `wake` should next be called; None: only when told."""
        return None if len(self._kept) >= KEPT_LIMIT else super().next_event()

    def lose_client(self, *, unread: bytes | None) -> None:
        """Keep what the client left unread, if this channel does."""
        super().lose_client(unread=unread)
        if unread and self.keeps_unread:
            self._kept += unread


class IsaSerial(VirtioSerial):
    """A serial port: as virtio-serial, but slow.

    UNVERIFIED: how slow; taken are the 11520 bytes a second of 115200 baud.
    """

    BYTES_PER_SECOND: Final = 11_520

    @property
    def port_is_open(self) -> bool | None:
        """None: a serial port does not tell."""
        return None

    def receive(self, data: bytes) -> Iterator[Effect]:
        """Take bytes from the client; give their effects, as fast as the line is."""
        if self.needs_attention:
            # They go through the queue, and are slow from there on.
            return super().receive(data)
        return self._slow(super().receive(data))

    def _go_on(self) -> Iterator[Effect]:
        return self._slow(super()._go_on())

    def _slow(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        for effect in effects:
            if type(effect) is bytes:
                took = len(effect) * SECOND // self.BYTES_PER_SECOND
                yield Wait(self.agent.guest.clock.uptime() + took)
            yield effect


#: How much an agent reads at once (qga/main.c, QGA_READ_COUNT_DEFAULT).
READ_SIZE: Final = 4096


class UnixListen(Channel):
    """``qemu-ga -m unix-listen``: the agent itself is the server, and ends with its channel.

    With ``--retry-path`` (`reopens`) it does not end: the channel is lost (`is_lost`), and lets no client
    connect until the driver has opened it again (`reopen`). (qemu-ga 7.2.22 wants the same, but aborts when
    the first client connects to the socket that it opened again.)

    That a client has left something unread ends the agent only if it is told by a read that gets nothing
    else: glib passes over an error after bytes (g_io_channel_read_chars()), and it is not told again.
    """

    writes_singly = True
    #: Whether the agent opens its channel again when a client has broken it, instead of ending.
    reopens: bool = False

    @property
    def is_open(self) -> bool:
        """Return whether there is an agent to listen, and it has not lost its channel."""
        return self.agent.process is not None and not self.is_lost and super().is_open

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._process = agent.process
        #: How much the agent has not yet read of what came last.
        self._unread = 0
        #: How much it had not read when its client was found to have left; None: it has not.
        self._left: int | None = None

    def save(self) -> Callable[[], None]:
        """Return a function that forgets what was on its way."""

        def put_back() -> None:
            # The process of then knows nothing of the connections of now.
            self._queue.clear()
            self._deferred = self._process = None

        return put_back

    def connect(self) -> Iterator[Effect]:
        """Take a client: it is served by the process that there is now."""
        self._process = self.agent.process
        self._left = None
        return super().connect()

    def receive(self, data: bytes) -> Iterator[Effect]:
        """Take bytes from the client; give their effects, reading as much at once as qemu-ga does."""
        if self._left is not None:
            self._left += len(data)
        if self.needs_attention or self.agent.injector.is_deaf:
            return super().receive(data)
        self.sender = None
        return self._feed(data, None)

    def _feed(self, data: bytes, parts: Iterator[bytes] | None) -> Iterator[Effect]:
        self._unread = len(data)
        for came in (data,) if parts is None else parts:
            for start in range(0, len(came), READ_SIZE):
                part = came[start : start + READ_SIZE]
                self._unread -= len(part)
                yield from self.agent.receive(part)

    def return_unsent(self, data: bytes, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Take back what could not be sent; note how much was not yet read then."""
        if self._left is None:
            self._left = self._unread
        return super().return_unsent(data, self._unheard(effects))

    def _unheard(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Yield *effects*; the answers to what is executed meanwhile are lost."""
        while True:
            self.agent.is_heard = False
            try:
                effect = next(effects, None)
            finally:
                self.agent.is_heard = True
            if effect is None:
                return
            yield effect

    def _look(self) -> Iterator[Effect]:
        """Do as `wake`; hang up if the process that had the connection is gone."""
        if self.agent.process is self._process is not None:
            return super()._look()
        # What was in its connections is gone with it.
        self._queue.clear()
        self._deferred = None
        return iter([Close()])

    def lose_client(self, *, unread: bytes | None) -> None:
        """Let the agent do what the client still asked for, and end it if the client left a reply unread.

        The agent is busy with it until then, and its answers are lost (qemu-ga 7.2: what a client sent
        before it left is executed to the end; then a read fails, if there was something unread).
        """
        super().lose_client(unread=unread)
        left = self._unread + len(self._queue) if self._left is None else self._left
        stops = unread is not None and left % READ_SIZE == 0
        if self._deferred is None and not self._queue:
            if stops:
                self._break()
            return
        until, effects = self._deferred or (0, iter(()))
        if self._deferred_process is not self.agent.process and self._deferred is not None:
            self._queue.clear()
            return
        rest = self.agent.receive(bytes(self._queue), self._dequeue())
        self.defer(until, self._finish(effects, rest, stops=stops))

    def _finish(
        self, effects: Iterator[Effect], rest: Iterator[Effect], *, stops: bool
    ) -> Iterator[Effect]:
        """Do *effects*, and the *rest* that the client asked for, without a reply."""
        for effect in self._unheard(chain(effects, rest)):
            if isinstance(effect, Wait):
                yield effect
        if stops:
            self._break()
        if self.is_lost:
            # A client that has come meanwhile loses its connection, and what it asked for.
            self._queue.clear()
            yield Close()

    def _break(self) -> None:
        """Lose the channel, or the agent, if it does not open it again."""
        if self.reopens:
            self.is_lost = True
        else:
            self.agent.stop()


def make_channel(
    kind: ChannelKind, agent: Agent, *, stale_bytes: bytes = b"", keeps_unread: bool = False
) -> Channel:
    """Make a channel of *kind*; the other arguments are for those that QEMU provides."""
    if kind in ("unix-listen", "vsock-listen"):
        return UnixListen(agent)
    channel = IsaSerial if kind == "isa-serial" else VirtioSerial
    return channel(agent, stale_bytes=stale_bytes, keeps_unread=keeps_unread)


def _cut_up(data: bytes, pieces: Iterable[Piece]) -> Iterator[tuple[Sender, bytes]]:
    """Cut *data* into *pieces*; bytes of which no piece is known belong to the first."""
    pieces = list(pieces)
    position = len(data) - sum(piece.length for piece in pieces)
    for number, piece in enumerate(pieces):
        start = 0 if number == 0 else position
        position += piece.length
        if part := data[max(start, 0) : max(position, 0)]:
            yield piece.sender, part
