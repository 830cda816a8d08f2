"""How a guest of this process is announced to the control API of another, which may not take it at once.

The statuses are those of ``POST /v1/remotes`` (docs/control.md). Time is the test's.
"""

import json
import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio

from qgasim.control.announcing import INTERVAL, Announcement
from qgasim.errors import QgaSimError
from qgasim.guest.system.clock import SteeredClock
from qgasim.http.client import ask
from qgasim.http.routes import Answer, EventStream, Request
from qgasim.serving.listen import UnixAddress
from qgasim.testing.live import LiveGuest
from tests.serving import blueprint

pytestmark = pytest.mark.trio
OWN = f"vm1-{os.getpid()}"
#: For how long the other process reads along, in seconds.
LIFE = 60.0


class Other:
    """The other process: it answers each announcement with the next of *statuses*.

    After a 201 it reads along for a while, as if it ended then.
    """

    def __init__(self, statuses: list[int], nursery: trio.Nursery) -> None:
        self._statuses = statuses
        self._nursery = nursery
        self._began = trio.current_time()
        #: When each announcement came, in seconds, and of which guest.
        self.asked: list[tuple[float, str]] = []
        #: The guests that the announcing process had then.
        self.there: list[list[str]] = []
        self.is_done = trio.Event()

    async def answer(self, stream: trio.SocketStream) -> None:
        data = b""
        while not data.endswith(b"}"):
            data += await stream.receive_some()
        said = json.loads(data.split(b"\r\n\r\n", 1)[1])
        control = UnixAddress(said["control"].removeprefix("unix:"))
        self.asked.append((round(trio.current_time() - self._began, 3), said["name"]))
        listed = await ask(control, Request(method="GET", path="/v1/guests", headers={}))
        assert isinstance(listed, Answer)
        self.there.append([guest["name"] for guest in json.loads(listed.body)])
        status = self._statuses.pop(0)
        if status == 201:
            events = await ask(control, Request(method="GET", path="/v1/stream", headers={}))
            assert isinstance(events, EventStream)
            self._nursery.start_soon(self._read, events)
        await stream.send_all(f"HTTP/1.1 {status} x\r\nContent-Length: 4\r\n\r\noops".encode())
        if not self._statuses:
            self.is_done.set()

    async def _read(self, stream: EventStream) -> None:
        with trio.move_on_after(LIFE):
            async with aclosing(stream.events) as events:  # type: ignore[type-var]
                async for _ in events:
                    pass


@asynccontextmanager
async def announced(path: Path, statuses: list[int]) -> AsyncGenerator[Other]:
    """Announce a guest, ``vm1``, to another process, until all *statuses* have been answered."""

    def call(function: Callable[[], object], _patience: float | None) -> object:
        return function()

    live = LiveGuest(blueprint("debian-12"), SteeredClock, call, lambda _: "")
    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(str(path / "control.sock"))
        sock.listen()
        async with trio.open_nursery() as nursery:
            other = Other(statuses, nursery)
            nursery.start_soon(trio.serve_listeners, other.answer, [trio.SocketListener(sock)])
            announcement = Announcement(f"unix:{path}/control.sock", None)
            places = "unix:", ()
            absent: list[str] = []
            nursery.start_soon(
                announcement.serve, "vm1", live, places, lambda: False, absent.append
            )
            await other.is_done.wait()
            assert absent == []
            yield other
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [424, 500, 503])
async def test_it_is_tried_again_when_the_other_could_not_ask_back_or_ends(
    status: int, tmp_path: Path, autojump_clock: object
) -> None:
    async with announced(tmp_path, [status, status, 201]) as other:
        assert other.asked == [(INTERVAL * n, "vm1") for n in range(3)]


async def test_it_has_another_name_as_long_as_its_own_is_taken(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with announced(tmp_path, [409, 424, 201, 409, 201, 201]) as other:
        # Twice another process has taken the first one's place; the name is free in the last.
        assert other.asked == [
            (0, "vm1"),
            (0, OWN),
            (INTERVAL, OWN),
            (INTERVAL + LIFE, "vm1"),
            (INTERVAL + LIFE, OWN),
            (INTERVAL + 2 * LIFE, "vm1"),
        ]
        # Its own process calls it that, too, for the other asks by the name.
        assert other.there == [[name] for _, name in other.asked]


@pytest.mark.parametrize(("statuses", "status"), [([401], 401), ([409, 409], 409), ([422], 422)])
async def test_it_is_given_up_when_it_is_refused(
    statuses: list[int], status: int, tmp_path: Path
) -> None:
    words = re.escape(f"unix:{tmp_path}/control.sock: {status} oops")
    with pytest.RaisesGroup(
        pytest.RaisesExc(QgaSimError, match=f"^{words}$"), flatten_subgroups=True
    ):
        async with announced(tmp_path, statuses):
            await trio.sleep_forever()
