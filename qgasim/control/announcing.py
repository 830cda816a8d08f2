"""Announce a guest that this process serves to the control API of another, which steers and watches it."""

import os
import shutil
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from qgasim.control.feed import Feed
from qgasim.control.guests import AdoptedGuest, Guests
from qgasim.control.start import make_server, tell_failure
from qgasim.errors import QgaSimError
from qgasim.http.access import Access
from qgasim.http.client import ask
from qgasim.http.routes import Answer, Request
from qgasim.serving.listen import (
    SocketAddress,
    TcpAddress,
    UnixAddress,
    make_directory,
    name_address,
    parse_address,
)
from qgasim.testing.live import LiveGuest

__all__ = ["Announcement"]

#: How long the other process may take to answer, in seconds.
PATIENCE: Final = 10.0
#: How long is waited until a process that is not there is tried again, in seconds.
INTERVAL: Final = 1.0
#: The status of an answer that says that this process did not answer.
_NOT_REACHED: Final = 424


class _Absent(QgaSimError):
    """The other process is not there, or does not answer."""


class Announcement:
    """A guest, and the control API at which it is announced.

    Args:
        control: where that is served: ``unix:PATH`` or ``tcp:[HOST:]PORT``.
        token: what it asks for, if it does.

    Raises:
        QgaSimError: the address is none.
    """

    def __init__(self, control: str, token: str | None) -> None:
        try:
            address = parse_address(control)
        except ValueError as error:
            raise QgaSimError(f"QGASIM_CONTROL: {error}") from None
        if not isinstance(address, UnixAddress | TcpAddress):
            raise QgaSimError(
                f"QGASIM_CONTROL: expected unix:PATH or tcp:[HOST:]PORT, found '{control}'"
            )
        self._control = address
        self._token = token

    def _access(self, directory: str) -> Access:
        """Return where this process is asked: in *directory*, or over TCP if the other is."""
        if isinstance(self._control, TcpAddress):
            return Access(TcpAddress("127.0.0.1", 0), self._token)
        return Access(UnixAddress(f"{directory}/control.sock"))

    async def serve(
        self,
        name: str,
        live: LiveGuest,
        addresses: tuple[str, tuple[SocketAddress, ...]],
        is_connected: Callable[[], bool],
        on_absent: Callable[[str], None],
    ) -> None:
        """Announce a guest, and answer what is asked about it, until cancelled; see `AdoptedGuest`.

        It is announced again when the other process has ended and another has begun in its place.

        Args:
            name: of the guest, there.
            live: the guest.
            addresses: of the agent, and of monitors.
            is_connected: returns whether the agent has a client.
            on_absent: called with the reason when the other process is not there at first.

        Raises:
            QgaSimError: the other process does not take it.
        """
        directory = make_directory("qgasim-")
        try:
            async with trio.open_nursery() as nursery:
                feed = Feed(os.urandom(4).hex())
                guests = Guests(nursery, feed, directory, lambda _name, _server: None)
                server = make_server(guests, self._access(directory), tell_failure)
                server.listen()
                nursery.start_soon(server.serve)
                where = name_address(server.address)

                def adopt(name: str) -> AdoptedGuest:
                    return guests.adopt(name, live, addresses, is_connected)

                await self._keep_announced(name, guests, adopt, where, on_absent)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _keep_announced(
        self,
        name: str,
        guests: Guests,
        adopt: Callable[[str], AdoptedGuest],
        where: str,
        on_absent: Callable[[str], None] | None,
    ) -> None:
        guest = adopt(name)
        while True:
            answer = await self._announce(guest.name, where, on_absent)
            on_absent = None
            if answer.status == 409 and guest.name == name:
                # An earlier process of this name is still there, or another guest has it.
                guests.release(guest)
                guest = adopt(f"{name}-{os.getpid()}")
            elif answer.status >= 500 or answer.status == _NOT_REACHED:
                # It is about to end, or could not ask back.
                await trio.sleep(INTERVAL)
            elif answer.status == 201:
                # The other process reads along as long as it is there; in the next, the name may be free.
                await guests.feed.wait_until_unread()
                if guest.name != name:
                    guests.release(guest)
                    guest = adopt(name)
            else:
                problem = answer.body.decode("utf-8", "replace")
                text = f"{name_address(self._control)}: {answer.status} {problem:.200}"
                raise QgaSimError(text)

    async def _announce(
        self, name: str, where: str, on_absent: Callable[[str], None] | None
    ) -> Answer:
        """Announce it when the other process is there; return what that answers."""
        while True:
            try:
                return await self._ask(name, where)
            except _Absent as error:
                if on_absent is not None:
                    on_absent(str(error))
                    on_absent = None
                await trio.sleep(INTERVAL)

    async def _ask(self, name: str, where: str) -> Answer:
        body = msgspec.json.encode({"name": name, "control": where})
        request = Request(
            method="POST",
            path="/v1/remotes",
            headers={"content-type": "application/json"},
            body=body,
        )
        try:
            with trio.fail_after(PATIENCE):
                answer = await ask(self._control, request, self._token)
        except OSError as error:
            text = error.strerror or str(error)
            raise _Absent(f"{name_address(self._control)}: {text}") from None
        except trio.TooSlowError:
            text = f"{name_address(self._control)}: no answer within {PATIENCE:g} s"
            raise _Absent(text) from None
        assert isinstance(answer, Answer), "it is no stream"
        return answer
