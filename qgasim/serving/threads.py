"""Guests served in a thread of their own, for clients that do not use trio.

`ServerThreadPool` is one thread for any number of guests, `ServerThread` serves one guest.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self, TypeVar

import trio

from qgasim.errors import ServerError
from qgasim.serving.listen import Address, SocketAddress, UnixAddress
from qgasim.serving.server import Server
from qgasim.simulation.simulation import Simulation

__all__ = ["PATIENCE", "ServerThread", "ServerThreadPool"]

T = TypeVar("T")
#: How long to wait for something to end that has been told to, in seconds.
PATIENCE: Final = 1.0


class ServerThreadPool:
    """A pool of servers in one thread; a context manager.

    A guest that fails, by a bug or by code that a test has given it, ends alone: the others go on. The
    first such error is raised at the end of the context, as is the first that a guest's agent has answered
    in place of its client's request.

    Args:
        is_strict: whether errors that were answered are raised.
        tells_waiting: whether observers are told of clients that wait.
    """

    def __init__(self, *, is_strict: bool = True, tells_waiting: bool = False) -> None:
        self._is_strict = is_strict
        self._tells_waiting = tells_waiting
        self._ready = threading.Event()
        self._error: BaseException | None = None
        #: What ended the servers that failed.
        self._failed: dict[Server, Exception] = {}
        self._ended: dict[Server, threading.Event] = {}
        self._scopes: dict[Server, trio.CancelScope] = {}
        self._is_stuck = False
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="qgasim", daemon=True)
        self._thread.start()
        self._ready.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        servers = list(self._ended)
        self.close()
        failures = [server.simulation.agent.failure for server in servers if self._is_strict]
        found = next((one for one in [self._error, *failures] if one is not None), None)
        if found is not None and error is None:
            raise found

    def serve(
        self,
        simulation: Simulation,
        address: Address | str | os.PathLike[str],
        qmp: Iterable[SocketAddress] = (),
    ) -> Server:
        """Serve a guest until `stop` is called; *qmp*: where its machine's monitors are.

        Raises:
            ListenError: the address cannot be listened on.
            ServerError: the thread has ended.
            TypeError: *simulation* is no simulation.
        """
        _check_simulation(simulation)
        if isinstance(address, os.PathLike):
            address = os.fspath(address)
        server = Server(simulation, address, qmp=qmp)
        server.tells_waiting = self._tells_waiting
        self._ended[server] = threading.Event()

        def start() -> None:
            server.listen()
            self._nursery.start_soon(self._serve, server)

        try:
            self._do(start)
        except BaseException:
            del self._ended[server]
            raise
        return server

    def start(self, function: Callable[[trio.Nursery], T]) -> T:
        """Call *function* in this thread, with the nursery of its servers, and return its result.

        What it starts there ends with the pool; its failure is that of all servers.

        Raises:
            ServerError: the thread has ended.
        """
        return self._do(lambda: function(self._nursery))

    def call(self, server: Server, function: Callable[[], T], patience: float | None = None) -> T:
        """Call *function* in this thread, between two requests to *server*'s guest; return its result.

        Args:
            server: of the guest that the call is about.
            function: what it raises is raised here.
            patience: how long to wait for it, in seconds; None: for ever.

        Raises:
            ServerError: the thread has ended, or was busy for longer.
        """
        __tracebackhide__ = True

        def call_and_poke() -> T:
            try:
                return server.simulation.guest.guarded(function)
            finally:
                server.poke()

        return self._do(call_and_poke, patience)

    def failure(self, server: Server) -> Exception | None:
        """Return, after `stop`, the first error that qgasim made while it served, or that ended a server."""
        return self._failed.pop(server, None) or server.simulation.agent.failure

    def stop(self, server: Server) -> bool:
        """Stop serving a guest; return whether that was done in a second."""
        ended = self._ended.pop(server)
        if not self._is_ours:
            return True
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._cancel, server)
            # Once is enough to wait for a thread that does not come back.
            self._is_stuck |= not ended.wait(0 if self._is_stuck else PATIENCE)
            return not self._is_stuck
        return True

    def close(self) -> bool:
        """Stop serving all guests, and end the thread; return whether that was done in a second."""
        if not self._is_ours:
            return True
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(0 if self._is_stuck else PATIENCE)
        return not self._thread.is_alive()

    @property
    def is_there(self) -> bool:
        """Return whether more guests can be served."""
        return self._is_ours and not self._is_stuck and self._thread.is_alive()

    @property
    def _is_ours(self) -> bool:
        """Return whether this process has the thread: a fork takes only the one that forks along."""
        return os.getpid() == self._owner

    def _do(self, function: Callable[[], T], patience: float | None = None) -> T:
        __tracebackhide__ = True
        if threading.get_ident() == self._thread.ident:
            return function()
        if not self._is_ours:
            raise ServerError(
                "this process was forked: its guests are served by the process that it comes from "
                "(connect to the socket instead)"
            )
        # Not trio.from_thread: that refuses to be called from the thread of another trio.
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        try:
            self._token.run_sync_soon(do)
        except trio.RunFinishedError:
            raise ServerError("the thread that served the guest has ended") from self._error
        try:
            error = done.exception(patience)
        except TimeoutError:
            self._is_stuck = True
            raise ServerError(f"the thread that serves it was busy for {patience:g} s") from None
        if error is not None:
            raise error
        return done.result()

    def _cancel(self, server: Server) -> None:
        if server in self._scopes:
            self._scopes[server].cancel()

    async def _serve(self, server: Server) -> None:
        ended = self._ended[server]
        try:
            with trio.CancelScope() as self._scopes[server]:
                await server.serve()
        except Exception as error:  # noqa: BLE001
            self._error = self._error or error
            self._failed[server] = error
        finally:
            del self._scopes[server]
            ended.set()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001
            self._error = self._error or error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self._scope = self._nursery.cancel_scope
            self._ready.set()
            await trio.sleep_forever()


def _check_simulation(simulation: object) -> None:
    if not isinstance(simulation, Simulation):
        found = type(simulation).__name__
        raise TypeError(f"expected a simulation, as Scenario.build() gives, found a {found}")


class ServerThread:
    """A guest that is served in a thread of its own.

    A context manager; what goes wrong in the server is raised at its end.
    """

    def __init__(self, simulation: Simulation, address: Address | str | os.PathLike[str]) -> None:
        self.simulation = simulation
        self._address = address
        self._pool: ServerThreadPool | None = None
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self._pool = ServerThreadPool()
        try:
            self._server = self._pool.serve(self.simulation, self._address)
        except BaseException:
            self._pool.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._pool
        self._pool.__exit__(kind, error, traceback)

    @property
    def address(self) -> Address:
        """Where clients connect."""
        return self._served()[1].address

    @property
    def path(self) -> str:
        """The path of the unix socket."""
        address = self.address
        if not isinstance(address, UnixAddress):
            raise ServerError(f"{address}: there is no path (`address` says where it is served)")
        return address.path

    def call(self, function: Callable[[], T]) -> T:
        """Call *function* in the server's thread, between two requests."""
        pool, server = self._served()
        return pool.call(server, function)

    def _served(self) -> tuple[ServerThreadPool, Server]:
        if self._pool is None or self._server is None:
            raise ServerError("the guest is served only within the block of `with thread:`")
        return self._pool, self._server
