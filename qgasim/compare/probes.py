"""What is asked: requests that change nothing in a guest.

No command that changes, runs, suspends or writes anything is ever named, not even with arguments
that would be refused: the agent that answers may not refuse them.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, Literal

from msgspec import Struct

from qgasim.qapi.registry import Command, Table

__all__ = ["HANDLE", "LOOKING", "READING", "SAME_EVERYWHERE", "Probe", "probes_of"]

#: Stands in a request for the handle that the latest guest-file-open has given.
HANDLE: Final = b"@HANDLE@"


class Probe(Struct, frozen=True):
    """A request, and how the answers to it are compared."""

    topic: Literal["wire", "commands", "arguments", "values", "files"]
    pieces: tuple[bytes, ...]
    #: The command that it is about; None: only such as every agent has.
    command: str | None = None
    #: Whether the values are the machine's own, so that only their form is compared.
    is_own: bool = False

    @property
    def request(self) -> bytes:
        """All that is sent."""
        return b"".join(self.pieces)


#: Commands that only read, with arguments that are right and lead to nothing: no file of that name,
#: no handle and no process of that number.
READING: Final[dict[str, dict[str, Any]]] = {
    "guest-sync": {"id": 1},
    "guest-sync-delimited": {"id": 1},
    "guest-file-open": {"path": "/nonexistent/qgasim-compare", "mode": "r"},
    "guest-file-close": {"handle": -1},
    "guest-file-read": {"handle": -1, "count": 10},
    "guest-file-write": {"handle": -1, "buf-b64": "", "count": 0},
    "guest-file-seek": {"handle": -1, "offset": 0, "whence": "set"},
    "guest-file-flush": {"handle": -1},
    "guest-exec-status": {"pid": -1},
}
#: Commands that only read, and take no arguments.
LOOKING: Final = (
    "guest-ping", "guest-info", "guest-get-time", "guest-fsfreeze-status", "guest-get-vcpus",
    "guest-network-get-interfaces", "guest-network-get-route", "guest-get-disks",
    "guest-get-fsinfo", "guest-get-memory-blocks", "guest-get-memory-block-info",
    "guest-get-host-name", "guest-get-users", "guest-get-timezone", "guest-get-osinfo",
    "guest-get-devices", "guest-get-diskstats", "guest-get-cpustats", "guest-get-load",
)  # fmt: skip
#: The probes whose answer is the same everywhere.
SAME_EVERYWHERE: Final = ("guest-ping",)

#: A value of each type, to be given where another is expected; and integers beyond 64 bits.
_VALUES: Final[tuple[Any, ...]] = (
    None, True, 7, 1.5, "x", [], ["x"], {}, {"x": 1}, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
    -(2**63) - 1,
)  # fmt: skip
#: More to try for some arguments.
_MORE: Final[dict[tuple[str, str], tuple[Any, ...]]] = {
    ("guest-file-open", "mode"): ("x", "", "rr", "r ", "R", "rw"),
    ("guest-file-write", "buf-b64"): ("!", "A", "AA", "AA=", "AAA", "AAAA", "AA==AA=="),
    ("guest-file-read", "count"): (0, -1, 50331648, 50331649),
    ("guest-file-seek", "whence"): ("cur", "end", "SET", "", 0, 1, 2, 3, -1),
    ("guest-sync", "id"): (0, -1),
}
_UNEXPECTED: Final[tuple[dict[str, Any], ...]] = (
    {"x": 1},
    {"b": 1, "a": 2, "c": None, "execute": "guest-ping"},
    {f"member-{i}": i for i in range(20)},
)


def probes_of(table: Table) -> Iterator[Probe]:
    """Yield what is asked of an agent of the release that *table* is of."""
    yield from _wire_probes()
    yield from map(_unknown, _UNKNOWN)
    for name in LOOKING:
        if name in table:
            yield Probe("values", (_write(name),), name, name not in SAME_EVERYWHERE)
            for members in _UNEXPECTED:
                yield Probe("arguments", (_write(name, members),), name)
    for name, right in READING.items():
        for arguments in _mistakes(table[name].command, right):
            yield Probe("arguments", (_write(name, arguments),), name)
    yield from _file_probes()


def _write(command: str, arguments: dict[str, Any] | None = None) -> bytes:
    request: dict[str, Any] = {"execute": command}
    if arguments is not None:
        request["arguments"] = arguments
    return json.dumps(request).encode()


def _mistakes(command: Command, right: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield *right* and all that can be wrong in it."""
    yield right
    yield {}
    for name in (parameter.name for parameter in command.parameters):
        yield {n: v for n, v in right.items() if n != name}
        for value in (*_VALUES, *_MORE.get((command.name, name), ())):
            if not _could_be_real(name, value):
                yield {**right, name: value}
    for members in _UNEXPECTED:
        yield {**right, **members}


def _could_be_real(name: str, value: Any) -> bool:
    """Return whether there could be such a file, or a client waits for what is open or runs there."""
    if name in ("handle", "pid"):
        return type(value) is int and 0 <= value < 1 << 62
    return name == "path" and isinstance(value, str)


_UNKNOWN: Final = (
    "guest-nope", "", "GUEST-PING", "guest-ping ", " guest-ping", "guest_ping", "☃", "'",
    "query-version", "qmp_capabilities", "guest-\x7f", "x" * 3000,
)  # fmt: skip


def _unknown(name: str) -> Probe:
    return Probe("commands", (_write(name),))


