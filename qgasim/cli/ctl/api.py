"""A client of the control API: one connection, over a unix socket or TCP."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from qgasim.errors import QgaSimError

__all__ = ["Api", "CtlError", "part"]

#: How long an answer may take, in seconds: an advance by a year computes for a while.
_PATIENCE: Final = 60.0
_EXPECTED: Final = "expected unix:PATH or tcp:[HOST:]PORT"


class CtlError(QgaSimError):
    """The API cannot be asked, or refuses what it was asked."""


def part(text: str) -> str:
    """Return *text* as a part of a path."""
    return quote(text, safe="")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection_to(address: str) -> http.client.HTTPConnection:
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return _UnixConnection(rest)
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise CtlError(f"{_EXPECTED}, found '{address}'")
    return http.client.HTTPConnection(host.strip("[]") or "127.0.0.1", int(port), _PATIENCE)


class Api:
    """A client of the control API.

    Args:
        address: ``unix:PATH`` or ``tcp:[HOST:]PORT``.
        token: what it asks for, if it does.

    Raises:
        CtlError: the address is none; of all methods: the API cannot be asked, or refuses.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self._address = address
        self._connection = _connection_to(address)
        self._response: http.client.HTTPResponse | None = None
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if self._response is not None:
            self._response.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return what there is at ``/v1`` and *path*."""
        return self.ask("GET", _with_query(path, query))

    def post(self, path: str, body: Any = None) -> Any:
        """Ask for something to be done; a body that is no bytes (YAML) is sent as JSON."""
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: Any = None, *, is_patient: bool = False) -> Any:
        """Return what is answered: JSON, or None.

        Args:
            method: as in ``POST``.
            path: below ``/v1``.
            body: bytes: YAML; anything else: sent as JSON; None: there is none.
            is_patient: wait for the answer however long it takes.
        """
        response = self._send(method, path, body, is_patient=is_patient)
        data = self._read(response)
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise self._failed("this is no control API: its answer is no JSON") from None

    def stream(self, path: str, **query: Any) -> Iterator[tuple[str, Any]]:
        """Yield server-sent events, each its kind and what it says, as they come."""
        response = self._send("GET", _with_query(path, query), None, is_patient=True)
        kind = ""
        try:
            while line := response.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)
        except (OSError, http.client.HTTPException, ValueError):
            raise self._failed("the connection was lost") from None

    def _send(
        self, method: str, path: str, body: Any, *, is_patient: bool
    ) -> http.client.HTTPResponse:
        headers = dict(self._headers)
        if body is not None:
            is_yaml = isinstance(body, bytes)
            headers["Content-Type"] = "application/yaml" if is_yaml else "application/json"
            body = body if is_yaml else json.dumps(body).encode()
        try:
            self._connection.request(method, f"/v1{path}", body, headers)
            if is_patient and self._connection.sock is not None:
                self._connection.sock.settimeout(None)
            response = self._response = self._connection.getresponse()
        except TimeoutError:
            raise self._failed(f"no answer within {_PATIENCE:g} s") from None
        except OSError as error:
            raise self._failed(error.strerror or "the connection was lost") from None
        except (http.client.HTTPException, UnicodeError, ValueError):
            raise self._failed("this is no control API: it does not speak HTTP") from None
        if response.status >= http.client.BAD_REQUEST:
            raise CtlError(_explain(response.status, self._read(response)))
        return response

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException):
            raise self._failed("the connection was lost") from None

    def _failed(self, reason: str) -> CtlError:
        return CtlError(f"{self._address}: {reason}")


def _with_query(path: str, query: dict[str, Any]) -> str:
    said = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(said)}" if said else path


def _explain(status: int, data: bytes) -> str:
    """Return the words of a problem (RFC 9457), with the place of what is wrong where it has one."""
    try:
        problem = json.loads(data)
        text: str = problem.get("detail") or problem["title"]
        first = problem.get("errors", [{}])[0]
        place = f"line {first['line']}, column {first['column']}: " if "line" in first else ""
    except (ValueError, LookupError, AttributeError, TypeError):
        return f"this is no control API: it answers with the status {status}"
    return f"{place}{text}"
