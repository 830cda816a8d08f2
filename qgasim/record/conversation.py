"""A conversation written down as it goes, without what is private in it."""

from typing import Any

import msgspec

from qgasim.agent.state import make_reader
from qgasim.compare.shapes import spell
from qgasim.conversation import ConversationWriter
from qgasim.conversation.pairing import Pairing
from qgasim.dialect import Dialect
from qgasim.qapi.envelope import read_request
from qgasim.qapi.registry import Table
from qgasim.record.redaction import Redactor
from qgasim.wire import Message, is_object

__all__ = ["RedactingRecorder"]


class RedactingRecorder:
    """Writes down requests and replies one by one, each with its private values replaced.

    What is private in one is found in others by the commands' names, so bytes are kept until their request or
    their reply is whole.

    Args:
        writer: of the recording.
        redactor: what is private, and what stands for it.
        dialect: how the agent reads requests.
        table: its commands.
    """

    def __init__(
        self, writer: ConversationWriter, redactor: Redactor, dialect: Dialect, table: Table
    ) -> None:
        self._writer = writer
        self._redactor = redactor
        self._dialect = dialect
        self._reader = make_reader(dialect)
        self._pairing: Pairing[str] = Pairing(table, dialect)
        self._request = bytearray()
        self._line = bytearray()

    def connected(self, conn: int) -> None:
        """Write that a client has come."""
        self._writer.connected(conn)

    def sent(self, conn: int, data: bytes) -> None:
        """Write the requests that end in *data*."""
        for piece in data.splitlines(keepends=True):
            self._request += piece
            messages = list(self._reader.feed(piece))
            for message in messages:
                self._pairing.add(message, read_request(message)[0] or "")
            if messages or self._reader.is_between_messages:
                raw = bytes(self._request)
                self._request.clear()
                self._writer.sent(conn, self._redact_request(raw, messages))

    def received(self, conn: int, data: bytes, *, end: str | None = None) -> None:
        """Write the replies that end in *data*, or the *end* of the connection."""
        self._line += data
        while at := self._line.find(b"\n") + 1:
            line = bytes(self._line[:at])
            del self._line[:at]
            self._writer.received(conn, self._redact_line(line))
        if end is not None:
            self._write_rest(conn)
            self._writer.received(conn, b"", end=self._redactor.redact_text(end))
            self._reader = make_reader(self._dialect)
            self._pairing.take_all()

    def closed(self, conn: int) -> None:
        """Write that a client has left, and what it had begun to send."""
        if self._request:
            self._writer.sent(conn, self._redact_bytes(bytes(self._request)))
            self._request.clear()
        self._write_rest(conn)
        self._writer.closed(conn)
        self._pairing.take_all()

    def _write_rest(self, conn: int) -> None:
        if self._line:
            self._writer.received(conn, self._redact_bytes(bytes(self._line)))
            self._line.clear()

    def _redact_request(self, raw: bytes, messages: list[Message]) -> bytes:
        """Return a request with private values replaced; as it is, if there are none."""
        message = messages[0] if len(messages) == 1 else None
        if not is_object(message):
            return self._redact_bytes(raw)
        command, arguments = read_request(message)
        redacted = self._redactor.redact_arguments(command or "", arguments)
        if redacted == arguments:
            return raw
        start = raw[: len(raw) - len(raw.lstrip(b"\xff \t\r\n"))]
        return start + spell({**message, "arguments": redacted}, self._dialect).encode() + b"\n"

    def _redact_line(self, line: bytes) -> bytes:
        """Return a reply with private values replaced; as it is, if there are none."""
        _, command = self._pairing.take(line)
        try:
            message: Any = msgspec.json.decode(line.removeprefix(b"\xff"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._redact_bytes(line)
        if not is_object(message):
            return self._redact_bytes(line)
        redacted = dict(message)
        if "return" in message:
            self._redactor.learn(command or "", message["return"])
            redacted["return"] = self._redactor.redact(command or "", message["return"])
        if is_object(error := message.get("error")) and isinstance(error.get("desc"), str):
            redacted["error"] = {**error, "desc": self._redactor.redact_text(error["desc"])}
        if redacted == message:
            return line
        start = b"\xff" if line.startswith(b"\xff") else b""
        return start + spell(redacted, self._dialect).encode() + b"\n"

    def _redact_bytes(self, data: bytes) -> bytes:
        """Return what is no message, with the private values replaced that their form gives away."""
        text = data.decode("utf-8", "surrogateescape")
        return self._redactor.redact_text(text).encode("utf-8", "surrogateescape")
