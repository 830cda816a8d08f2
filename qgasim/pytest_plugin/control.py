"""The control API for the guests of a test run: ``--qgasim-control``."""

import os

import trio

from qgasim.control.feed import Feed
from qgasim.control.guests import AdoptedGuest, Guests
from qgasim.control.start import make_server, tell_failure
from qgasim.errors import QgaSimError
from qgasim.http.access import Access
from qgasim.serving.listen import TcpAddress, UnixAddress, parse_address
from qgasim.serving.server import Server
from qgasim.serving.threads import ServerThreadPool
from qgasim.testing.live import LiveGuest

__all__ = ["RunControl", "read_access"]

_OPTION = "--qgasim-control"


def read_access(text: str, worker: str | None = None) -> Access:
    """Return where the API is served, and its access rules.

    Args:
        text: ``unix:PATH`` or ``tcp:[HOST:]PORT``.
        worker: of xdist: each has an API of its own, whose path ends in its name.

    Raises:
        QgaSimError: it is none, or can be reached from other machines.
    """
    try:
        address = parse_address(text)
    except ValueError as error:
        raise QgaSimError(f"{_OPTION}: {error}") from None
    if not isinstance(address, UnixAddress | TcpAddress):
        raise QgaSimError(f"{_OPTION}: expected unix:PATH or tcp:[HOST:]PORT, found '{text}'")
    if worker is not None:
        if isinstance(address, TcpAddress):
            raise QgaSimError(f"{_OPTION}: each worker of xdist needs its own (give unix:PATH)")
        address = UnixAddress(f"{address.path}.{worker}")
    return Access(address)


class RunControl:
    """The control API for the guests that one thread serves.

    Args:
        access: where it is served.
        pool: the thread.
        directory: of the sockets of guests that its clients create.

    Raises:
        ListenError: the address cannot be listened on.
    """

    def __init__(self, access: Access, pool: ServerThreadPool, directory: str) -> None:
        self._pool = pool
        self._adopted: dict[LiveGuest, AdoptedGuest] = {}

        def start(nursery: trio.Nursery) -> Guests:
            guests = Guests(
                nursery, Feed(os.urandom(4).hex()), directory, lambda _name, _server: None
            )
            server = make_server(guests, access, tell_failure)
            server.listen()
            nursery.start_soon(server.serve)
            return guests

        self._guests: Guests = pool.start(start)

    def adopt(self, name: str, live: LiveGuest, pool: ServerThreadPool, server: Server) -> None:
        """Control a guest that *server* serves; one of another thread is left out.

        A guest that is known already was made anew.
        """
        if pool is not self._pool:
            return

        def do(_nursery: trio.Nursery) -> None:
            known = self._adopted.pop(live, None)
            if known is not None:
                self._guests.release(known)
            places = f"unix:{live.socket_path}", tuple(server.qmp_addresses)
            self._adopted[live] = self._guests.adopt(
                name, live, places, lambda: server.is_connected
            )

        pool.start(do)

    def release(self, live: LiveGuest) -> None:
        """Control a guest no more: its test is over."""
        known = self._adopted.pop(live, None)
        if known is not None and self._pool.is_there:
            self._pool.start(lambda _nursery: self._guests.release(known))
