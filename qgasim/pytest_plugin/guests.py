"""The guests of tests: made when a test asks, ended and judged when it is over."""

import contextlib
import errno
import os
import re
import shutil
import warnings
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from msgspec import Struct

from qgasim.errors import LeftBehindWarning, ListenError, ScenarioError, ServerError
from qgasim.findings import Finding, find
from qgasim.guest.system.clock import SteeredClock
from qgasim.pytest_plugin.markers import MARKER, GuestRequest, check_marker, make_wish, node_of
from qgasim.scenario import Blueprint, loads
from qgasim.serving.listen import make_directory
from qgasim.serving.server import Server, qmp_beside
from qgasim.serving.threads import PATIENCE, ServerThreadPool
from qgasim.simulation.simulation import Simulation
from qgasim.testing.live import LiveGuest
from qgasim.testing.trio_guest import TrioGuest

if TYPE_CHECKING:
    from qgasim.http.access import Access
    from qgasim.pytest_plugin.control import RunControl

__all__ = ["FOUND", "LENT", "GuestLease", "Guests", "lend_in_nursery"]

#: The title of the section with what clients should not have done.
FOUND: Final = "qgasim findings"
#: How often is looked whether the server has noticed that a client has left, which a busy agent does
#: not.
NOTICING: Final = 20


class GuestLease(Struct):
    """A guest that a test has."""

    live: LiveGuest
    wish: GuestRequest


#: What a test has, or a session.
LENT: Final = pytest.StashKey[list[GuestLease]]()


@lru_cache(maxsize=256)
def _blueprint(text: str) -> Blueprint:
    """Make a blueprint of a scenario's text, once for all tests that want the same.

    Raises:
        ScenarioError: it is wrong; places in *text* are left out, as the user has not written it.
    """
    try:
        return Blueprint(loads(text, MARKER))
    except ScenarioError as error:
        found = re.sub(
            rf"^{re.escape(MARKER)}:\d+:\d+:", f"{MARKER}:", str(error), flags=re.MULTILINE
        )
        raise ScenarioError(found) from None


