"""The live log: what happens to guests as it happens, on standard error and in a file.

It shows what a journal's transcript shows, by the same formatter (`qgasim.simulation.journal.lines`).
"""

import argparse
import json
import os
import select
import sys
from contextlib import suppress
from typing import Final, Literal, TextIO, TypeAlias
from weakref import WeakValueDictionary

from msgspec import Struct

from qgasim.agent.observer import Observer
from qgasim.cli.text import LOG_WIDTH, complain, readable
from qgasim.errors import QgaSimError
from qgasim.simulation.journal import Entry, Exchange, Note
from qgasim.simulation.journal.lines import Folding, Line, Reply, paint
from qgasim.simulation.journal.noting import NoteTaker
from qgasim.simulation.simulation import Simulation

__all__ = ["LiveLog", "LogFormat", "Output", "open_log"]

LogFormat: TypeAlias = Literal["text", "json"]
#: The colours of the guests of a fleet, one after the other.
_GUEST_COLOURS: Final = ("36", "35", "32", "34", "33")


class Output(Struct):
    """Where lines go: a file, a pipe or a terminal."""

    descriptor: int
    encoding: str
    #: Whether lines are shortened to the width of a terminal.
    has_width: bool = False
    has_colours: bool = False
    #: How many lines could not be written since one could.
    missed: int = 0
    #: Whether the latest line was written in part.
    is_amid: bool = False


class LiveLog:
    """The live log of one guest, or of several; a context manager.

    Args:
        path: of a file that lines are appended to; None: of none.
        in_full: requests and replies are shown whole, not just the beginning.
        is_quiet: the standard error gets failures of qgasim only.
        layout: lines for people, or an object of JSON for each entry, as in `Journal.to_jsonl`.
    """

    #: How long to wait for a reader of the log, in ms; once.
    PATIENCE: Final = 500

    def __init__(
        self, path: str | None, *, in_full: bool, is_quiet: bool, layout: LogFormat = "text"
    ) -> None:
        self.in_full = in_full
        self.layout = layout
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
            except OSError as error:
                raise QgaSimError(f"--log {path}: {error.strerror}") from None
        errors = [] if sys.stderr is None else [_output_of(sys.stderr)]
        self.outputs = [] if is_quiet else errors.copy()
        #: Where failures are reported: standard error gets them even if it gets nothing else.
        self._failure_outputs = errors
        if self._file:
            output = Output(self._file.fileno(), "utf-8")
            self.outputs.append(output)
            self._failure_outputs.append(output)
        #: The present guests, by name, without those that were deleted.
        self._observers: WeakValueDictionary[str, _GuestLog] = WeakValueDictionary()
        self._count = 0

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        for observer in self._observers.values():
            observer.flush()
        if self._file is not None:
            self._file.close()

    def observe(self, simulation: Simulation, guest: str = "") -> None:
        """Follow a guest from now on, its name before all lines if it has one; it may replace one of that name."""
        if not self.outputs:
            simulation.observe(_Failures(self, guest))
            return
        before = self._observers.get(guest)
        if before is not None:
            before.flush()
        else:
            self._count += 1
        number = self._count if before is None else before.number
        self._observers[guest] = observer = _GuestLog(self, simulation, guest, number)
        simulation.observe(observer)

    def write(self, line: Line | Entry, guest: str, number: int) -> None:
        """Write a line about the guest called *guest*, which is the *number*'th."""
        for output in self.outputs.copy():
            if isinstance(line, Line):
                text = self._lay_out(line, guest, number, output)
            else:
                named: dict[str, object] = {"guest": guest} if guest else {}
                text = json.dumps(named | line.to_json())
            self._write(output, text)

    def _lay_out(self, line: Line, guest: str, number: int, output: Output) -> str:
        """Return a line as *output* shows it."""
        shown = sys.maxsize if self.in_full else LOG_WIDTH
        width = None
        if output.has_width and not self.in_full:
            with suppress(OSError):
                width = os.get_terminal_size(output.descriptor).columns or None
        if width is not None and guest:
            width = max(width - len(guest) - 1, 1)
        text = paint(line.pieces(shown), width, in_colour=output.has_colours)
        if not guest:
            return text
        colour = _GUEST_COLOURS[(number - 1) % len(_GUEST_COLOURS)]
        return f"\x1b[{colour}m{guest}\x1b[0m {text}" if output.has_colours else f"{guest} {text}"

    def complain(self, *words: str) -> None:
        """Write that qgasim itself has failed: the words, the name of a guest of a fleet first."""
        for output in self._failure_outputs.copy():
            self._write(output, readable(" ".join(["qgasim:", *words])))

    def _write(self, output: Output, text: str) -> None:
        try:
            self._write_to(output, f"{text}\n")
        except OSError as error:
            self._give_up(output, error)

    def _write_to(self, output: Output, text: str) -> None:
        """Write, but do not wait long for a reader: clients and signals would wait, too."""
        poll = select.poll()
        poll.register(output.descriptor, select.POLLOUT)
        if output.missed:
            text = f"({output.missed} lines are missing: the log was not read)\n{text}"
        if output.is_amid:
            text = f"\n{text}"
        data = text.encode(output.encoding, "backslashreplace")
        patience = 0 if output.missed else self.PATIENCE
        while data:
            if not poll.poll(patience):
                output.missed += 1
                return
            # A pipe that takes anything takes so much.
            data = data[os.write(output.descriptor, data[: select.PIPE_BUF]) :]
            output.is_amid = bool(data)
        output.missed = 0

    def _give_up(self, output: Output, error: OSError) -> None:
        """Write to *output* no more, and say so if that is not where it would be said."""
        # The others are still to be written to.
        self.outputs = [other for other in self.outputs if other is not output]
        self._failure_outputs = [other for other in self._failure_outputs if other is not output]
        if self._file is not None and output.descriptor == self._file.fileno():
            text = f"--log {self._file.name}: {error.strerror}; nothing more is logged"
            with suppress(OSError):
                complain(text, "qgasim: ")