def _file_probes() -> Iterator[Probe]:
    """Yield what is asked of files that every guest with a Unix has, in order."""

    def ask(command: str, **arguments: Any) -> Probe:
        named = {"handle": HANDLE.decode(), **arguments}
        text = _write(command, named).replace(b'"' + HANDLE + b'"', HANDLE)
        return Probe("files", (text,), command)

    for path in ("/dev/null", "/dev/zero", "/"):
        text = _write("guest-file-open", {"path": path})
        yield Probe("files", (text,), "guest-file-open", is_own=True)
        # More than 48 MiB, or than can be: older releases give what they are asked for.
        most = 4294967296 if path == "/dev/zero" else 50331649
        for count in (0, 5, 5000, -1, most):
            yield ask("guest-file-read", count=count)
        for offset, whence in ((0, "set"), (0, "cur"), (-1, "set"), (0, 3)):
            yield ask("guest-file-seek", offset=offset, whence=whence)
        yield ask("guest-file-flush")
        yield ask("guest-file-read", count=3)
        yield ask("guest-file-close")


_PING: Final = b'{"execute":"guest-ping"}'


def _wire_probes() -> Iterator[Probe]:
    for text in (*_MESSAGES, *(_request_with(b'"id":' + value) for value in _IDS)):
        yield Probe("wire", (text,))
    for value in _IDS:
        yield Probe("wire", (b'{"execute":%b}' % value,))
        yield Probe("wire", (_request_with(b'"arguments":' + value),))
    for depth in (1023, 1024, 1025, 1030):
        yield Probe("wire", (b"[" * depth + b"]" * depth,))
        yield Probe("wire", (_request_with(b'"id":' + b"[" * depth + b"]" * depth),))
        yield Probe("wire", (b'{"a":' * depth + b"1" + b"}" * depth,))
    for text in (_PING, b'{"execute":"guest-ping","id":"\xe2\x98\x83\\u2603"}', b"12", b"x\xff1"):
        yield Probe("wire", tuple(bytes([byte]) for byte in text))
        yield Probe("wire", (text[: len(text) // 2], text[len(text) // 2 :] + _PING))


def _request_with(member: bytes) -> bytes:
    return _PING[:-1] + b"," + member + b"}"


_IDS: Final = (
    b"null", b"true", b"false", b"nul", b"0", b"-0", b"01", b"-1", b"-", b"+1", b"1.5", b"1.0",
    b"1.", b".5", b"1e3", b"1e-7", b"1e400", b"0e1", b"0.1234567890123456789", b"0x10",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775808", b"-9223372036854775809", b"1" * 400, b'""',
    b'"a"', b"'a'", b"'it\\'s \"'", b'"\\b\\f\\n\\r\\t\\/\\\\\\""', b'"\\x41"', b'"\\u12"',
    b'"\\u0000"', b'"\\u00e9\\u2603"', b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\\ude00"',
    b'"\\uffff"', b'"\x7f"', b'"\xc3\xa9"', b'"\xe2\x98\x83"', b'"\xf0\x9f\x98\x80"', b'"\xc0\x80"',
    b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x98"', b'"a\tb"', b'"a\nb"', b'"%s%d%p"',
    b"%s", b"%d", b"%", b'"' + b"x" * 5000 + b'"', b"[]", b"[1, 2]", b"[1,]", b"[,1]", b"[1 2]",
    b"{}", b'{"a":1}', b'{"a":1,}', b'{"a"}', b'{"a":1,"a":2}', b"{1:2}",
    b'{"one":1,"two":2,"three":3,"four":4,"five":5,"six":6}',
)  # fmt: skip
_MESSAGES: Final = (
    b"", b" \t\r\n", _PING, b" " + _PING + b"\r\n\r\n", _PING * 3, _PING + b"," + _PING,
    _PING + b" x", _PING + b"}", _PING + b"]", _PING + b":", _PING + b"#", b"hello", b"!@#$%^&*()",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"// a\n" + _PING, b"/* a */" + _PING, b"# a\n" + _PING,
    b"{", b"}", b"[", b"]", b",", b":", b"{}", b"[]", b"[1,2,3]", b"[" + _PING + b"]", b"[}", b"{]",
    b"1", b"-1", b"1.5", b"true", b"null", b'"a"', b"'a'", b'"a', b"'a", b'"a\\', b"tru", b"TRUE",
    b"\xff", b"\xff\xff", b"\xfe", b"\x00", b"\x01", b"\x7f", b"\x80", b"\xef\xbb\xbf" + _PING,
    _PING[:12] + b"\xff" + _PING, _PING[:20] + b"\xff" + _PING, b"@ x" + _PING, b"X[" + _PING,
    b'{"execute":"guest-' + _PING, b"{" + _PING, b"[" + _PING, b"[" + _PING + b"]" + _PING,
    b'{"execute":"guest-ping",}', b'{"execute":"guest-ping" "id":1}', b'{"execute" "guest-ping"}',
    b"{execute:1}", b'{"execute":guest-ping}', b'{"execute":@}', b'{"execute"}', b'{:"a"}',
    b"{'execute':'guest-ping'}", b'{"\\u0065xecute":"guest-ping"}', b'{"EXECUTE":"guest-ping"}',
    b'{"id":1}', b'{"execute":"guest-ping","x":1}', b'{"x":1,"y":2,"execute":"guest-ping"}',
    b'{"execute":"guest-ping","control":{}}', b'{"exec-oob":"guest-ping"}', b'{"return":{}}',
    b'{"execute":"guest-ping","execute":"guest-ping"}', b'{"execute":"nope","id":1}',
    b'{"execute":"guest-sync","arguments":{"id":1},"id":2}', b'{"arguments":{},"id":[1]}',
)  # fmt: skip
