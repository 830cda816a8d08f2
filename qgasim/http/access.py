"""Access: what keeps web pages, other machines and other users out.

A unix socket is protected by its mode. A TCP port of the loopback can be reached by each program of the
machine, and by web pages in its browser: these send the ``Origin`` of their own site, and with a name
that was made to lead here (DNS rebinding) a foreign ``Host``. Everything else needs a token.
"""

import hmac
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

from qgasim.errors import QgaSimError
from qgasim.http.problems import HttpError
from qgasim.serving.listen import TcpAddress, UnixAddress

__all__ = ["Access", "is_loopback", "read_token"]

#: A host with or without its port.
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
#: Fewer characters can be guessed.
LEAST_TOKEN: Final = 16
_TOKEN: Final = re.compile(r"[!-~]+")


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own for itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(path: str) -> str:
    """Return the token in a file: one line of at least 16 characters.

    Raises:
        QgaSimError: there is none.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 12)
    except OSError as error:
        raise QgaSimError(f"--control-token {path}: {error.strerror}") from None
    token = data.decode("ascii", "replace").strip()
    if len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token):
        text = f"expected one line of at least {LEAST_TOKEN} characters without spaces"
        raise QgaSimError(f"--control-token {path}: {text}")
    return token


class Access(Struct, frozen=True):
    """What a request needs at an address.

    Raises:
        QgaSimError: the address can be reached from other machines, and there is no token.
    """

    address: UnixAddress | TcpAddress
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is None and self._is_open:
            raise QgaSimError(
                f"--control {self.address}: can be reached from other machines "
                "(give --control-token FILE, or listen on 127.0.0.1)"
            )

    @property
    def _is_open(self) -> bool:
        """Return whether other machines can connect."""
        return isinstance(self.address, TcpAddress) and not is_loopback(self.address.host)

    def check(self, headers: Mapping[str, str], *, is_public: bool = False) -> None:
        """Refuse a request that must not be answered.

        *is_public*: it is answered without the token.

        Raises:
            HttpError: it comes from another site (403), or has no token (401).
        """
        self._check_host(headers.get("host", ""))
        if (origin := headers.get("origin")) is not None:
            self._check_origin(origin, headers.get("host", ""))
        if self.token is None or is_public:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self.token.encode())
        if scheme.lower() != "bearer" or not is_right:
            text = "expected the token, as in Authorization: Bearer TOKEN"
            raise HttpError(401, text, headers=(("WWW-Authenticate", 'Bearer realm="qgasim"'),))

    def _check_host(self, host: str) -> None:
        # A process that can open a unix socket runs on this host; and a page that other machines may ask has a token.
        if isinstance(self.address, UnixAddress) or self._is_open:
            return
        found = _HOST.fullmatch(host)
        if found is None or not is_loopback(found[1]):
            raise HttpError(403, f"the Host is not this machine: '{host[:100]}' (use localhost)")

    @staticmethod
    def _check_origin(origin: str, host: str) -> None:
        if origin.lower() not in {f"http://{host}".lower(), f"https://{host}".lower()}:
            raise HttpError(403, f"requests of another site are not answered: '{origin[:100]}'")
