"""Messages for the fuzzer: requests with changed meanings, other spellings and damaged bytes.

All that is made is harmless for the machine that a real agent runs on (`is_harmless`).
"""

import base64
import json
import random
from typing import Any

from qgasim.wire import MessageReader
from tests.real_agent import BLOCKED


def words(text: str) -> list[str]:
    return text.split()


#: Served by both as they come; nothing in them changes more than files below the directory.
SERVED = words(
    "guest-ping guest-info guest-sync guest-sync-delimited guest-get-time guest-fsfreeze-status "
    "guest-file-open guest-file-close guest-file-read guest-file-write guest-file-seek "
    "guest-file-flush guest-exec guest-exec-status"
)
#: Take no arguments: sent with some only, which is refused before anything is done.
BARE = words(
    "guest-network-get-interfaces guest-get-vcpus guest-get-disks guest-get-fsinfo "
    "guest-get-memory-blocks guest-get-memory-block-info guest-get-host-name guest-get-users "
    "guest-get-timezone guest-get-osinfo guest-get-diskstats guest-get-cpustats "
    "guest-fsfreeze-thaw"
)
ON_FILES = [command for command in SERVED if command.startswith("guest-file-")]
DISABLED = [*BLOCKED.split(","), "guest-get-devices"]
KNOWN = {*SERVED, *BARE, *DISABLED}
#: Files below ``d/``, alike on both sides.
FILES = {"a": b"hello\nworld\n", "b": bytes(range(256)) * 40, "empty": b""}
#: Programs in ``x/``, alike on both sides; nothing else can be executed, and none of them be opened.
PROGRAMS = {
    "arguments": b"#!/bin/sh\nprintf '%s|' \"$@\"\n",
    "both": b"#!/bin/sh\necho out; echo err >&2; exit 3\n",
    "carriage": b"#!/bin/sh\r\necho no\n",
    "copy": b"#!/bin/sh\nexec cat\n",
    "deaf": b"#!/bin/sh\nexec <&-\necho deaf\n",
    "empty": b"",
    "interpreted": b"#!/bin/echo a  b\n",
    "killed": b"#!/bin/sh\nkill -TERM $$\n",
    "late": b"#!/bin/sh\n(sleep 0.03; echo late) &\necho early\n",
    "nul": b"#!/bin/sh\nprintf 'a\\000b\\377'\n",
    "plain": b"echo plain\n",
    "variable": b"#!/bin/sh\nprintf '%s' \"$VARIABLE\"\n",
    "without": b"#!/no/such/interpreter\n",
}
#: Links in ``d/``.
LINKS = {"link": "a", "dangling": "made", "loop": "loop", "inner": "../d/link", "slash": "a/"}
#: More open files than a process may have are not what is tested.
MANY_HANDLES = 40
TOKENS = (
    *(t.encode() for t in words("{ } [ ] , : \" ' \\ true false null nul tru - -0 0 1 1. 1.5 .5 01")),
    *(t.encode() for t in words("1e5 1e999 -1e-5 1E+2 18446744073709551616 -9223372036854775809")),
    *(t.encode() for t in words("% %d %s \\u0000 \\ud800 \\ud83d\\ude00 \\uffff \\u12 \\x41 /")),
    *(b"\xff", b"\xfe", b"\x00", b"\x01", b"\t", b"\n", b"\r\n", b"\x7f", b"\xc0\x80", b"\xc3\xa9"),
    *(b"\xe2\x98\x83", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf"),
    *(b'""', b'"a"', b"'a'", b"{}", b"[]", b'{"execute":"guest-ping"}', b'"execute"', b'"id"'),
)  # fmt: skip
INTEGERS = (
    *(0, 1, -1, 2, 3, 4, 5, 100, 4096, 4097, 999, 1000, 1001, 50331648, 50331649),
    *(2**31 - 1, 2**31, 2**32, -(2**31), 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63)),
    *(-(2**63) - 1, 10**30),
)
STRINGS = (
    *(
        "",
        "a",
        "é",
        "☃",
        "\U0001f600",
        "\0",
        "a\nb",
        "\x7f",
        "'",
        '"',
        "\\",
        "/",
        "%s%n",
        "x" * 300,
    ),
    *("guest-ping", "true", "set", "cur", "end", "r", "w", "d", "ZA==", "\ud800", "\uffff"),
)
MODES = (
    *words("r rb w wb a ab r+ rb+ r+b w+ wb+ w+b a+ ab+ a+b"),
    *("", "x", "rw", "br", "r ", "R", "r\0"),
)
#: No directory: where one ends depends on the file system below it.
PATHS = (
    *("d/a", "d/b", "d/empty", "d/new", "d/c", "d/no/a", "d/a/x", "", "./d/a", "d//b", "é"),
    *("d/link", "d/dangling", "d/loop", "d/inner", "d/slash", "d/a/", "d/a/.", "d/new/", "d/no/."),
    *("d/link/", "d/loop/", "d/dangling/", "d/dangling/.", "d/" + "n" * 255, "d/" + "n" * 256),
    *("d/" + "é" * 127, "d/" + "é" * 128, "./" * 2045 + "d/a", "./" * 2047 + "d/a"),
)
SPACES = (b" ", b"\t", b"\n", b"\r", b"  ", b"")
#: Sizes around the buffers of C's streams, and of those that are allocated for larger reads.
SIZES = (
    *(0, 1, 2, 3, 5, 10, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12288),
    *(65535, 65536, 65537),
)
OFFSETS = (*SIZES, *(-1, -2, -5, -100, -4095, -4096, -4097, -8192, 10000, 70000))
FAR = (2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))


