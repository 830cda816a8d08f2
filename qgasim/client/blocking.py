"""A small client that does the handshake right.

Before the first command it clears the channel: 0xFF ends whatever half request lies there, and
guest-sync-delimited marks where the answers to its own requests begin.
"""

import json
import os
import random
import select
import time
from types import TracebackType
from typing import Any, Final, Self, cast

from qgasim.client.connecting import QUEUE_IS_FULL, UNREAD, AgentAddress, connect, is_unread
from qgasim.errors import ClientError
from qgasim.serving.listen import UnixAddress

__all__ = [
    "QUEUE_IS_FULL",
    "SENTINEL",
    "Lines",
    "SyncClient",
    "is_sync",
    "make_request",
    "make_sync",
    "parse",
    "read_reply",
    "unwrap",
]

SENTINEL: Final = b"\xff"
#: How much is shown of what is no reply.
_SHOWN: Final = 80


class Lines:
    """What has come in, line by line."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Take what has come."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next line without its end; None if it is not complete."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line


def make_request(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make a request; underscores in the names of *arguments* stand for hyphens."""
    message: dict[str, Any] = {"execute": command}
    if arguments:
        message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
    return message


def make_sync() -> tuple[int, bytes]:
    """Return a number, and what is sent to have it back in a clear channel."""
    number = random.SystemRandom().randrange(1 << 31)
    request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    return number, SENTINEL + json.dumps(request).encode() + b"\n"


def is_sync(line: bytes, number: int) -> bool:
    """Return whether a line is the answer to `make_sync`: all before it answers earlier requests."""
    _, mark, reply = line.rpartition(SENTINEL)
    return bool(mark) and parse(reply).get("return") == number


def unwrap(reply: dict[str, Any]) -> Any:
    """Return what a reply returns.

    Raises:
        ClientError: it is an error, or no reply at all.
    """
    if "error" in reply:
        error = reply["error"]
        if isinstance(error, dict):
            error = cast("dict[str, Any]", error)
            error = f"{error.get('class')}: {error.get('desc')}"
        raise ClientError(str(error))
    if "return" not in reply:
        raise ClientError(f"not a reply: {reply}")
    return reply["return"]


class SyncClient:
    """A blocking client of an agent; a context manager.

    Args:
        path: the unix socket of an agent, or the address of one elsewhere.
        timeout: seconds to wait for each answer.

    Raises:
        ClientError: there is no agent, or it does not answer; and from `call`, an error reply.
    """

    def __init__(self, path: str | os.PathLike[str] | AgentAddress, timeout: float = 5.0) -> None:
        address = path if isinstance(path, AgentAddress) else UnixAddress(os.fspath(path))
        self.path = str(address)
        self.timeout = timeout
        self._lines = Lines()
        self._socket = connect(address, timeout)
        try:
            self.synchronise()
        except TimeoutError:
            why = UNREAD if is_unread(self._socket) else ""
            self._socket.close()
            raise ClientError(f"{self.path}: no answer within {timeout:g} s{why}") from None
        except OSError as error:
            self._socket.close()
            raise ClientError(f"{self.path}: {error.strerror or error}") from None
        except ClientError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, having read what was already sent: an unread reply ends a real agent."""
        self._socket.close()

    def synchronise(self) -> None:
        """Drop whatever lies in the channel, up to the answer to a number of our own."""
        number, request = make_sync()
        self._socket.sendall(request)
        deadline = time.monotonic() + self.timeout
        while not is_sync(self._read_line(deadline), number):
            pass

    def _read_line(self, deadline: float) -> bytes:
        while (line := self._lines.next()) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise TimeoutError
            data = self._socket.recv(1 << 16)
            if not data:
                raise ClientError(f"{self.path}: the agent hung up")
            self._lines.feed(data)
        return line

    def send(self, message: dict[str, Any]) -> None:
        """Send a request and do not wait."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}") from None

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the whole reply."""
        self.send(message)
        try:
            return read_reply(self._read_line(time.monotonic() + self.timeout))
        except TimeoutError:
            raise ClientError(f"{self.path}: no answer within {self.timeout:g} s") from None
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}") from None

    def call(self, command: str, /, **arguments: Any) -> Any:
        """Execute *command* and give what it returns.

        Underscores in the names of *arguments* stand for hyphens.
        """
        return unwrap(self.request(make_request(command, arguments)))


def parse(line: bytes) -> dict[str, Any]:
    """Read a reply; what is none is an empty one."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], reply) if isinstance(reply, dict) else {}


def read_reply(line: bytes) -> dict[str, Any]:
    """Read a reply.

    Raises:
        ClientError: it is none.
    """
    if reply := parse(line):
        return reply
    shown = line if len(line) <= _SHOWN else line[:_SHOWN] + b"..."
    raise ClientError(f"not a reply: {shown!r}")
