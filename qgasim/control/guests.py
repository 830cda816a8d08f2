"""Guests under control: each served at an address of its own, in one loop."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
import trio
from msgspec import Struct

from qgasim.control.feed import Feed, Recorder
from qgasim.errors import ListenError, ScenarioError
from qgasim.guest.system.clock import SteeredClock
from qgasim.http.problems import HttpError
from qgasim.scenario import Blueprint, load_sealed
from qgasim.scenario.shares import Share
from qgasim.serving.listen import Address, SocketAddress, Stdio, UnixAddress, name_address
from qgasim.serving.server import Server
from qgasim.simulation.journal import Journal
from qgasim.simulation.simulation import Simulation
from qgasim.states import State
from qgasim.suggestions import did_you_mean
from qgasim.testing.live import LiveGuest

__all__ = ["AdoptedGuest", "ControlledGuest", "Guests", "Start", "make_blueprint"]

T = TypeVar("T")
#: How many guests there may be.
GUEST_LIMIT: Final = 10_000


class Start(Struct, frozen=True, kw_only=True):
    """What a guest is made of, and where it is served."""

    blueprint: Blueprint
    #: Where clients of its agent connect; None: at a unix socket of its own.
    address: Address | None = None
    #: Where clients of the machine's monitors (QMP) connect.
    qmp: tuple[SocketAddress, ...] = ()
    #: Folders of the host that it is to have.
    shares: tuple[Share, ...] = ()


class ControlledGuest:
    """A guest that is served, and everything that control knows of it.

    Args:
        name: what it is called.
        blueprint: what it is made of.
        feed: what happens to it goes there.
    """

    #: The guest as a test takes hold of it.
    live: LiveGuest

    def __init__(self, name: str, blueprint: Blueprint, feed: Feed) -> None:
        self.name = name
        self.recorder = Recorder(feed, name)
        #: How its agent's quirks were changed since it was made.
        self.quirks = dict(blueprint.scenario.agent.quirks)
        #: Ends the requests that wait for something to happen to it.
        self._waits: set[trio.CancelScope] = set()

    @property
    def address(self) -> str:
        """Where clients of its agent connect, as ``--listen`` has it."""
        raise NotImplementedError

    @property
    def qmp_addresses(self) -> tuple[SocketAddress, ...]:
        """Where clients of the machine's monitors (QMP) connect."""
        raise NotImplementedError

    @property
    def is_connected(self) -> bool:
        """Return whether a client is connected."""
        raise NotImplementedError

    def reset(self) -> None:
        """Start again: a new guest at the same address, with an empty journal.

        Raises:
            HttpError: that cannot be here.
        """
        raise NotImplementedError

    @property
    def simulation(self) -> Simulation:
        """The guest, its agent and what lies between it and its clients."""
        return self.live.simulation

    @property
    def state(self) -> State:
        """The state that the guest is in."""
        # Not `LiveGuest.state`, which guards against changes: a list of a thousand guests changes none.
        self.simulation.guest.settle()
        return self.simulation.guest.state

    def call(self, function: Callable[[], T]) -> T:
        """Call *function*, which may change the guest in any way, between two requests."""
        return self.live.call(function)

    def end(self) -> None:
        """End the requests that wait for it: it is gone."""
        for scope in list(self._waits):
            scope.cancel()
        self.recorder.tell("deleted")

    async def wait(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await *function* as long as there is the guest.

        Raises:
            HttpError: it was deleted (410).
        """
        with trio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await function()
            finally:
                self._waits.discard(scope)
        raise HttpError(410, f"the guest '{self.name}' was deleted meanwhile")


class AdoptedGuest(ControlledGuest):
    """A guest that something else of this process serves: a test, or an emulator.

    Args:
        name: what it is called.
        live: the guest; whatever thread calls it, it must be the one that serves it.
        addresses: where clients of its agent connect, and of its machine's monitors.
        is_connected: returns whether a client of its agent is connected.
        feed: what happens to it goes there.
    """

    SERVED_BY: Final = "a test, or an emulator"

    def __init__(
        self,
        name: str,
        live: LiveGuest,
        addresses: tuple[str, tuple[SocketAddress, ...]],
        is_connected: Callable[[], bool],
        feed: Feed,
    ) -> None:
        super().__init__(name, live.blueprint, feed)
        self.live = live
        self._addresses = addresses
        self._is_connected = is_connected
        self.recorder.follow(live.journal)

    @property
    def address(self) -> str:
        """Where clients of its agent connect, as ``--listen`` has it."""
        return self._addresses[0]

    @property
    def qmp_addresses(self) -> tuple[SocketAddress, ...]:
        """Where clients of the machine's monitors (QMP) connect."""
        return self._addresses[1]

    @property
    def is_connected(self) -> bool:
        """Return whether a client is connected."""
        return self._is_connected()

    def reset(self) -> None:
        """Refuse: only what serves the guest can make a new one.

        Raises:
            HttpError: always (409).
        """
        raise HttpError(409, f"only what serves this guest can reset it: {self.SERVED_BY}")


class ServedGuest(ControlledGuest):
    """A guest that control itself serves.

    Args:
        name: what it is called.
        start: what it is made of, and where it is served.
        address: where clients of its agent connect.
        guests: those to which it belongs.
    """

    def __init__(self, name: str, start: Start, address: Address, guests: "Guests") -> None:
        super().__init__(name, start.blueprint, guests.feed)
        self._guests = guests
        self._address = address
        self._qmp = start.qmp
        self._server: Server | None = None
        self._scope = trio.CancelScope()
        self.live = LiveGuest(start.blueprint, SteeredClock, self._call, self._serve, start.shares)

    @property
    def address(self) -> str:
        """Where clients of its agent connect, as ``--listen`` has it."""
        return name_address(self._address)

    @property
    def qmp_addresses(self) -> tuple[SocketAddress, ...]:
        """Where clients of the machine's monitors (QMP) connect."""
        return self._qmp

    @property
    def is_connected(self) -> bool:
        """Return whether a client is connected."""
        return self._server is not None and self._server.is_connected

    def reset(self) -> None:
        """Start again: a new guest at the same address, with an empty journal.

        Raises:
            HttpError: it is served on the standard input, which cannot be opened again.
        """
        if isinstance(self._address, Stdio):
            raise HttpError(409, "a guest on stdio cannot be reset: its client would be lost")
        self.live.reset()
        self.quirks = dict(self.live.blueprint.scenario.agent.quirks)
        self.recorder.tell("reset")

    def end(self) -> None:
        """Hang up on its client, and stop serving it; requests that wait for it get an error."""
        self._hang_up()
        self.live.end()
        super().end()

    # -- being served ----------------------------------------------------------------------------

    def _call(self, function: Callable[[], Any], _patience: float | None) -> Any:
        try:
            return function()
        finally:
            if self._server is not None:
                self._server.poke()

    def _serve(self, simulation: Simulation) -> str:
        self._hang_up()
        server = Server(simulation, self._address, qmp=self._qmp)
        server.listen()
        # A port that was free is its own from now on.
        self._address, self._qmp = server.address, tuple(server.qmp_addresses)
        self._server, self._scope = server, trio.CancelScope()
        journal = simulation.journal
        assert isinstance(journal, Journal)
        self.recorder.follow(journal)
        self._guests.on_made(self.name, server)
        self._guests.nursery.start_soon(self._run, self._scope, server)
        return getattr(self._address, "path", str(self._address))

    async def _run(self, scope: trio.CancelScope, server: Server) -> None:
        with scope:
            try:
                await server.serve()
            except Exception as error:  # noqa: BLE001
                server.fail("the server", error)
            if isinstance(server.address, Stdio):
                self._guests.on_end()

    def _hang_up(self) -> None:
        if self._server is not None:
            self._scope.cancel()
            self._server.close()
            self._server = None


class Guests:
    """All guests of a process.

    Args:
        nursery: where they are served.
        feed: what happens to them goes there.
        directory: of the sockets of those that are created without an address.
        on_made: called with the name and the server of each that is made, before it is served.
        on_end: called when the process is to end: the client on the standard input has left, or
            one of the API has asked for it.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        feed: Feed,
        directory: str,
        on_made: Callable[[str, Server], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.nursery = nursery
        self.feed = feed
        self.on_made = on_made
        self.on_end = on_end
        self.by_name: dict[str, ControlledGuest] = {}
        #: The names of guests that other processes serve.
        self.elsewhere: set[str] = set()
        self._directory = directory
        self._count = 0

    def get(self, name: str) -> ControlledGuest:
        """Return the guest called *name*.

        Raises:
            HttpError: there is none.
        """
        found = self.by_name.get(name)
        if found is None:
            text = f"there is no guest '{name[:100]}'{did_you_mean(name, self.by_name)}"
            raise HttpError(404, text)
        return found

    def add(self, name: str | None, start: Start) -> ControlledGuest:
        """Make a guest and serve it.

        Args:
            name: what it is called; None: it is numbered.
            start: what it is made of, and where it is served.

        Raises:
            HttpError: there is one of this name, or there are too many.
            ListenError: the address cannot be listened on.
            ScenarioError: it cannot be made.
        """
        if name is None:
            name = self._number()
        if name in self.by_name or name in self.elsewhere:
            raise HttpError(409, f"there is a guest '{name}' already")
        if len(self.by_name) >= GUEST_LIMIT:
            raise HttpError(409, f"there are {GUEST_LIMIT} guests already")
        address = start.address or UnixAddress(f"{self._directory}/{name}.sock")
        try:
            made = ServedGuest(name, start, address, self)
        except OSError as error:
            text = f"{len(self.by_name)} guests are served, each needs a socket"
            raise ListenError(
                f"{address}: {error.strerror}: {text} (`ulimit -n` says how many there may be)"
            ) from None
        self.by_name[name] = made
        made.recorder.tell("created")
        return made

    def adopt(
        self,
        name: str,
        live: LiveGuest,
        addresses: tuple[str, tuple[SocketAddress, ...]],
        is_connected: Callable[[], bool],
    ) -> AdoptedGuest:
        """Control a guest that something else serves; see `AdoptedGuest`. Its name is made unique."""
        unique, number = name, 1
        while unique in self.by_name:
            number += 1
            unique = f"{name}-{number}"
        made = AdoptedGuest(unique, live, addresses, is_connected, self.feed)
        self.by_name[unique] = made
        made.recorder.tell("created")
        return made

    def _number(self) -> str:
        while True:
            self._count += 1
            name = f"guest-{self._count}"
            if name not in self.by_name and name not in self.elsewhere:
                return name

    def delete(self, name: str) -> None:
        """Serve a guest no more.

        Raises:
            HttpError: there is none of this name (404), or something else serves it (409).
        """
        guest = self.get(name)
        if isinstance(guest, AdoptedGuest):
            raise HttpError(
                409, f"only what serves this guest can end it: {AdoptedGuest.SERVED_BY}"
            )
        self.release(guest)

    def release(self, guest: ControlledGuest) -> None:
        """Control a guest no more; one that control serves ends with that."""
        guest.end()
        del self.by_name[guest.name]

    def close(self) -> None:
        """Serve no guest any more."""
        for guest in list(self.by_name.values()):
            guest.end()
        self.by_name.clear()


def make_blueprint(
    scenario: str | dict[str, Any], release: str | None, seed: int | None
) -> Blueprint:
    """Return what a guest is made of; one that was asked for before is not made again.

    Args:
        scenario: the name of one that comes with qgasim, YAML of several lines, or what JSON says.
        release: of the agent, if it is to be another.
        seed: if it is to be another.

    Raises:
        ScenarioError: it is wrong.
    """
    return _make_blueprint(msgspec.json.encode([scenario, release, seed]))


@lru_cache(maxsize=64)
def _make_blueprint(text: bytes) -> Blueprint:
    said, release, seed = msgspec.json.decode(text)
    scenario = load_sealed(said, "scenario")
    if scenario.fleet:
        raise ScenarioError("scenario: a fleet is several guests (create them one by one)")
    if release is not None:
        scenario.agent.release = release
    if seed is not None:
        scenario.seed = seed
    return Blueprint(scenario)
