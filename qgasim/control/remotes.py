"""Guests that other processes serve, and that have announced themselves: all that is asked about them is passed on.

Such a guest is known as long as its stream of events is open: a process that ends takes its guest along.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct

from qgasim.control.feed import Record, Told
from qgasim.control.guests import Guests
from qgasim.http.client import ask
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer, EventStream, Request
from qgasim.serving.listen import TcpAddress, UnixAddress

__all__ = ["Remote", "Remotes"]

#: How long another process may take to say how its guest is, in seconds.
PATIENCE: Final = 5.0
#: The longest event that is read.
EVENT_LIMIT: Final = 32 << 20


class Remote(Struct, frozen=True):
    """A guest that another process serves."""

    name: str
    #: The address of that process's control API, where the guest has the same name.
    address: UnixAddress | TcpAddress

    @property
    def path(self) -> str:
        """The guest's path there."""
        return f"/v1/guests/{quote(self.name, safe='')}"


class Remotes:
    """All guests that other processes serve.

    Args:
        guests: those of this process.
        token: what other processes ask for, if they listen on TCP.
    """

    def __init__(self, guests: Guests, token: str | None) -> None:
        self._guests = guests
        self._token = token
        self.by_name: dict[str, Remote] = {}

    async def attach(self, remote: Remote) -> None:
        """Register a guest, until it ends.

        Raises:
            HttpError: there is one of this name (409), or its process does not answer (424).
        """
        self._check(remote.name)
        request = Request(
            method="GET", path=f"{remote.path}/journal/stream", query="lines=true", headers={}
        )
        answer = await self._ask(remote, request)
        if isinstance(answer, Answer):
            raise HttpError(424, f"{remote.address}: there is no guest '{remote.name[:100]}'")
        self._check(remote.name)
        self.by_name[remote.name] = remote
        self._guests.elsewhere.add(remote.name)
        self._guests.feed.add(Record("created", remote.name, 0, None))
        self._guests.nursery.start_soon(self._follow, remote, answer)

    def _check(self, name: str) -> None:
        if name in self.by_name or name in self._guests.by_name:
            raise HttpError(409, f"there is a guest '{name[:100]}' already")

    async def _ask(self, remote: Remote, request: Request) -> Answer | EventStream:
        try:
            return await ask(remote.address, request, self._token)
        except OSError as error:
            raise HttpError(424, f"{remote.address}: {error.strerror or error}") from None

    async def _follow(self, remote: Remote, stream: EventStream) -> None:
        """Put into the feed what happens to a guest, until its process ends."""
        feed = self._guests.feed
        try:
            async with contextlib.aclosing(stream.events):  # type: ignore[type-var]
                async for kind, size, said in _events(stream.events):
                    number = said.pop("number", 0)
                    said.pop("guest", None)
                    if kind in ("entry", "update"):
                        told = Told({"number": number, **said}, size)
                        feed.add(Record(kind, remote.name, number, told))
                    elif kind in ("reset", "patched"):
                        feed.add(Record(kind, remote.name, 0, None))
        finally:
            del self.by_name[remote.name]
            self._guests.elsewhere.discard(remote.name)
            feed.add(Record("deleted", remote.name, 0, None))

    def forwarding(
        self, name: str | None, request: Request
    ) -> Callable[[], Awaitable[Answer | EventStream]] | None:
        """Return what passes a request about a guest on; None: the guest is not elsewhere."""
        remote = self.by_name.get(name or "")
        return None if remote is None else lambda: self._ask(remote, request)

    async def describe(self) -> list[bytes]:
        """Return what the process of each says of its guest, as JSON; those that do not answer are left out."""
        found: dict[str, bytes] = {}

        async def look(remote: Remote) -> None:
            request = Request(method="GET", path=remote.path, headers={})
            with trio.move_on_after(PATIENCE), contextlib.suppress(HttpError):
                answer = await self._ask(remote, request)
                if isinstance(answer, Answer) and answer.status == 200:
                    found[remote.name] = answer.body

        async with trio.open_nursery() as nursery:
            for remote in self.by_name.values():
                nursery.start_soon(look, remote)
        return [found[name] for name in self.by_name if name in found]


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[Any, int, dict[str, Any]]]:
    """Yield server-sent events: the kind, the size and the members of each. What is too long ends it."""
    data = b""
    async for chunk in chunks:
        data += chunk
        *events, data = data.split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
            if b"data" in fields:
                said = msgspec.json.decode(fields[b"data"])
                yield fields.get(b"event", b"").decode(), len(event), said
        if len(data) > EVENT_LIMIT:
            return
