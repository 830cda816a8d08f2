"""Where clients connect: unix sockets, TCP, vsock, and the standard input and output."""

import errno
import os
import re
import socket
import stat
from typing import Final, TypeAlias

from msgspec import Struct

from qgasim.errors import ListenError

__all__ = ["Address", "Stdio", "TcpAddress", "UnixAddress", "VsockAddress", "parse_address"]

#: The real agent's (qga/channel-posix.c): the third client waits, the fourth is not let in.
BACKLOG: Final = 1
#: sun_path of Linux, less the closing NUL.
PATH_LIMIT: Final = 107


class UnixAddress(Struct, frozen=True):
    """A unix socket; its file is made with mode 0600. It must be free, or a dead server's."""

    path: str

    def __str__(self) -> str:
        return self.path

    def listen(self) -> socket.socket:
        """Listen; ListenError if that cannot be."""
        path = self.path
        if len(os.fsencode(path)) > PATH_LIMIT:
            raise ListenError(f"{path}: too long for a unix socket ({PATH_LIMIT} bytes at most)")
        _replace_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # On Linux the file gets the mode that the socket has before it is bound.
            os.fchmod(sock.fileno(), 0o600)
        except OSError as error:
            sock.close()
            raise ListenError(f"{path}: cannot listen: {error.strerror}") from None
        _bind(sock, path, path)
        os.chmod(path, 0o600)
        return sock


class TcpAddress(Struct, frozen=True):
    """A TCP port; 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"

    def listen(self) -> socket.socket:
        """Listen; ListenError if that cannot be."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bind(sock, (self.host, self.port), str(self))


class VsockAddress(Struct, frozen=True):
    """A port of the host's vsock; *cid* -1: any."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock:{self.cid}:{self.port}"

    def listen(self) -> socket.socket:
        """Listen; ListenError if that cannot be."""
        try:
            sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        except (AttributeError, OSError):
            raise ListenError(f"{self}: this system has no vsock") from None
        return _bind(sock, (self.cid & 0xFFFFFFFF, self.port), str(self))


class Stdio(Struct, frozen=True):
    """The standard input and output: one client, and the end when it leaves."""

    def __str__(self) -> str:
        return "stdio"


Address: TypeAlias = UnixAddress | TcpAddress | VsockAddress | Stdio


def parse_address(text: str) -> Address:
    """Read ``unix:PATH``, ``tcp:[HOST:]PORT``, ``vsock:CID:PORT`` or ``stdio``.

    Raises:
        ValueError: it is none of these.
    """
    if text == "stdio":
        return Stdio()
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return UnixAddress(rest)
    if kind == "tcp" and (found := re.fullmatch(r"(?:(\[.+\]|[^:]+):)?(\d{1,5})", rest)):
        if int(found[2]) <= 0xFFFF:
            return TcpAddress((found[1] or "127.0.0.1").strip("[]"), int(found[2]))
    elif kind == "vsock" and (found := re.fullmatch(r"(-1|\d{1,10}):(\d{1,10})", rest)):
        return VsockAddress(int(found[1]), int(found[2]))
    raise ValueError(
        f"expected unix:PATH, tcp:[HOST:]PORT, vsock:CID:PORT or stdio, found {text!r}"
    )


def _bind(sock: socket.socket, address: object, name: str) -> socket.socket:
    try:
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"{name}: cannot listen: {reason}") from None
    return sock


def _replace_stale(path: str) -> None:
    """Remove the socket of a server that is gone; refuse anything else that is there."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"{path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{path}: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise ListenError(f"{path}: another server is listening there")
    os.unlink(path)
