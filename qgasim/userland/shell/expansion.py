"""From words to arguments: expansion, field splitting and file names.

A word becomes pieces, each quoted, literal or expanded: only expanded ones are split into fields, only
quoted ones are safe from being patterns.
"""

from collections.abc import Iterable
from enum import Enum
from itertools import groupby
from typing import Final, Protocol

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import MEMORY_LIMIT, Process, Waiting
from qgasim.userland.shell import patterns
from qgasim.userland.shell.arithmetic import BadArithmetic
from qgasim.userland.shell.specials import read_special
from qgasim.userland.shell.state import CommandDropped, NotSet, ShellError, State
from qgasim.userland.shell.syntax import (
    Arithmetic,
    Parameter,
    Sequence,
    Substitution,
    Text,
    Word,
)

__all__ = ["Expander", "ExpandingShell", "to_bytes"]

WHITE: Final = " \t\n"
#: CTLNUL of bash.
NULL_MARK: Final = "\x7f"
#: More than any command line can hold.
MAX_LENGTH: Final = 16 << 20
MAX_WORDS: Final = 1 << 17


class Kind(Enum):
    """What may happen to a piece of an expanded word."""

    QUOTED = 0
    LITERAL = 1
    EXPANDED = 2
    #: The empty result of an operator in double quotes.
    NULL = 5
    #: The border between two positional parameters; in bash that between unquoted ones is one of IFS, if there is any.
    BREAK = 3
    JOINT = 4


class Piece(Struct, frozen=True):
    """A part of an expanded word."""

    text: str
    kind: Kind


class ExpandingShell(Protocol):
    """The shell for which words are expanded."""

    p: Process
    state: State
    #: The status of the last command substitution.
    substituted: int

    def substitute(self, body: Sequence | str) -> Waiting[str]:
        """Return what *body* writes, without the newlines at its end."""
        ...

    def show_source(self, source: str) -> str:
        """Return how bash shows words."""
        ...

    def refuse(self, construct: str) -> Exception:
        """Make the error for what the real shell does and this one does not simulate."""
        ...