class Generator:
    """Makes messages: the same for the same seed and the same open handles."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        #: The handle that is used most for a while.
        self._favourite = 0

    def message(self, handles: list[int]) -> bytes:
        """Make a harmless message; *handles* are those that are open."""
        while True:
            message = self._draw(handles)
            if is_harmless(message):
                return message

    def cuts(self, message: bytes) -> list[bytes]:
        """Cut a message for several writes."""
        if self.random.random() < 0.7 or len(message) < 2:
            return [message]
        count = min(self.random.choice((1, 2, 5)), len(message) - 1)
        places = sorted(self.random.sample(range(1, len(message)), count))
        return [message[i:j] for i, j in zip([0, *places], [*places, None], strict=True)]

    def _draw(self, handles: list[int]) -> bytes:
        pick = self.random.random
        kind = pick()
        if kind < 0.06:
            return b"".join(self.random.choices(TOKENS, k=self.random.randrange(1, 15)))
        if kind < 0.09:
            return self._nesting()
        if kind < 0.0903:
            return self._crowd()
        request = self._request(handles)
        if kind < 0.6:
            while pick() < 0.3:
                self._change(request)
        text = self._write(request)
        if kind < 0.35:
            text = self._damage(text)
        elif kind < 0.38:
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + b"\xff" + text[self.random.choice((0, at, at)) :]
        if kind > 0.93:
            text += self._write(self._request(handles))
        return text

    def _request(self, handles: list[int]) -> dict[str, Any]:
        choose = self.random.choice
        if len(handles) > MANY_HANDLES:
            return {"execute": "guest-file-close", "arguments": {"handle": choose(handles)}}
        kind = self.random.random()
        commands = ON_FILES if kind < 0.6 else SERVED if kind < 0.85 else [*BARE, *DISABLED]
        command = choose(commands)
        arguments: dict[str, Any] = {}
        handle = self._handle(handles)
        if command.startswith("guest-sync"):
            arguments = {"id": choose(INTEGERS)}
        elif command == "guest-file-open":
            arguments = {"path": choose(PATHS if self.random.random() < 0.4 else PATHS[:5])}
            if self.random.random() < 0.9:
                arguments["mode"] = choose(MODES if self.random.random() < 0.4 else MODES[:15])
        elif command.startswith("guest-file"):
            arguments = {"handle": handle, **self._file_arguments(command)}
        elif command == "guest-exec":
            arguments = self._exec_arguments()
        elif command == "guest-exec-status":
            arguments = {"pid": choose(INTEGERS)}
        elif command in BARE or (command in DISABLED and self.random.random() < 0.5):
            arguments = self._members()
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        if self.random.random() < 0.2:
            request["id"] = self._value(3)
        return request

    def _handle(self, handles: list[int]) -> int:
        """Choose a handle: often the same as before, so that there is a history to it."""
        pick = self.random.random()
        if not handles or pick < 0.05:
            return self.random.choice(INTEGERS)
        if self._favourite not in handles or pick < 0.1:
            self._favourite = self.random.choice(handles)
        return self._favourite if pick < 0.8 else self.random.choice(handles)

    def _file_arguments(self, command: str) -> dict[str, Any]:
        choose = self.random.choice
        pick = self.random.random()
        if command == "guest-file-read":
            if pick < 0.1:
                return {}
            return {"count": choose(SIZES) if pick < 0.9 else choose((-1, 50331649, *FAR))}
        if command == "guest-file-seek":
            whence = choose((0, 1, 2, "set", "cur", "end"))
            if pick < 0.1:
                whence = choose((3, -1, "SET", "foo", "", 2**31, 2**32 + 1))
            return {"offset": choose(FAR) if pick > 0.95 else choose(OFFSETS), "whence": whence}
        if command == "guest-file-write":
            written: dict[str, Any] = {"buf-b64": self._base64()}
            if self.random.random() < 0.4:
                written["count"] = choose((*SIZES, -1, *FAR))
            return written
        return {}

    def _base64(self) -> str:
        """Write some data in base64, sometimes in a way that is doubtful or wrong."""
        choose = self.random.choice
        size = choose(SIZES) if self.random.random() < 0.6 else choose(SIZES[:7])
        text = base64.b64encode(self.random.randbytes(size)).decode()
        kind = self.random.random()
        if kind < 0.7:
            return text
        if kind < 0.75:
            return "".join(self.random.choices("AZaz09+/=-_ \n\t\0é", k=self.random.randrange(12)))
        if kind < 0.8:
            lines = [text[i : i + 76] for i in range(0, len(text), 76)]
            return choose(("\n", "\r\n", " ")).join(lines) + choose(("", "\n"))
        if kind < 0.85:
            return text.rstrip("=")
        if kind < 0.88:
            return text + text
        characters = list(text)
        for _ in range(choose((1, 1, 2, 5))):
            at = self.random.randrange(len(characters) + 1)
            characters[at : at + choose((0, 1))] = choose("=-_ \n\rA\0é☃")
        return "".join(characters)

    def _exec_arguments(self) -> dict[str, Any]:
        """Return arguments for a program of ours, or one that is not there or is none."""
        choose = self.random.choice
        arguments: dict[str, Any] = {
            "path": choose(("d/nope", "d/a", "d/empty", "d/no/x", "d/a/x", "d/link", "d/loop"))
        }
        if self.random.random() < 0.7:
            arguments["path"] = f"x/{choose(list(PROGRAMS))}"
        for name in ("arg", "env", "input-data", "capture-output"):
            pick = self.random.random()
            if pick < 0.15:
                arguments[name] = self._value(2)
            elif pick < 0.4:
                arguments[name] = {
                    "input-data": self._base64(),
                    "capture-output": choose((True, True, False)),
                    "env": ["PATH=/usr/bin:/bin", f"VARIABLE={choose(STRINGS)}", choose(STRINGS)],
                }.get(name, self.random.choices(STRINGS, k=self.random.randrange(4)))
        return arguments

    def _value(self, depth: int) -> Any:
        choose = self.random.choice
        kind = self.random.randrange(7 if depth else 5)
        if kind == 0:
            return choose((True, False, None))
        if kind == 1:
            return choose(INTEGERS)
        if kind == 2:
            return choose((0.0, -0.0, 1.0, 0.1, 1e22, 1.5e-7, 123456789.123456789, 1e308, 5e-324))
        if kind < 5:
            return choose(STRINGS)
        count = self.random.randrange(4)
        if kind == 5:
            return [self._value(depth - 1) for _ in range(count)]
        return {choose((*STRINGS, "b", "one", "two")): self._value(depth - 1) for _ in range(count)}

    def _members(self) -> dict[str, Any]:
        """Make members, often many: their order is that of hash tables."""
        count = self.random.choice((1, 1, 2, 3, 7, 20, 60))
        return {self._name(): self._value(1) for _ in range(count)}

    def _name(self) -> str:
        if self.random.random() < 0.1:
            return self.random.choice(STRINGS)
        return "".join(self.random.choices("abcdefg-é", k=self.random.randrange(1, 8)))

    def _change(self, request: dict[str, Any]) -> None:
        """Change the meaning: other values and members, fewer, more."""
        choose = self.random.choice
        arguments = request.get("arguments")
        where = arguments if isinstance(arguments, dict) and self.random.random() < 0.7 else request
        names = list(where)
        match self.random.randrange(5):
            case 0 if names:
                where[choose(names)] = self._value(2)
            case 1 if names:
                del where[choose(names)]
            case 2:
                where[choose((*STRINGS, "execute", "arguments", "id", "control"))] = self._value(2)
            case 3:
                where.update(self._members())
            case _ if names:
                where[choose(STRINGS)] = where.pop(choose(names))
            case _:
                request["id"] = self._members()

    def _write(self, value: Any) -> bytes:
        """Write JSON in one of the ways in which QEMU reads it."""
        if self.random.random() < 0.5:
            return json.dumps(value).encode()
        return self._spell(value)

    def _spell(self, value: Any) -> bytes:
        def space() -> bytes:
            return self.random.choice(SPACES) if self.random.random() < 0.3 else b""

        if isinstance(value, dict):
            members = [
                space() + self._spell(k) + space() + b":" + space() + self._spell(v) + space()
                for k, v in value.items()
            ]
            if members and self.random.random() < 0.02:
                members.append(self.random.choice(members))
            return b"{" + b",".join(members) + space() + b"}"
        if isinstance(value, list):
            return b"[" + b",".join(space() + self._spell(v) + space() for v in value) + b"]"
        if isinstance(value, str):
            quote = self.random.choice('""\'')
            return (quote + "".join(map(self._spell_character, value)) + quote).encode(
                "utf-8", "surrogatepass"
            )
        return json.dumps(value).encode()

    def _spell_character(self, character: str) -> str:
        pick = self.random.random()
        if character in "\"'\\" or (pick < 0.02 and character == "/"):
            return "\\" + character
        if character < " " or pick < 0.1:
            return json.dumps(character)[1:-1] if pick > 0.03 else _escape(character)
        return character

    def _damage(self, text: bytes) -> bytes:
        """Change bytes: tokens and bytes put in, taken out, moved, doubled."""
        data = bytearray(text)
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            at = self.random.randrange(len(data) + 1)
            length = self.random.choice((1, 1, 1, 2, 5))
            match self.random.randrange(6):
                case 0:
                    data[at:at] = self.random.choice(TOKENS)
                case 1:
                    data[at : at + length] = self.random.choice(TOKENS)
                case 2:
                    del data[at : at + length]
                case 3:
                    data[at : at + 1] = bytes([self.random.randrange(256)])
                case 4:
                    data[at:at] = data[at : at + length * 3]
                case _:
                    del data[at:]
        return bytes(data)

    def _nesting(self) -> bytes:
        depth = self.random.choice((1, 3, 100, 1022, 1023, 1024, 1025, 1026))
        opening = self.random.choice((b"[", b'{"a":', b'[{"a":', b"{", b"{[", b'["x",'))
        closing = bytes({91: 93, 123: 125}[c] for c in reversed(opening) if c in b"[{")
        count = depth // len(closing)
        inner = self.random.choice((b"", b"1", b"true", b'"a"', b"x"))
        text = opening * count + inner + closing * (count + self.random.choice((-1, 0, 0, 0, 1)))
        if self.random.random() < 0.5:
            text = b'{"execute":"guest-ping","id":' + text + b"}"
        return text

    def _crowd(self) -> bytes:
        """Make a message with about as many tokens as there may be: 2 Mi."""
        count = (1 << 20) + self.random.choice((-2, -1, 0, 1))
        return b"[" + b"1," * (count - 1) + self.random.choice((b"1]", b"]", b"1"))


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def is_harmless(message: bytes) -> bool:
    """Return whether the real agent may be sent *message*."""
    # Each is followed by what makes the agent forget half a message.
    return all(
        _is_request_harmless(read) for read in MessageReader().feed(message) if type(read) is dict
    )


def _is_request_harmless(request: dict[str, Any]) -> bool:
    command, arguments = request.get("execute"), request.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return True
    if command not in KNOWN or command in DISABLED:
        return True
    if command in BARE:
        return bool(arguments)
    if command in ("guest-file-open", "guest-exec"):
        path = arguments.get("path")
        if not isinstance(path, str):
            return True
        if command == "guest-exec":
            # There is nothing in d/ that can be executed.
            is_ours = path.startswith("x/") and path[2:] in PROGRAMS
            return is_ours or (path.startswith("d/") and ".." not in path)
        # What can be executed must stay as it is.
        names = path.split("/")
        return not path.startswith("/") and ".." not in names and "x" not in names[:-1]
    return True
