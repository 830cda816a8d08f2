"""The live log: what clients ask and are answered, on standard error and in a file."""

import os
import select
import sys
from contextlib import suppress
from typing import Final, TextIO

from qgasim.agent.observer import Observer
from qgasim.cli.text import LOG_WIDTH, complain, readable, readable_bytes
from qgasim.errors import CommandError, QgaSimError
from qgasim.wire import JsonValue, Message, encode

__all__ = ["LiveLog"]


class LiveLog:
    """The live log: a line for each request and its reply."""

    #: How long is waited for who reads it, in ms; once.
    PATIENCE: Final = 500

    def __init__(self, path: str | None, *, in_full: bool, is_quiet: bool) -> None:
        self._in_full = in_full
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
            except OSError as error:
                raise QgaSimError(f"--log {path}: {error.strerror}") from None
        errors = [] if sys.stderr is None else [sys.stderr.fileno()]
        self.outputs = [] if is_quiet else errors.copy()
        #: Where failures are told: of these, the standard error even if it gets nothing else.
        self._failure_outputs = errors
        if self._file:
            self.outputs.append(self._file.fileno())
            self._failure_outputs.append(self._file.fileno())
        #: How many exchanges could not be written, by output, since something could.
        self._missed: dict[int, int] = {}
        # Clients repeat themselves, and the agent then gives the same object again.
        self._last: Message = None
        self._last_text = b"null"

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def observer(self, guest: str = "") -> Observer:
        """Return what writes the exchanges of a guest, with its name before them if it has one."""
        return _GuestLog(self, guest)

    def write(self, prefix: bytes, request: Message, reply: bytes) -> None:
        """Write an exchange, each of its lines behind *prefix*."""
        if request is not self._last:
            self._last, self._last_text = request, self._cut(_show(request))
        shown = self._cut(reply.strip() or b"(no reply)")
        text = b"%b> %b\n%b< %b\n" % (prefix, self._last_text, prefix, shown)
        self._write(self.outputs, text)

    def note(self, prefix: bytes, text: str) -> None:
        """Write what a monitor tells by itself."""
        self._write(
            self.outputs, b"%b* %b\n" % (prefix, self._cut(text.encode("utf-8", "replace")))
        )

    def complain(self, *words: str) -> None:
        """Write that qgasim itself has failed: the words, the name of a guest of a fleet first."""
        text = readable(" ".join(["qgasim:", *words])).encode("utf-8", "backslashreplace")
        self._write(self._failure_outputs, text + b"\n")

    def _write(self, outputs: list[int], text: bytes) -> None:
        for output in outputs.copy():
            try:
                self._write_to(output, text)
            except OSError as error:
                self._give_up(output, error)

    def _write_to(self, output: int, text: bytes) -> None:
        """Write, but do not wait long for who does not read: clients and signals would wait, too."""
        poll = select.poll()
        poll.register(output, select.POLLOUT)
        missed = self._missed.get(output, 0)
        if missed:
            text = b"(%d exchanges are missing: nobody read the log)\n" % missed + text
        while text:
            if not poll.poll(0 if missed else self.PATIENCE):
                self._missed[output] = missed + 1
                return
            # A pipe that takes anything takes so much.
            text = text[os.write(output, text[: select.PIPE_BUF]) :]
        self._missed[output] = 0

    def _give_up(self, output: int, error: OSError) -> None:
        """Write to *output* no more, and say so if that is not where it would be said."""
        # The others are still to be written to.
        self.outputs = [other for other in self.outputs if other != output]
        self._failure_outputs = [other for other in self._failure_outputs if other != output]
        if self._file is not None and output == self._file.fileno():
            text = f"--log {self._file.name}: {error.strerror}; nothing more is logged"
            with suppress(OSError):
                complain(text, "qgasim: ")

    def _cut(self, text: bytes) -> bytes:
        # A log must stay text, whatever a fault or a stub has made of a reply.
        if self._in_full or len(text) <= LOG_WIDTH:
            return readable_bytes(text)
        return b"%b... (%d bytes)" % (readable_bytes(text[:LOG_WIDTH]), len(text))


class _GuestLog(Observer):
    """The exchanges of one guest."""

    def __init__(self, log: LiveLog, guest: str) -> None:
        self._log = log
        self._guest = guest
        self._prefix = f"{guest} ".encode() if guest else b""

    def failed(self, text: str) -> None:
        """Write that qgasim itself has failed, even if exchanges are not shown."""
        self._log.complain(*filter(None, [self._guest]), text)

    def exchanged(self, request: Message, reply: bytes) -> None:
        """Write an exchange, if any output wants them."""
        if self._log.outputs:
            self._log.write(self._prefix, request, reply)

    def monitored(self, monitor: int, connection: int, request: Message, reply: bytes) -> None:  # noqa: ARG002
        """Write an exchange of a monitor."""
        if self._log.outputs:
            self._log.write(self._prefix + b"qmp ", request, reply)

    def told(self, event: str, data: dict[str, JsonValue] | None) -> None:
        """Write an event of the machine."""
        if self._log.outputs:
            self._log.note(
                self._prefix + b"qmp ", event if data is None else f"{event} {encode(data)}"
            )


def _show(request: Message) -> bytes:
    return b"(no request)" if isinstance(request, CommandError) else encode(request).encode("ascii")
