"""A small client that does the handshake right.

Before the first command it clears the channel: 0xFF ends whatever half request lies there, and
guest-sync-delimited marks where the answers to its own requests begin.
"""

import json
import random
import select
import socket
import time
from types import TracebackType
from typing import Any, Final, Self, cast

from qgasim.errors import ClientError

__all__ = ["SyncClient"]

SENTINEL: Final = b"\xff"


class SyncClient:
    """A blocking client on a unix socket; a context manager.

    Args:
        path: the socket of an agent.
        timeout: seconds to wait for each answer.

    Raises:
        ClientError: nobody answers; and from `call`, an error reply.
    """

    def __init__(self, path: str, timeout: float = 5.0) -> None:
        self.path = path
        self.timeout = timeout
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            self.synchronise()
        except TimeoutError:
            self._socket.close()
            raise ClientError(f"{path}: no answer within {timeout:g} s") from None
        except OSError as error:
            self._socket.close()
            # A path that is too long is refused by Python, without an errno.
            raise ClientError(f"{path}: {error.strerror or error}") from None
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
        number = random.SystemRandom().randrange(1 << 31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        self._socket.sendall(SENTINEL + json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + self.timeout
        while True:
            line = self._read_line(deadline)
            _, mark, reply = line.rpartition(SENTINEL)
            if mark and _parse(reply).get("return") == number:
                return

    def _read_line(self, deadline: float) -> bytes:
        buffer = self._buffer
        searched = 0
        while (end := buffer.find(b"\n", searched)) < 0:
            searched = len(buffer)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise TimeoutError
            data = self._socket.recv(1 << 16)
            if not data:
                raise ClientError(f"{self.path}: the agent hung up")
            buffer += data
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        return line

    def send(self, message: dict[str, Any]) -> None:
        """Send a request and do not wait."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}") from None

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give the whole reply."""
        self.send(message)
        try:
            return _parse(self._read_line(time.monotonic() + self.timeout))
        except TimeoutError:
            raise ClientError(f"{self.path}: no answer within {self.timeout:g} s") from None
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}") from None

    def call(self, command: str, /, **arguments: Any) -> Any:
        """Execute *command* and give what it returns.

        Underscores in the names of *arguments* stand for hyphens.
        """
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        reply = self.request(message)
        if "error" in reply:
            raise ClientError(f"{reply['error']['class']}: {reply['error']['desc']}")
        return reply.get("return")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError:
        return {}
    return cast(dict[str, Any], reply) if isinstance(reply, dict) else {}
