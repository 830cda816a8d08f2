"""Connecting to an agent, wherever its socket is."""

import fcntl
import socket
import struct
import termios
from typing import Final, TypeAlias

from qgasim.errors import ClientError
from qgasim.serving.listen import TcpAddress, UnixAddress, VsockAddress, parse_address

__all__ = ["QUEUE_IS_FULL", "UNREAD", "AgentAddress", "connect", "is_unread", "parse_agent_address"]

#: The error of a connect that would have to wait (EAGAIN): an agent's own queue is two clients long.
QUEUE_IS_FULL: Final = "it serves another client, and others wait already"
#: What a time-out says when the request still lies in the socket.
UNREAD: Final = ": it has not read the request (is another client connected?)"
#: Where an agent can be connected to.
AgentAddress: TypeAlias = UnixAddress | TcpAddress | VsockAddress


def parse_agent_address(text: str) -> AgentAddress:
    """Return the address that is written ``PATH``, ``unix:PATH``, ``tcp:[HOST:]PORT`` or ``vsock:CID:PORT``.

    Raises:
        ValueError: it is none of these.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in ("tcp", "vsock"):
        try:
            address = parse_address(text)
        except ValueError:
            expected = {"tcp": "tcp:[HOST:]PORT", "vsock": "vsock:CID:PORT"}[kind]
            raise ValueError(f"expected {expected}, found {text!r}") from None
        assert isinstance(address, TcpAddress | VsockAddress)
        return address
    path = rest if colon and kind == "unix" else text
    if not path:
        raise ValueError(f"expected the path of a unix socket, found {path!r}")
    return UnixAddress(path)


def connect(address: AgentAddress, timeout: float) -> socket.socket:
    """Return a connected socket that waits *timeout* seconds for whatever it is asked to do.

    Raises:
        ClientError: there is no agent, or it serves another client and more are waiting.
    """
    sock: socket.socket | None = None
    try:
        sock = _make_socket(address)
        sock.settimeout(timeout)
        sock.connect(_where(address))  # type: ignore[arg-type]
    except (OSError, OverflowError, UnicodeError, ValueError) as error:
        if sock is not None:
            sock.close()
        if isinstance(error, TimeoutError):
            text = f"no connection within {timeout:g} s"
        elif isinstance(error, BlockingIOError):
            text = QUEUE_IS_FULL
        else:
            # A path that is too long is refused by Python, without an errno.
            text = getattr(error, "strerror", None) or str(error)
        raise ClientError(f"{address}: {text}") from None
    return sock


def is_unread(sock: socket.socket) -> bool:
    """Return whether what was sent still waits to be read; False where the kernel does not tell.

    An agent serves one client at a time: what a second one sends stays in its socket.
    """
    # SIOCOUTQ (unix(7)) is TIOCOUTQ. TCP's own (tcp(7)) tells only what was not acknowledged.
    if sock.family != socket.AF_UNIX:
        return False
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return bool(count)


def _make_socket(address: AgentAddress) -> socket.socket:
    if isinstance(address, UnixAddress):
        family = socket.AF_UNIX
    elif isinstance(address, TcpAddress):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    else:
        family = socket.AF_VSOCK
    return socket.socket(family, socket.SOCK_STREAM)


def _where(address: AgentAddress) -> object:
    """Return what `socket.connect` takes."""
    if isinstance(address, UnixAddress):
        return address.path
    if isinstance(address, TcpAddress):
        return address.host, address.port
    return address.cid & 0xFFFFFFFF, address.port
