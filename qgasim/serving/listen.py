"""Where clients connect: unix sockets, TCP, vsock, and the standard input and output."""

import errno
import os
import re
import socket
import stat
import tempfile
from typing import Final, TypeAlias

from msgspec import Struct

from qgasim.errors import ListenError

__all__ = [
    "Address",
    "AgentSocket",
    "InheritedSocket",
    "MachineSocket",
    "SocketAddress",
    "Stdio",
    "TcpAddress",
    "UnixAddress",
    "VsockAddress",
    "make_directory",
    "name_address",
    "parse_address",
]

#: The real agent's (qga/channel-posix.c): the third client waits, the fourth is not let in.
BACKLOG: Final = 1
#: sun_path of Linux, less the closing NUL.
PATH_LIMIT: Final = 107
#: How long the path of the directory for temporary files may be.
_SHORT: Final = 80


class UnixAddress(Struct, frozen=True):
    """A unix socket; its file is made with mode 0600.

    The path must be free, or a socket that its server left behind.
    """

    path: str

    def __str__(self) -> str:
        return self.path

    def listen(self) -> socket.socket:
        """Return a socket that listens there; raise ListenError if none can."""
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
        _bind(sock, path, f"{path}: cannot listen")
        os.chmod(path, 0o600)
        return sock


class AgentSocket(Struct, frozen=True):
    """A unix socket as qemu-ga makes one, in its words (util/qemu-sockets.c of 7.2).

    Its mode is what the umask leaves. It replaces another socket, even one that is served, and its file is
    left behind. A file that is no socket stays; the real agent would remove it.
    """

    path: str

    def __str__(self) -> str:
        return self.path

    def listen(self) -> socket.socket:
        """Return a socket that listens there; raise ListenError if none can."""
        path = self.path
        if len(os.fsencode(path)) > PATH_LIMIT:
            raise ListenError(f"UNIX socket path '{path}' is too long")
        failed = f"Failed to bind socket to {path}"
        if not path:
            raise ListenError(f"{failed}: {os.strerror(errno.ENOENT)}")
        try:
            mode = os.stat(path, follow_symlinks=False).st_mode
            if not stat.S_ISSOCK(mode):
                number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENOTSOCK
                raise OSError(number, os.strerror(number))  # noqa: TRY301
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ListenError(f"Failed to unlink socket {path}: {error.strerror}") from None
        return _bind(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, failed)


class MachineSocket(AgentSocket, frozen=True):
    """A unix socket as QEMU makes one: as qemu-ga does, but errors name the option, and its file goes with it.

    (io/channel-socket.c of 7.2, socket_listen_cleanup.)
    """

    #: As it was given: ``-qmp unix:/path,...``.
    option: str

    def listen(self) -> socket.socket:
        """Return a socket that listens there; raise ListenError if none can."""
        try:
            return super().listen()
        except ListenError as error:
            raise ListenError(f"{self.option}: {error}") from None


class InheritedSocket(Struct, frozen=True):
    """A socket that listens already: the program that started this one opened it, and removes it."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"

    @property
    def path(self) -> str:
        """Where it listens; empty if it is no unix socket."""
        with socket.socket(fileno=os.dup(self.fd)) as sock:
            name = sock.getsockname()
        return name if isinstance(name, str) else ""

    @property
    def where(self) -> "UnixAddress | TcpAddress | VsockAddress":
        """Where clients connect; raise ListenError if it is of another family."""
        with socket.socket(fileno=os.dup(self.fd)) as sock:
            family, name = sock.family, sock.getsockname()
        if family == socket.AF_UNIX and name and isinstance(name, str):
            return UnixAddress(name)
        if family in (socket.AF_INET, socket.AF_INET6):
            return TcpAddress(name[0], name[1])
        if family == getattr(socket, "AF_VSOCK", None):
            return VsockAddress(-1 if name[0] == 0xFFFFFFFF else name[0], name[1])
        raise ListenError(f"{self}: expected a unix socket with a path, TCP or vsock")

    def listen(self) -> socket.socket:
        """Return a duplicate of it, non-blocking."""
        sock = socket.socket(fileno=os.dup(self.fd))
        sock.setblocking(False)
        return sock


class TcpAddress(Struct, frozen=True):
    """A TCP port; 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"

    def listen(self) -> socket.socket:
        """Return a socket that listens there; raise ListenError if none can."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bind(sock, (self.host, self.port), f"{self}: cannot listen")


class VsockAddress(Struct, frozen=True):
    """A port of the host's vsock; *cid* -1: any."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock:{self.cid}:{self.port}"

    def listen(self) -> socket.socket:
        """Return a socket that listens there; raise ListenError if none can."""
        try:
            sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        except (AttributeError, OSError):
            raise ListenError(f"{self}: this system has no vsock") from None
        return _bind(sock, (self.cid & 0xFFFFFFFF, self.port), f"{self}: cannot listen")


class Stdio(Struct, frozen=True):
    """The standard input and output: one client, and the end when it leaves."""

    def __str__(self) -> str:
        return "stdio"


Address: TypeAlias = UnixAddress | TcpAddress | VsockAddress | InheritedSocket | Stdio
#: Where a socket can listen; the last two have been opened by others, or are opened as qemu-ga does.
SocketAddress: TypeAlias = UnixAddress | TcpAddress | VsockAddress | AgentSocket | InheritedSocket


def parse_address(text: str) -> UnixAddress | TcpAddress | VsockAddress | Stdio:
    """Return the address that is written ``unix:PATH``, ``tcp:[HOST:]PORT``, ``vsock:CID:PORT`` or ``stdio``.

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


def name_address(address: object) -> str:
    """Return an address as QEMU's query-chardev names it: ``unix:/path``, ``tcp:127.0.0.1:4444``."""
    if isinstance(address, TcpAddress):
        return f"tcp:{address.host}:{address.port}"
    if isinstance(address, VsockAddress):
        return f"vsock:{address.cid}:{address.port}"
    if isinstance(address, InheritedSocket):
        return f"unix:{address.path}"
    return "stdio" if isinstance(address, Stdio) else f"unix:{address}"


def make_directory(prefix: str) -> str:
    """Make a directory for sockets among the temporary files, with a short path; return the path."""
    directory = tempfile.gettempdir()
    is_long = len(os.fsencode(directory)) > _SHORT
    return tempfile.mkdtemp(prefix=prefix, dir="/tmp" if is_long else directory)


def _bind(sock: socket.socket, address: object, failed: str) -> socket.socket:
    try:
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"{failed}: {reason}") from None
    return sock


def _replace_stale(path: str) -> None:
    """Remove the socket of a server that is gone; raise ListenError if anything else is there."""
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