def _output_of(stream: TextIO) -> Output:
    """Return how lines are written to a stream of the process: with colours if a terminal has them."""
    is_terminal = stream.isatty()
    # https://no-color.org: set to anything, if it is not empty.
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", None)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return Output(stream.fileno(), encoding, is_terminal, is_terminal and has_colours)


class _Failures(Observer):
    """Prints failures of qgasim where nothing else is shown."""

    def __init__(self, log: LiveLog, guest: str) -> None:
        self._log = log
        self._guest = guest

    def failed(self, text: str) -> None:
        """Write that qgasim itself has failed."""
        self._log.complain(*filter(None, [self._guest]), text)


class _GuestLog(NoteTaker):
    """Writes what happens to one guest.

    A reply that has to wait is shown when it goes. As JSON, its exchange is written then, too.
    """

    def __init__(self, log: LiveLog, simulation: Simulation, guest: str, number: int) -> None:
        super().__init__(simulation)
        self.clips = not log.in_full
        self._log = log
        self._guest = guest
        #: The how many'th guest it is.
        self.number = number
        self._folding = Folding()
        #: The exchange whose reply waits, and the uptime until which it does.
        self._waiting: tuple[Exchange, int] | None = None

    def flush(self) -> None:
        """Write what was kept."""
        for line in self._folding.flush():
            self._write(line)
        self._end_wait()

    def add(self, entry: Entry) -> None:
        """Write an entry, or the lines of it that can be shown now."""
        if type(entry) is Exchange:
            self._end_wait()
            until = self.simulation.agent.state.busy_until
            if until > entry.at and entry.reply:
                self._waiting = entry, until
        if self._log.layout == "json":
            if self._waiting is None or self._waiting[0] is not entry:
                self._write(entry)
            return
        for line in self._folding.feed(entry):
            is_waiting = self._waiting is not None and line.what is self._waiting[0]
            self._write(Line(line.what, is_waiting=True) if is_waiting else line)

    def amended(self, note: Note, before: str) -> None:
        """Write the state that the guest has got to meanwhile."""
        states = f"{before.rpartition(' ')[2]} → {note.text.rpartition(' ')[2]}"
        self.add(Note(at=note.at, kind="state", text=states))

    def resumed(self) -> None:
        """Write the reply that goes now."""
        super().resumed()
        if self._waiting is not None and self._clock.uptime() >= self._waiting[1]:
            self._end_wait()

    def failed(self, text: str) -> None:
        """Write that qgasim itself has failed."""
        self._log.complain(*filter(None, [self._guest]), text)

    def _end_wait(self) -> None:
        """Write the reply that has waited: it goes, or never will."""
        if self._waiting is None:
            return
        exchange, _ = self._waiting
        self._waiting = None
        if self._log.layout == "json":
            self._write(exchange)
        else:
            self._write(Line(Reply(self._clock.uptime(), exchange)))

    def _write(self, line: Line | Entry) -> None:
        self._log.write(line, self._guest, self.number)


def open_log(options: argparse.Namespace) -> LiveLog:
    """Return the live log that the options ask for."""
    return LiveLog(
        options.log, in_full=options.verbose, is_quiet=options.quiet, layout=options.log_format
    )