class Guests:
    """The guests of a test session: one thread, one directory of sockets.

    *access*: where they can be controlled from outside; None: nowhere.
    """

    def __init__(self, access: "Access | None" = None) -> None:
        self._access = access
        self._control: RunControl | None = None
        self._pools: list[ServerThreadPool] = []
        self._directory = make_directory("qga-")
        self._owner = os.getpid()
        self._count = 0
        #: The server of each guest: one at a time.
        self._servers: dict[LiveGuest, list[tuple[ServerThreadPool, Server]]] = {}
        #: The guest of `qga_session`, if there is one.
        self.of_session: GuestLease | None = None

    def close(self) -> None:
        """Stop serving; a process that a test has forked leaves that to its parent."""
        if os.getpid() == self._owner:
            for pool in self._pools:
                pool.close()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _pool(self) -> ServerThreadPool:
        """Return the thread that serves; another one if the last is busy, or has ended."""
        if not self._pools or not self._pools[-1].is_there:
            self._pools.append(ServerThreadPool())
        return self._pools[-1]

    @contextlib.contextmanager
    def lend(
        self, request: pytest.FixtureRequest, wish: GuestRequest
    ) -> Generator[Callable[..., LiveGuest]]:
        """Yield what makes guests for a test, or for the session; they end with it."""
        node = node_of(request)
        is_session = request.scope == "session"
        beside = None if is_session else request.path
        made: list[GuestLease] = []

        def make(
            make_blueprint: Callable[[str], Blueprint] = _blueprint, /, **wanted: Any
        ) -> LiveGuest:
            own = wish
            if wanted:
                check_marker("qgasim", (), wanted, beside)
                own = make_wish(wanted, beside=beside, base=wish)
            name = "session" if is_session else node.name
            lent = GuestLease(self._make(own, name, make_blueprint), own)
            made.append(lent)
            node.stash.setdefault(LENT, []).append(lent)
            if is_session:
                self.of_session = lent
            return lent.live

        try:
            yield make
        finally:
            if os.getpid() == self._owner:
                left = [text for lent in made for text in self._end(lent.live)]
                if not is_session:
                    failed = [error for lent in made if (error := lent.live.failure) is not None]
                    judge(node, made, left, failed)

    def _adopt(self, name: str, live: LiveGuest, pool: ServerThreadPool, server: Server) -> None:
        """Let a guest be controlled from outside, if that is wanted."""
        if self._access is None:
            return
        if self._control is None:
            from qgasim.pytest_plugin.control import RunControl  # noqa: PLC0415 - most runs have none

            self._control = RunControl(self._access, pool, self._directory)
        self._control.adopt(name, live, pool, server)

    def _make(
        self, wish: GuestRequest, name: str, make_blueprint: Callable[[str], Blueprint]
    ) -> LiveGuest:
        __tracebackhide__ = True
        blueprint = make_blueprint(wish.to_text())
        self._count += 1
        path = f"{self._directory}/{self._count}"
        servers: list[tuple[ServerThreadPool, Server]] = []

        def serve(simulation: Simulation) -> str:
            if servers:
                pool, server = servers.pop()
                pool.stop(server)
            pool = self._pool()
            try:
                qmp = qmp_beside(simulation, path)
                servers.append((pool, pool.serve(simulation, path, qmp)))
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                text = f"{len(self._servers)} guests are served, each needs a socket"
                raise ListenError(f"{error.strerror}: {text} (`ulimit -n` says how many)") from None
            return path

        def call(function: Callable[[], Any], patience: float | None = None) -> Any:
            pool, server = servers[0]
            return pool.call(server, function, patience)

        live = LiveGuest(blueprint, SteeredClock, call, serve)
        self._servers[live] = servers
        self._adopt(name, live, *servers[0])
        return live

    def _end(self, live: LiveGuest) -> list[str]:
        """Stop serving a guest; tell what was left."""
        if self._control is not None:
            self._control.release(live)
        ((pool, server),) = self._servers.pop(live)
        left: list[str] = []
        try:
            for _ in range(NOTICING):
                if not pool.call(server, lambda: server.is_being_left, PATIENCE):
                    break
            clients = pool.call(server, server.last_clients, PATIENCE)
        except ServerError as error:
            left.append(f"{live.socket_path}: {error}")
        else:
            left += [f"{live.socket_path}: {client} is still connected" for client in clients]
        if not pool.stop(server) and not left:
            left.append(f"{live.socket_path}: the guest did not end")
        live.end(pool.failure(server))
        return left

    def reset_of_session(self, item: pytest.Item) -> None:
        """Judge what a test has done with the session's guest, and let the next find it as at first."""
        lent = self.of_session
        if lent is None or os.getpid() != self._owner:
            return
        failure, found = lent.live.failure, find(lent.live.journal)
        if lent.live in self._servers:
            ((pool, server),) = self._servers[lent.live]
            lent.live.reset()
            self._adopt("session", lent.live, *self._servers[lent.live][0])
            failure = pool.failure(server)
        else:
            self.of_session = None
        if failure is not None:
            raise failure
        judge_found(item, [(lent.wish, found)])


def judge(
    node: Any, made: Iterable[GuestLease], left: list[str], failed: Iterable[BaseException] = ()
) -> None:
    """Report what was left behind and found; fail the test if it asks for that."""
    if left:
        text = "left behind by the test: " + "; ".join(left)
        if isinstance(node, pytest.Item):
            node.add_report_section("teardown", "qgasim left", "\n".join(left))
        warnings.warn(LeftBehindWarning(text), stacklevel=2)
    for error in failed:
        raise error
    judge_found(node, [(lent.wish, find(lent.live.journal)) for lent in made])


def judge_found(node: Any, made: Iterable[tuple[GuestRequest, list[Finding]]]) -> None:
    """Report what clients should not have done; fail the test if it asks for that."""
    shown = [(wish, finding) for wish, found in made for finding in found if wish.findings != "off"]
    if any(wish.findings == "error" for wish, _ in shown):
        # The first line is all that a summary shows.
        text = "\n\n".join(str(finding) for wish, finding in shown if wish.findings == "error")
        pytest.fail(text, pytrace=False)
    if shown and isinstance(node, pytest.Item):
        text = "\n\n".join(str(finding) for _, finding in shown)
        node.add_report_section("teardown", FOUND, text)


@contextlib.asynccontextmanager
async def lend_in_nursery(
    request: pytest.FixtureRequest, wish: GuestRequest, nursery: trio.Nursery
) -> AsyncGenerator[TrioGuest]:
    """Serve a guest in a test's own nursery, on the clock of its trio."""
    node = node_of(request)
    directory = make_directory("qga-")
    try:
        live = TrioGuest(_blueprint(wish.to_text()), nursery, f"{directory}/s")
        lent = GuestLease(live, wish)
        node.stash.setdefault(LENT, []).append(lent)
        try:
            yield live
        finally:
            clients = live.server.last_clients()
            live.end()
        left = [f"{live.socket_path}: {client} is still connected" for client in clients]
        judge(node, [lent], left)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
