"""The two that are asked: a real agent on a socket, and a simulated one in this process."""

import re
import secrets
import time
from itertools import chain
from types import TracebackType
from typing import Final, Protocol, Self

from qgasim.client.connecting import AgentAddress, connect
from qgasim.errors import ClientError
from qgasim.simulation.simulation import Simulation

__all__ = ["Asked", "RealAgent", "SimulatedAgent"]

#: Replies are a few kilobytes; what sends more is no agent.
LIMIT: Final = 64 << 20
CHUNK: Final = 1 << 16


class Asked(Protocol):
    """An agent that can be asked."""

    def ask(self, pieces: tuple[bytes, ...]) -> bytes:
        """Send *pieces*; give what is answered, to the last byte."""
        ...


def _make_end(number: int) -> bytes:
    """Make what is sent after each request, to know where the answers to it end.

    The newline ends a number or a keyword, 0xFF makes an agent forget half a message.
    """
    request = b'{"execute":"guest-sync-delimited","arguments":{"id":%d}}' % number
    return b"\n\xff" + request + b"\n"


class RealAgent:
    """An agent on a socket; a context manager. No call takes longer than *timeout* seconds.

    Raises:
        ClientError: it cannot be connected to, hangs up or does not answer in time; from all methods.
    """

    def __init__(self, address: AgentAddress, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self._number = secrets.randbelow(1 << 30)
        self._socket = connect(address, timeout)
        try:
            # Whatever was asked before, or half asked, is answered now.
            self.ask(())
        except ClientError as error:
            self.close()
            raise ClientError(
                f"{error}; is this an agent's socket, without another client?"
            ) from None

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
        """Hang up. All that was answered has been read: else a real agent could end."""
        self._socket.close()

    def ask(self, pieces: tuple[bytes, ...]) -> bytes:
        """Send *pieces*; give what is answered, to the last byte."""
        self._number += 1
        end = re.compile(rb'\xff\{"return": ?%d\}\r?\n' % self._number)
        deadline = time.monotonic() + self._timeout
        received = bytearray()
        try:
            for piece in (*pieces, _make_end(self._number)):
                self._limit(deadline)
                self._socket.sendall(piece)
            searched = 0
            while (found := end.search(received, searched)) is None:
                # The end may have come in part.
                searched = max(len(received) - 64, 0)
                self._limit(deadline)
                received += self._receive()
                self._check_size(received)
        except TimeoutError:
            text = f"{self.address}: no answer within {self._timeout:g} s"
            raise ClientError(text) from None
        except (ConnectionResetError, BrokenPipeError):
            raise ClientError(f"{self.address}: the agent hung up") from None
        except OSError as error:
            raise ClientError(f"{self.address}: {error.strerror}") from None
        return bytes(received[: found.start()])

    def _receive(self) -> bytes:
        more = self._socket.recv(CHUNK)
        if not more:
            raise ConnectionResetError
        return more

    def _check_size(self, received: bytearray) -> None:
        if len(received) > LIMIT:
            raise ClientError(f"{self.address}: more than {LIMIT >> 20} MiB, and no end")

    def _limit(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


class SimulatedAgent:
    """A simulated agent, which answers at once."""

    def __init__(self, simulation: Simulation) -> None:
        self.channel = simulation.channel
        for _ in self.channel.connect():
            pass

    def ask(self, pieces: tuple[bytes, ...]) -> bytes:
        """Send *pieces*; give what is answered, to the last byte.

        Raises:
            ClientError: it does not answer as things are in its scenario.
        """
        number = 1
        effects = chain.from_iterable(map(self.channel.receive, (*pieces, _make_end(number))))
        answer = b"".join(effect for effect in effects if isinstance(effect, bytes))
        end = b'\xff{"return": %d}\n' % number
        if not answer.endswith(end):
            raise ClientError("the simulated agent does not answer: choose another scenario")
        return answer.removesuffix(end)