class Expander:
    """Expands words for a shell."""

    def __init__(self, shell: ExpandingShell) -> None:
        self.shell = shell

    def expand_words(self, words: Iterable[Word]) -> Waiting[list[str]]:
        """Expand to arguments."""
        fields: list[str] = []
        # bash looks for files when all words are expanded: where each field goes.
        patterns: list[tuple[int, list[Piece]]] = []
        is_late = self.shell.state.flavour.is_bash
        size = 0
        for word in words:
            if len(word) == 1 and isinstance(word[0], Text):
                text = word[0]
                if text.is_quoted or not set(text.text) & set("*?[~"):
                    fields.append(text.text)
                    continue
            pieces = yield from self._expand(word, tilde="word")
            size += sum(len(piece.text) for piece in pieces)
            if size > MEMORY_LIMIT:
                raise ShellError("out of memory", 1)
            for field in self._split(pieces):
                if is_late:
                    patterns.append((len(fields) + len(patterns), field))
                else:
                    fields += yield from self._find_files(field)
            if len(fields) + len(patterns) > MAX_WORDS:
                raise ShellError("out of memory", 1)
            yield from self.shell.p.charge_steps(len(pieces))
        grown = 0
        for at, field in patterns:
            found = yield from self._find_files(field)
            fields[at + grown : at + grown] = found
            grown += len(found) - 1
        return fields

    def expand_string(self, word: Word, *, is_assignment: bool = False) -> Waiting[str]:
        """Expand to one text, without splitting or file names."""
        pieces = yield from self._expand(word, tilde="assignment" if is_assignment else "word")
        return self._join(pieces)

    def expand_case(self, word: Word, *, is_pattern: bool) -> Waiting[str]:
        """Expand what ``case`` compares; bash leaves its mark there for what an operator has emptied in quotes."""
        pieces = yield from self._expand(word, tilde="word")
        marked: list[Piece] = []
        for is_quoted, group in groupby(
            pieces, lambda piece: piece.kind in (Kind.QUOTED, Kind.NULL)
        ):
            run = list(group)
            is_null = is_quoted and any(piece.kind is Kind.NULL for piece in run)
            is_null = is_null and not any(piece.text for piece in run)
            marked += [Piece(NULL_MARK, Kind.QUOTED)] if is_null else run
        pieces = marked if any(piece.text for piece in pieces) else pieces
        return self._to_pattern(pieces) if is_pattern else self._join(pieces)

    def expand_pattern(self, word: Word) -> Waiting[str]:
        """Expand to a pattern, in which what was quoted is escaped."""
        pieces = yield from self._expand(word, tilde="word")
        return self._to_pattern(pieces)

    def _to_pattern(self, pieces: list[Piece]) -> str:
        pattern = "".join(
            patterns.escape(piece.text) if piece.kind is Kind.QUOTED else piece.text
            for piece in pieces
            if piece.kind is not Kind.BREAK or self.shell.state.flavour.is_bash
        )
        # dash negates by "!" alone.
        return pattern.replace("[^", "[\\^") if self.shell.state.flavour.is_dash else pattern

    def _join(self, pieces: list[Piece]) -> str:
        if sum(len(piece.text) for piece in pieces) > MAX_LENGTH:
            raise ShellError("out of memory", 1)
        return "".join(piece.text for piece in pieces)

    def _expand(self, word: Word, *, tilde: str = "") -> Waiting[list[Piece]]:
        pieces: list[Piece] = []
        for index, part in enumerate(word):
            if isinstance(part, Text):
                text = part.text
                if not part.is_quoted and tilde and "~" in text:
                    is_last = index == len(word) - 1
                    pieces += self._expand_tildes(text, tilde, is_first=not index, is_last=is_last)
                else:
                    pieces.append(Piece(text, Kind.QUOTED if part.is_quoted else Kind.LITERAL))
            elif isinstance(part, Substitution):
                text = yield from self.shell.substitute(part.body)
                if self.shell.state.flavour.is_bash:
                    self.shell.state.status = self.shell.substituted
                pieces.append(Piece(text, _kind(is_quoted=part.is_quoted)))
            elif isinstance(part, Arithmetic):
                text = str((yield from self._calculate(part.word)))
                pieces.append(Piece(text, _kind(is_quoted=part.is_quoted)))
            elif part.operator == "bad":
                raw = yield from self.expand_string(part.word)
                state, message = self.shell.state, self.shell.state.words.bad_substitution
                is_bash = state.flavour.is_bash
                if is_bash:
                    raise state.drop(f"{self.shell.show_source(raw)}: {message}")
                raise ShellError(message)
            else:
                pieces += yield from self._expand_parameter(part)
        return pieces

    def _calculate(self, word: Word) -> Waiting[int]:
        text = yield from self.expand_string(word)
        return self.evaluate(text)

    def evaluate(self, text: str, about: str = "") -> int:
        """Work out an arithmetic expression; bash's messages begin with *about*."""
        state = self.shell.state
        try:
            return state.flavour.evaluate(text, self._get_number, state.assign)
        except BadArithmetic as error:
            if state.flavour.is_bash:
                raise CommandDropped(f"{about}{error}", 1) from None
            raise ShellError(str(error)) from None

    def _get_number(self, name: str) -> str | None:
        value, state = self.get_parameter(name), self.shell.state
        if value is None and "u" in state.options and state.flavour.is_bash:
            raise NotSet(state.words.not_set.format(name), self._not_set_status())
        return value

    def _expand_tildes(
        self, text: str, tilde: str, *, is_first: bool, is_last: bool
    ) -> list[Piece]:
        parts = text.split(":") if tilde == "assignment" else [text]
        done: list[Piece] = []
        for index, part in enumerate(parts):
            if index:
                done.append(Piece(":", Kind.LITERAL))
            home = None
            name, slash, rest = part[1:].partition("/")
            is_whole = slash or index < len(parts) - 1 or is_last
            if part.startswith("~") and is_whole and (index or is_first):
                home = self._find_home(name)
            if home is None:
                done.append(Piece(part, Kind.LITERAL))
            else:
                done.append(Piece(home, Kind.QUOTED))
                done.append(Piece(slash + rest, Kind.LITERAL))
        return done

    def _find_home(self, name: str) -> str | None:
        if not name:
            return self.shell.state.get("HOME")
        files = self.shell.p.guest.files
        try:
            text = files.read_settings("/etc/passwd").decode("utf-8", "surrogateescape")
        except OSError:
            return None
        for line in text.splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > 5:
                return fields[5]
        return None

    def get_parameter(self, name: str) -> str | None:
        """Return the value of a variable or special parameter other than ``@`` and ``*``."""
        state = self.shell.state
        if name.isdigit():
            number = int(name[:9])
            if number == 0:
                return state.name
            return state.arguments[number - 1] if number <= len(state.arguments) else None
        match name:
            case "?":
                return str(state.status)
            case "#":
                return str(len(state.arguments))
            case "$":
                return str(state.main_pid)
            case "!":
                return None if state.background_pid is None else str(state.background_pid)
            case "-":
                return state.flags()
            case _:
                value = state.get(name)
                return value if name in state.variables else read_special(self.shell, name)

    def _expand_parameter(self, part: Parameter) -> Waiting[list[Piece]]:
        state = self.shell.state
        kind = _kind(is_quoted=part.is_quoted)
        values: list[str] | None = None
        value: str | None
        if part.name in ("@", "*"):
            values = state.arguments
            is_set = values or not state.flavour.is_bash
            border = self._separator() if part.name == "*" and part.is_quoted else " "
            value = border.join(values) if is_set else None
        else:
            value = self.get_parameter(part.name)
        operator = part.operator
        if operator and operator[-1] in "-=?+":
            is_missing = value is None or (operator[0] == ":" and not value)
            if is_missing and operator[-1] == "+":
                is_nothing = part.name == "@" and state.flavour.is_bash and not state.arguments
                return [] if is_nothing else [Piece("", kind)]
            if operator[-1] == "+":
                return (yield from self._expand_default(part))
            if is_missing:
                return (yield from self._expand_missing(part))
        elif value is None and values is None and "u" in state.options:
            has_dollar = part.name.isdigit() and state.flavour.is_bash and not part.is_braced
            name = f"${part.name}" if has_dollar else part.name
            raise NotSet(state.words.not_set.format(name), self._not_set_status())
        if operator == "length":
            is_count = values is not None and state.flavour.is_bash
            return [
                Piece(str(len(values or ()) if is_count else len(encode_name(value or ""))), kind)
            ]
        if operator and operator[-1] not in "-=?":
            if values is None or (
                part.name == "*" and part.is_quoted and not state.flavour.is_bash
            ):
                text = yield from self._modify_text(part, value)
                is_null = state.flavour.is_bash and part.is_quoted and bool(value) and not text
                return [Piece(text, Kind.NULL if is_null else kind)]
            values = yield from self._modify_all(part, values)
        if values is None:
            # A missing one in double quotes is an empty argument.
            return [Piece(value or "", kind)]
        return self._to_pieces(part, values)

    def _to_pieces(self, part: Parameter, values: list[str]) -> list[Piece]:
        """Return the pieces of ``$@`` or ``$*``."""
        state = self.shell.state
        kind = _kind(is_quoted=part.is_quoted)
        if part.name == "*" and part.is_quoted:
            return [Piece(self._separator().join(values), kind)]
        if not values and part.operator and not state.flavour.is_bash:
            return [Piece("", kind)]
        pieces: list[Piece] = []
        is_joined = part.name == "*" and state.flavour.is_bash
        border = self._separator() if is_joined else " "
        for text in values:
            if pieces:
                is_joint = state.flavour.is_bash and not part.is_quoted
                pieces.append(Piece(border, Kind.JOINT if is_joint else Kind.BREAK))
            pieces.append(Piece(text, kind))
        return pieces

    def _not_set_status(self) -> int:
        """Return with which status a shell ends for want of a variable; only ``-c`` of bash, without ``-e``, has 127."""
        state = self.shell.state
        if not state.flavour.is_bash:
            return 2
        is_plain = "c" in state.options and "e" not in state.options and not state.is_inner
        return 127 if is_plain else 1

    def _separator(self) -> str:
        separators = self.shell.state.get("IFS")
        return " " if separators is None else separators[:1]

    def _expand_default(self, part: Parameter) -> Waiting[list[Piece]]:
        pieces = yield from self._expand(part.word, tilde="" if part.is_quoted else "word")
        if part.is_quoted:
            return pieces or [Piece("", Kind.QUOTED)]
        return [
            Piece(piece.text, Kind.EXPANDED) if piece.kind is Kind.LITERAL else piece
            for piece in pieces
        ]

    def _expand_missing(self, part: Parameter) -> Waiting[list[Piece]]:
        state = self.shell.state
        if part.operator[-1] == "-":
            return (yield from self._expand_default(part))
        if part.operator[-1] == "?":
            state.status = 1 if state.flavour.is_bash else state.status
            pieces = yield from self._expand(part.word, tilde="word")
            message = self._join(pieces)
            if state.flavour.is_bash:
                message = " ".join(map(self._join, self._split(pieces)))
            if not part.word:
                is_strict = part.operator[0] == ":"
                message = state.words.null_or_unset if is_strict else "parameter not set"
            raise ShellError(f"{part.name}: {message}", self._not_set_status())
        is_variable = part.name[0].isalpha() or part.name[0] == "_"
        if not is_variable and state.flavour.is_bash:
            raise state.drop(f"${part.name}: cannot assign in this way")
        value = yield from self.expand_string(part.word)
        if not is_variable:
            raise ShellError(state.words.bad_name.format(part.name))
        state.assign(part.name, value)
        return [Piece(value, _kind(is_quoted=part.is_quoted))]

    def _modify_text(self, part: Parameter, value: str | None) -> Waiting[str]:
        # What is not there is not compared with a pattern; bash does not even with an empty one.
        is_bash = self.shell.state.flavour.is_bash
        if value is None or (not value and is_bash and part.operator not in (":", "/")):
            return ""
        return (yield from self._modify(part, value))

    def _modify(self, part: Parameter, value: str) -> Waiting[str]:
        operator = part.operator
        if operator == ":":
            return value[(yield from self._cut(part, len(value)))]
        pieces = yield from self._expand(part.word, tilde="word")
        pattern = self._to_pattern(pieces)
        if operator[0] in "#%":
            pattern, value = to_bytes(pattern), to_bytes(value)
            return from_bytes(patterns.strip(operator, pattern, value))
        replacement = yield from self.expand_string(part.other or ())
        is_anchored = pattern[:1] in ("#", "%") and pieces[0].kind is not Kind.QUOTED
        if operator == "/" and self.shell.state.flavour.is_bash and is_anchored:
            return patterns.replace_end(pattern[0], pattern[1:], replacement, value)
        first = value.split("\0")[0]
        replaced = patterns.replace(pattern, replacement, first, is_global=operator == "//")
        return value if replaced == first else replaced

    def _modify_all(self, part: Parameter, values: list[str]) -> Waiting[list[str]]:
        """Modify ``$@``: bash cuts it or changes each, the others all as one text of C with a zero between two."""
        state = self.shell.state
        if not state.flavour.is_bash:
            text = yield from self._modify(part, "\0".join(values))
            return text.split("\0") if values else []
        if part.operator == ":":
            values = [state.name, *values]
            return values[(yield from self._cut(part, len(values), is_list=True))]
        changed = list(values)
        for index, value in enumerate(values):
            changed[index] = yield from self._modify_text(part, value)
        return changed

    def _cut(self, part: Parameter, size: int, *, is_list: bool = False) -> Waiting[slice]:
        """Return which part of *size* characters or parameters ``${name:offset:length}`` stands for."""
        text = yield from self.expand_string(part.word)
        is_bash = self.shell.state.flavour.is_bash
        if is_bash and text.count("(") > text.count(")"):
            raise CommandDropped(f"bad substitution: no closing `)' in {text}", 1)
        about = f"{part.name}: " if is_bash else ""
        start = self.evaluate(text, about)
        start += size if start < 0 else 0
        length = size
        if part.other is not None:
            text = yield from self.expand_string(part.other)
            length = self.evaluate(text, about)
        if not 0 <= start <= size:
            return slice(0, 0)
        end = start + length if length >= 0 else size + length
        if end >= start and not (is_list and length < 0):
            return slice(start, end)
        if is_bash:
            raise CommandDropped(f"{text}: substring expression < 0", 1)
        return slice(start, None)

    def _split(self, pieces: list[Piece]) -> list[list[Piece]]:
        """Split into fields by IFS."""
        separators = self.shell.state.get("IFS")
        if separators is None:
            separators = WHITE
        fields: list[list[Piece]] = []
        field: list[Piece] | None = None
        # Whether blanks ended the last field: then one other separator still belongs to that end.
        is_open = False
        for piece in pieces:
            if piece.kind is Kind.JOINT and separators:
                piece = Piece(separators[0], Kind.EXPANDED)  # noqa: PLW2901
            if piece.kind in (Kind.BREAK, Kind.JOINT):
                if field is not None:
                    fields.append(field)
                field, is_open = None, False
                continue
            if piece.kind is not Kind.EXPANDED:
                if piece.text or piece.kind in (Kind.QUOTED, Kind.NULL):
                    field = [*(field or []), piece]
                    is_open = False
                continue
            start = 0
            if not any(separator in piece.text for separator in separators):
                field = [*(field or []), piece] if piece.text else field
                is_open = is_open and not piece.text
                continue
            for at, char in enumerate(piece.text):
                if char not in separators:
                    continue
                if at > start:
                    field = [*(field or []), Piece(piece.text[start:at], Kind.EXPANDED)]
                    is_open = False
                start = at + 1
                if char in WHITE:
                    if field is not None:
                        fields.append(field)
                        field, is_open = None, True
                elif field is None and is_open:
                    is_open = False
                else:
                    fields.append(field or [])
                    field, is_open = None, False
            if start < len(piece.text):
                field = [*(field or []), Piece(piece.text[start:], Kind.EXPANDED)]
                is_open = False
        if field is not None:
            fields.append(field)
        return fields

    def _find_files(self, field: list[Piece]) -> Waiting[list[str]]:
        text = self._join(field)
        if "f" not in self.shell.state.options and set(text) & set("*?["):
            pattern = self._to_pattern(field)
            is_bash = self.shell.state.flavour.is_bash
            if patterns.is_pattern(pattern):
                found = yield from patterns.find_files(self.shell.p, pattern, joins=is_bash)
                if is_bash:
                    # globskipdots
                    found = [name for name in found if name.rpartition("/")[2] not in (".", "..")]
                return found or [text]
        return [text]


def to_bytes(text: str) -> str:
    """Return *text* as one character a byte, as patterns see it in the C locale of an agent."""
    return text if text.isascii() else encode_name(text).decode("latin-1")


def from_bytes(text: str) -> str:
    """Undo `to_bytes`."""
    return text if text.isascii() else decode_name(text.encode("latin-1"))


def _kind(*, is_quoted: bool) -> Kind:
    return Kind.QUOTED if is_quoted else Kind.EXPANDED
