"""The little that a service of systemd does: take the socket that it opened, and tell it how things stand."""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

from qgasim.errors import ListenError
from qgasim.serving.listen import InheritedSocket

__all__ = ["find_socket", "notify"]

#: The first of the file descriptors that systemd hands over (sd_listen_fds(3)).
_FIRST_FD: Final = 3
_NAMES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def find_socket(environment: MutableMapping[str, str]) -> InheritedSocket | None:
    """Return the socket that systemd opened for this process (socket activation); None: it opened none.

    The variables that say so are taken out of *environment*.

    Raises:
        ListenError: there are several, or it is no stream socket that listens.
    """
    pid, count = (environment.get(name, "") for name in _NAMES[:2])
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    for name in _NAMES:
        environment.pop(name, None)
    if count != "1":
        raise ListenError(f"systemd opened {count} sockets (expected one, that of the agent)")
    try:
        os.set_inheritable(_FIRST_FD, False)
        with socket.socket(fileno=os.dup(_FIRST_FD)) as sock:
            is_listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        raise ListenError(f"the socket that systemd opened: {error.strerror}") from None
    if not is_listening:
        raise ListenError(
            "the socket that systemd opened: it does not listen (Accept=no is needed)"
        )
    return InheritedSocket(_FIRST_FD)


def notify(state: str) -> None:
    """Notify the service manager of a state, as in ``READY=1`` (sd_notify(3)); nothing where none wants to know."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    # "@": the abstract namespace of unix(7). The manager may be gone.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        sock.send(state.encode())
