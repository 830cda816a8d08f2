"""Redirections: descriptors that a command has for its time."""

import os
import stat
from typing import Final

from qgasim.guest.files.nodes import encode_name
from qgasim.guest.files.open_files import OpenFile
from qgasim.guest.processes.process import Waiting, make_pipe
from qgasim.userland.shell.expansion import Expander, ExpandingShell
from qgasim.userland.shell.lexer import BadSyntax
from qgasim.userland.shell.state import ShellError
from qgasim.userland.shell.syntax import Redirection

__all__ = ["RedirectionFailed", "Redirector", "Saved"]

#: What descriptors were before; None: closed.
Saved = dict[int, OpenFile | None]

WRITE: Final = os.O_WRONLY | os.O_CREAT
FLAGS: Final = {
    "<": os.O_RDONLY,
    ">": WRITE | os.O_TRUNC,
    ">|": WRITE | os.O_TRUNC,
    "&>": WRITE | os.O_TRUNC,
    ">&": WRITE | os.O_TRUNC,
    ">>": WRITE | os.O_APPEND,
    "<>": os.O_RDWR | os.O_CREAT,
}


class RedirectionFailed(ShellError):
    """A file cannot be opened or a descriptor is none."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)


class Redirector:
    """Changes the descriptors of a shell's process, and puts them back."""

    def __init__(self, shell: ExpandingShell, expander: Expander) -> None:
        self.shell = shell
        self.expander = expander

    def apply(self, redirections: list[Redirection]) -> Waiting[Saved]:
        """Do *redirections*; either all or none."""
        saved: Saved = {}
        is_done = False
        try:
            for redirection in redirections:
                yield from self._apply_one(redirection, saved)
            is_done = True
        finally:
            if not is_done:
                self.undo(saved)
        return saved

    def _set(self, number: int, file: OpenFile | None, saved: Saved) -> None:
        files = self.shell.p.files
        old = files.pop(number, None)
        if number not in saved:
            saved[number] = old
        elif old is not None:
            old.close()
        if file is not None:
            files[number] = file

    def undo(self, saved: Saved) -> None:
        """Put the descriptors back as they were."""
        p = self.shell.p
        for number, old in saved.items():
            if p.exit is not None:
                # The process was killed meanwhile: its end closes what it has.
                if old is not None:
                    old.close()
                continue
            current = p.files.pop(number, None)
            if current is not None:
                current.close()
            if old is not None:
                p.files[number] = old

    def keep(self, saved: Saved) -> None:
        """Leave the descriptors as they are now."""
        for old in saved.values():
            if old is not None:
                old.close()

    def _apply_one(self, redirection: Redirection, saved: Saved) -> Waiting[None]:
        number, operator = redirection.number, redirection.operator
        try:
            text = yield from self._expand_target(redirection)
        except ShellError as error:
            if operator in ("<<", "<<-") and not self.shell.state.flavour.is_bash:
                raise self._fail(str(error)) from None
            raise
        if operator in ("<<", "<<-", "<<<"):
            reader, writer = make_pipe(self.shell.p.guest.clock.now)
            writer.pipe.data += encode_name(text + "\n" if operator == "<<<" else text)
            writer.close()
            self._set(number, reader, saved)
        elif operator in (">&", "<&") and self._is_descriptor(text):
            self._set(number, None if text == "-" else self._duplicate(text), saved)
        elif operator == "<&" or (operator == ">&" and not self._may_name_file(number, text)):
            state = self.shell.state
            if state.flavour.is_bash:
                raise self._fail(f"{text}: ambiguous redirect")
            if state.flavour.is_dash:
                raise BadSyntax(state.words.bad_descriptor, state.parsed_line)
            raise ShellError("redir error" if text else state.words.bad_descriptor)
        else:
            file = yield from self._open(operator, text)
            self._set(number, file, saved)
            if operator in ("&>", ">&"):
                file.retain()
                self._set(2, file, saved)

    def _is_descriptor(self, text: str) -> bool:
        # dash takes no number of several digits.
        is_short = len(text) == 1 or not self.shell.state.flavour.is_dash
        return text == "-" or (text.isascii() and text.isdecimal() and is_short)

    def _may_name_file(self, number: int, text: str) -> bool:
        flavour = self.shell.state.flavour
        return not flavour.is_dash and number == 1 and (bool(text) or flavour.is_bash)

    def _expand_target(self, redirection: Redirection) -> Waiting[str]:
        """Expand to one text; bash refuses what becomes no word, or several, and takes the name of a file."""
        target = redirection.target
        is_document = redirection.operator in ("<<", "<<-", "<<<")
        if (
            not self.shell.state.flavour.is_bash
            or is_document
            or all(part.is_quoted for part in target)
        ):
            return (yield from self.expander.expand_string(target))
        words = yield from self.expander.expand_words([target])
        if len(words) == 1:
            return words[0]
        raise self._fail(f"{self.shell.show_source(redirection.source)}: ambiguous redirect")

    def _duplicate(self, text: str) -> OpenFile:
        file = self.shell.p.files.get(int(text[:9]))
        if file is None:
            raise self._fail(f"{text}: Bad file descriptor")
        file.retain()
        return file

    def _open(self, operator: str, path: str) -> Waiting[OpenFile]:
        p, state = self.shell.p, self.shell.state
        flags = FLAGS[operator]
        creates = bool(flags & os.O_CREAT)
        try:
            if operator in (">", "&>", ">&") and "C" in state.options:
                node = p.guest.files.find(path, p.cwd)
                if node is not None and stat.S_ISREG(node.st_mode):
                    raise self._fail(
                        state.words.cannot_create.format(path, state.words.file_exists)
                    )
            return (yield from p.open(path, flags))
        except FileNotFoundError:
            words = state.words
            reason = words.no_directory if creates else words.no_such_file
        except OSError as error:
            reason = str(error.strerror)
        text = state.words.cannot_create if creates else state.words.cannot_open
        raise self._fail(text.format(path, reason))

    def _fail(self, message: str) -> RedirectionFailed:
        return RedirectionFailed(message, 2 if self.shell.state.flavour.is_dash else 1)
