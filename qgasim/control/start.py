"""Start control: the guests that were named at the start, and the API beside them."""

import os
import sys
from collections.abc import Callable, Mapping

import trio

from qgasim.control.api import ROUTES
from qgasim.control.control import Control
from qgasim.control.feed import Feed
from qgasim.control.guests import ControlledGuest, Guests, Start
from qgasim.control.language import Language
from qgasim.http.access import Access
from qgasim.http.routes import Table
from qgasim.http.server import HttpServer
from qgasim.http.service import Service
from qgasim.serving.foreground import run_until_signal, settle_memory
from qgasim.serving.listen import TcpAddress, UnixAddress
from qgasim.serving.server import Server

__all__ = ["make_server", "run", "serve_control", "tell_failure"]


def make_server(
    guests: Guests, access: Access, on_failure: Callable[[Exception], None]
) -> HttpServer:
    """Return the server of the API."""
    control = Control(guests, access.token)
    service = Service(control, Table(ROUTES), access, Language(), on_failure)
    service.forwarding = control.remotes.forwarding
    return HttpServer(access.address, service)


async def serve_control(
    guests: Guests,
    access: Access,
    on_failure: Callable[[Exception], None],
    *,
    task_status: trio.TaskStatus[UnixAddress | TcpAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API until cancelled; for `nursery.start`, which returns the address.

    Raises:
        ListenError: the address cannot be listened on.
    """
    server = make_server(guests, access, on_failure)
    server.listen()
    task_status.started(server.address)
    await server.serve()


def run(
    starts: Mapping[str, Start],
    access: Access,
    directory: str,
    on_made: Callable[[str, Server], None],
    on_ready: Callable[[Mapping[str, ControlledGuest], UnixAddress | TcpAddress], None],
    *,
    ends_with_parent: bool = False,
) -> None:
    """Serve guests and the API until a signal.

    Args:
        starts: the guests that are served from the start, by name.
        access: where the API is served, and its access rules.
        directory: of the sockets of guests that are created without an address.
        on_made: called with the name and the server of each guest that is made, before it is served.
        on_ready: called when clients can connect, with the guests and the address of the API.
        ends_with_parent: end also when the process that started this one has ended.
    """

    async def main(nursery: trio.Nursery) -> None:
        feed = Feed(os.urandom(4).hex())
        guests = Guests(nursery, feed, directory, on_made, nursery.cancel_scope.cancel)
        try:
            for name, start in starts.items():
                guests.add(name, start)
            address = await nursery.start(serve_control, guests, access, tell_failure)
            settle_memory()
            on_ready(guests.by_name, address)
            await trio.sleep_forever()
        finally:
            guests.close()

    run_until_signal(main, ends_with_parent=ends_with_parent)


def tell_failure(error: Exception) -> None:
    """Report on standard error that a request has met with a bug of qgasim."""
    if sys.stderr is not None:
        text = f"qgasim: a request to the control API failed: {error!r:.500} (please report it)\n"
        try:
            sys.stderr.write(text)
        except OSError:
            return
