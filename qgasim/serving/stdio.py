"""A stream served as a client is: the standard input and output, or what can be copied like them."""

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

from qgasim.serving.endpoint import Driver
from qgasim.serving.listen import Stdio
from qgasim.serving.sockets import RECEIVE_SIZE

__all__ = ["StdioEndpoint", "serve_stream"]


class StdioEndpoint:
    """The standard input and output: the endpoint of a server with one client."""

    address = Stdio()

    def open(self) -> None:
        """Do nothing: they are open."""

    def close(self) -> None:
        """Do nothing: they stay open."""

    def accept_waiting(self) -> list[socket.socket]:
        """Return no clients: there is only the one that is served."""
        return []

    async def until_client_waits(self) -> None:
        """Return never: nothing here asks for it."""
        await trio.sleep_forever()

    async def serve(self, driver: Driver) -> None:
        """Serve what comes from the standard input, until it ends."""
        await serve_stream(driver, _copy_input, _copy_output)


class CopyOutput(Protocol):
    """Copies what a stream gives to somewhere else."""

    def __call__(self, stream: trio.SocketStream, *, piece: int) -> Awaitable[None]:
        """Write all that *stream* gives, *piece* bytes at a time."""
        ...


async def serve_stream(
    driver: Driver,
    copy_input: Callable[[trio.SocketStream], Awaitable[None]],
    copy_output: "CopyOutput",
) -> None:
    """Serve what *copy_input* writes to a stream, until it ends or the channel hangs up.

    Args:
        driver: the server.
        copy_input: writes what the client sends to the stream that it is given.
        copy_output: reads what the client is to get from the same stream, and writes it in pieces of the
            size that it is given.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    other_end = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    async with other_end, trio.open_nursery() as nursery:
        write_out = partial(copy_output, piece=driver.channel.write_size)
        nursery.start_soon(_while_open, write_out, other_end)
        async with trio.open_nursery() as reading:
            reading.start_soon(_while_open, copy_input, other_end)
            with ours:
                await driver.converse(ours, is_stream=True)
            reading.cancel_scope.cancel()


async def _while_open(
    copy: Callable[[trio.SocketStream], Awaitable[None]], stream: trio.SocketStream
) -> None:
    # The other end may be closed with something unread in it, or with this end's other task.
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        try:
            await copy(stream)
        except OSError:
            await stream.aclose()  # The program that gave the stream has left.


async def _copy_input(stream: trio.SocketStream) -> None:
    # In a thread: the standard input may be a file, or shared with a program that needs it to block.
    while data := await trio.to_thread.run_sync(os.read, 0, RECEIVE_SIZE, abandon_on_cancel=True):
        await stream.send_all(data)
    await stream.send_eof()


async def _copy_output(stream: trio.SocketStream, *, piece: int) -> None:
    async for data in stream:
        await trio.to_thread.run_sync(_write_out, data, piece, abandon_on_cancel=True)


def _write_out(data: bytes | bytearray, piece: int) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view[:piece]) :]
